//! Whether a primary answers, since when not, and what it said about waiting.
//!
//! Written by the session, watched by attempts. How long one does without is the core's to say.

use std::sync::Arc;
use std::time::Duration;

use crate::cluster::WaitingTimes;

/// The state of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contact {
    /// When it was lost, on the monotonic clock; `None` while it is open.
    pub(crate) lost_at: Option<Duration>,
    /// How long an attempt may do without.
    pub(crate) grace: Duration,
    /// How long a broken stream may take to come back (F-10).
    pub(crate) reconnect_for: Duration,
    /// The version of the primary that this process met last; `None` before the first that said it.
    pub(crate) primary_version: Option<Arc<str>>,
}

impl Contact {
    pub(crate) fn none_yet(now: Duration, reconnect_for: Duration) -> Self {
        Self {
            lost_at: Some(now),
            grace: Duration::from_secs(20),
            reconnect_for,
            primary_version: None,
        }
    }

    /// Takes over what a primary has said.
    pub(crate) fn take(&mut self, said: WaitingTimes) {
        self.grace = said.disruption_grace.unwrap_or(self.grace);
        self.reconnect_for = said.reconnect_for.unwrap_or(self.reconnect_for);
    }
}
