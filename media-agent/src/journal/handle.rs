//! The handle to the journal: appends that return when durable, reads for delivery, acknowledgements.
//!
//! Cloneable; the owner is `worker`. Used by attempts, the survey and the session.

use std::path::Path;

use outlast_kit::tasks::Tasks;
use outlast_media_core::kept::OpenAttempt;
use outlast_media_core::session::Status;
use outlast_media_core::{AttemptId, NewRecord, Standing};
use outlast_proto::v1::JournalEvent;
use outlast_proto::words::{JournalId, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};

use super::error::JournalError;
use super::store::{ROTATE_AT, Store};
use super::worker::{Request, Worker};

const REQUESTS: usize = 256;

/// Where the journal stands, for sessions.
pub(super) fn status_of(store: &Store) -> Status {
    Status {
        journal: store.journal_id(),
        acknowledged: store.acknowledged(),
        last: store.last(),
        writers: store.writers().clone(),
    }
}

#[derive(Clone)]
pub(crate) struct Journal {
    requests: mpsc::Sender<Request>,
    status: watch::Receiver<Status>,
}

impl Journal {
    /// Opens the journal in `dir` and starts its owner; also the attempts that were open when the agent last ended.
    ///
    /// # Errors
    /// [`JournalError`] if there is one that cannot be used.
    pub(crate) fn open(dir: &Path, tasks: &Tasks) -> Result<(Self, Vec<OpenAttempt>), JournalError> {
        let store = Store::open(dir, ROTATE_AT)?;
        let open = store.known().open_attempts();
        let (requests, received) = mpsc::channel(REQUESTS);
        let (status, watched) = watch::channel(status_of(&store));
        let worker = Worker {
            store,
            requests: received,
            status,
        };
        tasks.vital("journal", async move {
            tokio::task::spawn_blocking(move || worker.run())
                .await
                .unwrap_or(Err(JournalError::Closed))
        });
        let journal = Self {
            requests,
            status: watched,
        };
        Ok((journal, open))
    }

    /// Returns when all of it is on disk, in one piece.
    pub(crate) async fn append(&self, records: Vec<NewRecord>) -> Result<(), JournalError> {
        self.ask(|reply| Request::Append(records, reply)).await
    }

    /// As [`Journal::append`], for threads outside the runtime.
    pub(crate) fn append_blocking(&self, records: Vec<NewRecord>) -> Result<(), JournalError> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .blocking_send(Request::Append(records, reply))
            .map_err(|_| JournalError::Closed)?;
        answer.blocking_recv().unwrap_or(Err(JournalError::Closed))
    }

    pub(crate) async fn standing(&self, id: AttemptId) -> Result<Standing, JournalError> {
        self.ask(|reply| Request::Standing(id, reply)).await
    }

    /// A primary of this version has answered. Returns when it is on disk which open attempts have lost their mark by it; those
    /// that ended before keep theirs.
    pub(crate) async fn meet(&self, version: String, at: Timestamp) -> Result<(), JournalError> {
        self.ask(|reply| Request::Meet { version, at, reply }).await
    }

    /// Whether the attempt is open and may go on without a primary, as the journal has it.
    pub(crate) async fn is_resilient(&self, id: AttemptId) -> Result<bool, JournalError> {
        self.ask(|reply| Request::IsResilient(id, reply)).await
    }

    /// Events that are not acknowledged, from `from` on.
    pub(crate) async fn read(&self, from: u64, limit: usize) -> Result<Vec<JournalEvent>, JournalError> {
        self.ask(|reply| Request::Read { from, limit, reply }).await
    }

    /// The primary has committed everything of `journal` up to `sequence`.
    pub(crate) async fn acknowledge(&self, journal: JournalId, sequence: u64) {
        // A closed journal shuts the daemon down by itself.
        let _ = self.requests.send(Request::Acknowledge(journal, sequence)).await;
    }

    /// Begins a new journal with a new id.
    pub(crate) async fn begin_new(&self) -> Result<(), JournalError> {
        self.ask(Request::BeginNew).await
    }

    pub(crate) fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Changes with every durable event and every acknowledgement.
    pub(crate) fn watch(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, JournalError>>) -> Request,
    ) -> Result<T, JournalError> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(request(reply))
            .await
            .map_err(|_| JournalError::Closed)?;
        answer.await.unwrap_or(Err(JournalError::Closed))
    }
}
