//! How an attempt is told to end. The first reason wins.
//!
//! Held by the desk, the attempt's task and its engine.

use std::sync::atomic::{AtomicBool, Ordering};

use outlast_media_core::Halt;
use tokio::sync::watch;

#[derive(Debug)]
pub(crate) struct Control {
    halt: watch::Sender<Option<Halt>>,
    graceful: AtomicBool,
}

impl Control {
    pub(crate) fn new() -> Self {
        Self {
            halt: watch::Sender::new(None),
            graceful: AtomicBool::new(false),
        }
    }

    /// Ends the attempt for this reason, unless it has one already.
    pub(crate) fn halt(&self, why: Halt) {
        self.halt.send_if_modified(|halt| {
            let first = halt.is_none();
            if first {
                *halt = Some(why);
            }
            first
        });
    }

    pub(crate) fn halted(&self) -> Option<Halt> {
        self.halt.borrow().clone()
    }

    /// Returns when there is a reason.
    pub(crate) async fn wait(&self) {
        // The sender is ours, so it cannot be gone.
        let _ = self.halt.subscribe().wait_for(Option::is_some).await;
    }

    /// No further item is begun.
    pub(crate) fn stop_gracefully(&self) {
        self.graceful.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping_gracefully(&self) -> bool {
        self.graceful.load(Ordering::Relaxed)
    }
}
