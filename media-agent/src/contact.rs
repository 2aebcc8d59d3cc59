//! Whether a primary answers, since when not, and what it said about waiting.
//!
//! Written by the session, watched by attempts that may not outlive their primary.

use std::sync::Arc;
use std::time::Duration;

use outlast_kit::clock::SharedClock;
use tokio::sync::watch;

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

/// Returns when there was no primary for longer than the grace.
pub(crate) async fn lost_too_long(mut contact: watch::Receiver<Contact>, clock: SharedClock) -> Duration {
    loop {
        let now = contact.borrow_and_update().clone();
        match outlast_media_core::contact::left(now.lost_at, now.grace, clock.monotonic()) {
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

#[cfg(test)]
mod tests {
    use super::{Contact, lost_too_long};
    use outlast_kit::clock::SystemClock;
    use std::time::Duration;
    use tokio::sync::watch;

    #[tokio::test]
    async fn r03_silence_counts_from_its_beginning_and_ends_with_contact() {
        let clock = SystemClock::shared();
        let grace = Duration::from_millis(50);
        let lost = || Contact {
            lost_at: Some(clock.monotonic()),
            grace,
            reconnect_for: Duration::ZERO,
            primary_version: None,
        };
        let contact = watch::Sender::new(lost());
        assert_eq!(lost_too_long(contact.subscribe(), clock.clone()).await, grace);
        contact.send_modify(|contact| contact.lost_at = None);
        let waiting = lost_too_long(contact.subscribe(), clock.clone());
        let regained = tokio::time::timeout(grace * 4, waiting).await;
        assert!(regained.is_err(), "a primary is there");
        let waiting = lost_too_long(contact.subscribe(), clock.clone());
        contact.send_replace(lost());
        waiting.await;
        assert!(clock.monotonic() >= grace);
    }
}
