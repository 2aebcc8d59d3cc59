//! How an attempt is told to end. What counts of it, the core's `Told` says.
//!
//! Held by the manager, the attempt's task, its stream and its engine.

use outlast_media_core::Halt;
use outlast_media_core::attempt::{Course, Told};
use tokio::sync::watch;

#[derive(Debug)]
pub(crate) struct Control {
    told: watch::Sender<Told>,
}

impl Control {
    pub(crate) fn new() -> Self {
        Self {
            told: watch::Sender::new(Told::default()),
        }
    }

    /// Ends the attempt for this reason, unless it has one already.
    pub(crate) fn halt(&self, why: Halt) {
        self.told.send_if_modified(|told| told.halt(why));
    }

    pub(crate) fn halted(&self) -> Option<Halt> {
        self.told.borrow().halted().cloned()
    }

    /// Returns when there is a reason.
    pub(crate) async fn wait(&self) {
        // The sender is ours, so it cannot be gone.
        let _ = self
            .told
            .subscribe()
            .wait_for(|told| told.halted().is_some())
            .await;
    }

    /// No further item is begun.
    pub(crate) fn stop_gracefully(&self) {
        self.told.send_modify(Told::stop_gracefully);
    }

    /// It makes a checkpoint at once and ends (C-08b).
    pub(crate) fn leave(&self, why: String) {
        self.told.send_if_modified(|told| told.leave(why));
    }

    /// Whether it is to make a checkpoint and end.
    pub(crate) fn is_leaving(&self) -> bool {
        self.told.borrow().leaving().is_some()
    }

    /// Returns when it is to make a checkpoint and end.
    pub(super) async fn left(&self) {
        let _ = self
            .told
            .subscribe()
            .wait_for(|told| told.leaving().is_some())
            .await;
    }

    /// What the work is to do.
    pub(crate) fn course(&self) -> Course {
        self.told.borrow().course()
    }

    /// For who follows what is told.
    pub(super) fn subscribe(&self) -> watch::Receiver<Told> {
        self.told.subscribe()
    }
}
