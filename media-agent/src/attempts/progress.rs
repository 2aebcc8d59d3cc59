//! What a running attempt has done so far, for presence (L-02). Never journalled.
//!
//! Written by the engines, read by the session.

use std::time::Duration;

use outlast_proto::v1;
use outlast_proto::words::{Counters, Timestamp};
use parking_lot::Mutex;

use crate::fault::shorten;
use outlast_proto::words::AttemptId;

/// As much of a path as is shown.
const MAX_PATH: usize = 8192;
const MAX_REASON: usize = 1024;

#[derive(Debug, Default)]
struct State {
    counters: Counters,
    path: String,
    /// When and at how many bytes the rate was last taken.
    sample: (Duration, u64),
    rate: u64,
    checkpoint_at: Option<Timestamp>,
    may_have_checkpoints: bool,
    /// Why it stands still; empty: it does not.
    waiting: String,
    /// Its client is not there: what follows, and when.
    awaited: Option<(String, Timestamp)>,
}

#[derive(Debug, Default)]
pub(crate) struct Progress {
    state: Mutex<State>,
}

impl Progress {
    pub(crate) fn set(&self, counters: Counters) {
        self.state.lock().counters = counters;
    }

    pub(crate) fn set_path(&self, path: String) {
        // It goes to the leader with every report.
        self.state.lock().path = shorten(path, MAX_PATH);
    }

    /// The attempt stands still, and this is why.
    pub(crate) fn waits(&self, reason: String) {
        self.state.lock().waiting = shorten(reason, MAX_REASON);
    }

    /// What was waited for has come.
    pub(crate) fn goes_on(&self) {
        self.state.lock().waiting.clear();
    }

    /// Without its client the attempt stands still, too; until when it is waited for.
    pub(crate) fn awaits_client(&self, reason: String, until: Timestamp) {
        self.state.lock().awaited = Some((shorten(reason, MAX_REASON), until));
    }

    /// The client is there.
    pub(crate) fn has_client(&self) {
        self.state.lock().awaited = None;
    }

    /// A checkpoint is durable.
    pub(crate) fn checkpoint_made(&self, at: Timestamp) {
        self.state.lock().checkpoint_at = Some(at);
    }

    /// The snapshot of one may be in the storage unit from now on, whatever becomes of it.
    pub(crate) fn checkpoint_begins(&self) {
        self.state.lock().may_have_checkpoints = true;
    }

    pub(crate) fn may_have_checkpoints(&self) -> bool {
        self.state.lock().may_have_checkpoints
    }

    pub(crate) fn counters(&self) -> Counters {
        self.state.lock().counters
    }

    /// A report; the rate is that since the report before. `now` is monotonic.
    pub(crate) fn report(&self, id: AttemptId, now: Duration) -> v1::AttemptProgress {
        let mut state = self.state.lock();
        let (at, bytes) = state.sample;
        let seconds = now.saturating_sub(at).as_secs_f64();
        if seconds >= 0.2 {
            let done = state.counters.bytes.saturating_sub(bytes);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a rate is shown, not calculated with"
            )]
            let rate = (done as f64 / seconds) as u64;
            state.rate = if bytes == 0 && at.is_zero() { 0 } else { rate };
            state.sample = (now, state.counters.bytes);
        }
        let (waiting, until) = match &state.awaited {
            Some((reason, until)) if state.waiting.is_empty() => (reason, Some(*until)),
            _ => (&state.waiting, None),
        };
        v1::AttemptProgress {
            attempt: Some(id.to_ref()),
            counters: Some(counters_message(&state.counters)),
            rate: state.rate,
            path: state.path.clone(),
            checkpoint_at: state.checkpoint_at.map(crate::stamps::to_message),
            eta_seconds: None,
            waiting: waiting.clone(),
            waiting_until: until.map(crate::stamps::to_message),
            awaits_client: state.awaited.is_some(),
        }
    }
}

/// As messages carry them.
pub(crate) fn counters_message(counters: &Counters) -> v1::Counters {
    (*counters).into()
}
