//! What stays: histories, restore points, lines of details.

use outlast_proto::words::{
    AgentName, Attempt, CompletionStatus, Counters, Exception, ItemNumber, ItemOutcome, JobId, PolicyName,
    Severity, SnapshotId, StatusCode, Stopped, StorageFault, StorageUnitName, Timestamp, TreeId,
};
use serde::{Deserialize, Serialize};

use crate::event::JobError;

/// An item's line in a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryItem {
    /// As in the policy.
    pub path: String,
    /// Its outcome when the attempt ended.
    pub outcome: ItemOutcome,
    /// Its restore point, of this attempt or an earlier one.
    pub restore_point: Option<SnapshotId>,
    /// When this attempt began it.
    pub started_at: Option<Timestamp>,
    /// When this attempt ended it.
    pub ended_at: Option<Timestamp>,
    /// Its numbers in this attempt.
    pub counters: Counters,
    /// Why it failed.
    pub error: Option<JobError>,
}

/// The immutable record of one ended attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Where; none for attempt 0 (S-12a).
    pub media_agent: Option<AgentName>,
    /// Whose data.
    pub client: AgentName,
    /// How it ended.
    pub status: CompletionStatus,
    /// The number beside it.
    pub code: StatusCode,
    /// Whether and how it was stopped.
    pub stopped: Option<Stopped>,
    /// Why it failed.
    pub error: Option<JobError>,
    /// None for attempt 0.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Timestamp,
    /// The numbers of L-04.
    pub counters: Counters,
    /// Item by item.
    pub items: Vec<HistoryItem>,
    /// Those kept by name.
    pub exceptions: Vec<Exception>,
    /// Of one that was lost: bytes of items it had not finished that it had come through when it was last heard; none: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<u64>,
    /// What about storage ended it, as its media agent said. From cluster version 9 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageFault>,
    /// It made room as it was told (C-08b): no failure, and not counted as one. From cluster version 9 on.
    #[serde(default, skip_serializing_if = "is_false")]
    pub made_room: bool,
}

/// What a finished item left. Its id is that of its snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestorePoint {
    /// Made by which job.
    pub job: JobId,
    /// In which attempt.
    pub attempt: Attempt,
    /// Of which policy.
    pub policy: PolicyName,
    /// Whose data.
    pub client: AgentName,
    /// The item's number.
    pub item_number: ItemNumber,
    /// The item's path.
    pub item: String,
    /// The snapshot's time, as its agent said; from cluster version 7 on between the attempt's begin and the entry.
    pub time: Timestamp,
    /// Files in it.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
    /// Where it lies.
    pub storage_unit: StorageUnitName,
    /// The root tree of its snapshot, which tells it from whatever somebody puts in its place; none for one of before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<TreeId>,
    /// How many entries were applied when it was committed; 0: one of before this was kept.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub committed: u64,
    /// Since when its snapshot is known to be gone (F-15). From cluster version 9 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<Timestamp>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
const fn is_false(it: &bool) -> bool {
    !*it
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A time-stamped line about a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// When it was recorded.
    pub time: Timestamp,
    /// How bad.
    pub severity: Severity,
    /// Who said it.
    pub host: String,
    /// The line.
    pub text: String,
}
