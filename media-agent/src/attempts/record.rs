//! Journals what happens to one attempt. While the disk of the journal is full it waits for room, says so, and tries on: an
//! attempt does not end because of it, and what the storage unit holds already is never left out.
//!
//! Only the attempt's end is journalled by `ending`, together with what was left unwritten here. Used by `working` and the
//! engines.

use std::sync::Arc;
use std::time::Duration;

use outlast_proto::v1::journal_event::What;
use parking_lot::Mutex;

use super::control::Control;
use super::progress::Progress;
use crate::attempts::End;
use crate::context::Context;
use crate::fault::Fault;
use crate::journal::{JournalError, NewRecord};
use outlast_proto::words::AttemptId;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The pauses between tries to write to a disk that is full.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pauses(Duration);

impl Pauses {
    pub(super) fn new() -> Self {
        Self(FIRST_PAUSE)
    }

    pub(super) fn is_first(self) -> bool {
        self.0 == FIRST_PAUSE
    }

    /// Waits for the next try.
    pub(super) async fn next(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }
}

/// What `job show` says while somebody waits for room.
pub(super) fn waits_for_room(who: &str, error: &JournalError) -> String {
    format!("{who} waits for room in the media agent's data folder, not in the storage unit: {error}")
}

/// The way of one attempt into the journal.
pub(crate) struct Recorder {
    pub(super) context: Context,
    pub(super) id: AttemptId,
    pub(super) control: Arc<Control>,
    pub(super) progress: Arc<Progress>,
    /// Events for which there was no room until the attempt was told to end: they go with its end.
    unwritten: Mutex<Vec<What>>,
}

impl Recorder {
    pub(super) fn new(
        context: Context,
        id: AttemptId,
        control: Arc<Control>,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            context,
            id,
            control,
            progress,
            unwritten: Mutex::default(),
        }
    }

    /// Durable when it returns. Called by engines, on a thread of the runtime that may block.
    ///
    /// # Errors
    /// [`End::Halted`] if the attempt is to end and there is no room yet; then its end takes the events along.
    pub(crate) fn events(&self, events: Vec<What>) -> Result<(), End> {
        let records: Vec<NewRecord> = events
            .iter()
            .map(|what| self.context.event(self.id, what.clone()))
            .collect();
        let recorded = tokio::runtime::Handle::current().block_on(self.records(&records));
        if let Err(End::Halted) = recorded {
            self.unwritten.lock().extend(events);
        }
        recorded
    }

    /// As [`Recorder::events`], for those who can do without while the disk is full.
    pub(crate) fn try_event(&self, what: What) -> Result<(), JournalError> {
        let record = self.context.event(self.id, what);
        self.context.journal.append_blocking(vec![record])
    }

    /// Durable when it returns.
    pub(super) async fn records(&self, records: &[NewRecord]) -> Result<(), End> {
        self.with_room(|| self.context.journal.append(records.to_vec()))
            .await
    }

    /// Tries until there is room for it.
    pub(super) async fn with_room<F>(&self, write: impl Fn() -> F) -> Result<(), End>
    where
        F: Future<Output = Result<(), JournalError>>,
    {
        let mut pauses = Pauses::new();
        loop {
            match write().await {
                Ok(()) => {
                    if !pauses.is_first() {
                        tracing::info!(attempt = %self.id, "the journal has room again");
                        self.progress.goes_on();
                    }
                    return Ok(());
                }
                Err(error) if error.is_full() => {
                    if pauses.is_first() {
                        tracing::error!(attempt = %self.id, %error, "an attempt waits for room for its journal");
                    }
                    self.progress.waits(waits_for_room("the attempt", &error));
                }
                Err(error) => return Err(Fault::from(error).into()),
            }
            tokio::select! {
                () = pauses.next() => {}
                () = self.control.wait() => return Err(End::Halted),
            }
        }
    }

    /// What had no room, in order.
    pub(super) fn take_unwritten(&self) -> Vec<What> {
        std::mem::take(&mut *self.unwritten.lock())
    }
}
