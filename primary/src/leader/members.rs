//! Members from before data directories had incarnations get theirs written down, as soon as all of them can say it.

use std::time::Duration;

use outlast_core::Command;

use crate::brain::Brain;
use crate::reconcilers::{Reconciler, Trouble};
use crate::wakes::Cause;

/// Between two tries.
const AGAIN: Duration = Duration::from_secs(5);

pub(super) struct Members {
    brain: Brain,
    are_bound: bool,
}

impl Members {
    pub(super) const fn new(brain: Brain) -> Self {
        Self {
            brain,
            are_bound: false,
        }
    }
}

impl Reconciler for Members {
    const NAME: &'static str = "members";
    const WAKES: &'static [Cause] = &[];

    fn period(&self) -> Option<Duration> {
        (!self.are_bound).then_some(AGAIN)
    }

    async fn look(&mut self) -> Result<Vec<Command>, Trouble> {
        let bound = self.brain.raft().bind_members().await;
        self.are_bound = bound.map_err(|error| {
            Trouble(format!(
                "members are not bound to their data directories yet: {error}"
            ))
        })?;
        Ok(Vec::new())
    }
}
