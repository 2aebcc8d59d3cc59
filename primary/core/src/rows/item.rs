//! The items of jobs, over all attempts.

use outlast_proto::words::{Attempt, Counters, ItemOutcome, SnapshotId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::event::JobError;

/// An item of a job, over all its attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemRow {
    /// As in the policy.
    pub path: String,
    /// What became of it.
    pub outcome: ItemOutcome,
    /// What it left.
    pub restore_point: Option<SnapshotId>,
    /// What an attempt made of it last.
    pub made: Made,
    /// The last checkpoint that holds part of it, until it is finished.
    pub checkpoint: Option<ItemCheckpoint>,
}

/// What one attempt has made of an item so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Which attempt; 0: none yet.
    pub by: Attempt,
    /// When that began it; none: it took it over.
    pub started_at: Option<Timestamp>,
    /// When that ended it.
    pub ended_at: Option<Timestamp>,
    /// Its numbers, once ended.
    pub counters: Counters,
    /// Why it failed.
    pub error: Option<JobError>,
}

/// A checkpoint, as far as an item is concerned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemCheckpoint {
    /// Its partial snapshot.
    pub snapshot: SnapshotId,
    /// Made by which attempt.
    pub by: Attempt,
    /// The item's numbers so far.
    pub counters: Counters,
}

impl ItemRow {
    /// One that nobody has begun.
    #[must_use]
    pub fn new(path: String) -> Self {
        Self {
            path,
            outcome: ItemOutcome::NotStarted,
            restore_point: None,
            made: Made::default(),
            checkpoint: None,
        }
    }

    /// What this attempt made of it.
    #[must_use]
    pub fn made_by(&self, attempt: Attempt) -> Made {
        let made = self.made.by == attempt;
        if made { self.made.clone() } else { Made::default() }
    }

    /// To be filled in by this attempt; what an earlier one made goes.
    pub(crate) fn make(&mut self, attempt: Attempt) -> &mut Made {
        if self.made.by != attempt {
            self.made = Made {
                by: attempt,
                ..Made::default()
            };
        }
        &mut self.made
    }
}
