//! Whether a primary answers, and since when not.
//!
//! Written by the session, watched by attempts that may not outlive their primary.

use std::time::Duration;

use outlast_kit::clock::SharedClock;
use tokio::sync::watch;

/// The state of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contact {
    /// When it was lost, on the monotonic clock; `None` while it is open.
    pub(crate) lost_at: Option<Duration>,
    /// How long an attempt may do without.
    pub(crate) grace: Duration,
}

impl Contact {
    pub(crate) fn none_yet(now: Duration) -> Self {
        Self {
            lost_at: Some(now),
            grace: Duration::from_secs(20),
        }
    }
}

/// Returns when there was no primary for longer than the grace.
pub(crate) async fn lost_too_long(mut contact: watch::Receiver<Contact>, clock: SharedClock) -> Duration {
    loop {
        let now = *contact.borrow_and_update();
        let left = now
            .lost_at
            .map(|at| (at + now.grace).saturating_sub(clock.monotonic()));
        match left {
            Some(Duration::ZERO) => return now.grace,
            Some(left) => {
                let _ = tokio::time::timeout(left, contact.changed()).await;
            }
            None => {
                if contact.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}
