//! When this node last heard a leader. openraft keeps naming the last one it knew, also when that one is long dead.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Stamped by the answering side with everything a leader sends, heartbeats included.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Option<Instant>>>);

impl Heard {
    pub(super) fn now(&self) {
        if let Ok(mut at) = self.0.lock() {
            *at = Some(Instant::now());
        }
    }

    pub(crate) fn within(&self, patience: Duration) -> bool {
        let at = self.0.lock().ok().and_then(|at| *at);
        at.is_some_and(|at| at.elapsed() < patience)
    }
}
