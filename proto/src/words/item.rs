//! Items of a policy and what became of them (S-02, S-02a, X-05).

use serde::{Deserialize, Serialize};

use super::word_enum;

/// The place of an item in its policy's ordered list, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ItemNumber(pub u32);

word_enum!(
    /// What became of an item.
    ItemOutcome {
        /// Not begun yet.
        NotStarted = "not_started",
        /// Being processed by the running attempt.
        InProgress = "in_progress",
        /// Finished without error, nothing skipped.
        Done = "done",
        /// Finished, with at least one exception.
        DoneWithExceptions = "done_with_exceptions",
        /// Ended by an error of its own; the other items are unaffected (S-02a).
        Failed = "failed",
        /// Cut short by a stop.
        Stopped = "stopped",
    }
);

impl ItemOutcome {
    /// Whether the item left a restore point (or, for a restore, was restored).
    #[must_use]
    pub const fn is_finished(self) -> bool {
        matches!(self, ItemOutcome::Done | ItemOutcome::DoneWithExceptions)
    }
}

/// How many exceptions of one attempt are kept by name in the replicated state; beyond it they are only counted.
pub const MAX_EXCEPTIONS: usize = 1000;

/// A file that could not be backed up or restored as it should (S-02).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    /// The path on the host; bytes that are not UTF-8 are shown as `\xNN`.
    pub path: String,
    /// Why, in a few words for a person.
    pub reason: String,
    /// Of which item of the job, once recorded; none: of before that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<ItemNumber>,
}
