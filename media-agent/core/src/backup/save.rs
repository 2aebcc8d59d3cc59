//! How a snapshot comes into being: under the lock, and taken back if that was lost meanwhile, for a prune may have removed what it needs.

use std::ops::ControlFlow;

use outlast_proto::words::{SnapshotId, Timestamp};

use super::{Came, Snapshot, Step};
use crate::ending::End;

/// How far it is.
#[derive(Clone, Debug)]
pub(super) enum Saving {
    Checking,
    Writing,
    CheckingAgain(SnapshotId, Timestamp),
    TakingBack(End),
}

impl Saving {
    /// The snapshot that is there for good, or where it is now and the next step.
    pub(super) fn next(
        self,
        snapshot: Snapshot,
        came: Result<Came, End>,
    ) -> ControlFlow<(SnapshotId, Timestamp), (Self, Step)> {
        let over = |end: End| (Saving::Writing, Step::Over(Err(end)));
        match (self, came) {
            (Saving::Checking, Ok(_)) => ControlFlow::Continue((Saving::Writing, Step::Save(snapshot))),
            (Saving::Writing, Ok(Came::Saved { snapshot, at })) => {
                ControlFlow::Continue((Saving::CheckingAgain(snapshot, at), Step::CheckLock))
            }
            (Saving::CheckingAgain(snapshot, at), Ok(_)) => ControlFlow::Break((snapshot, at)),
            (Saving::CheckingAgain(snapshot, _), Err(end)) => {
                ControlFlow::Continue((Saving::TakingBack(end), Step::TakeBack(snapshot)))
            }
            (Saving::TakingBack(end), _) | (_, Err(end)) => ControlFlow::Continue(over(end)),
            (Saving::Writing, Ok(_)) => ControlFlow::Continue(over(super::out_of_turn())),
        }
    }
}
