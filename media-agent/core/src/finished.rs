//! A finished item: as the storage unit has it, and the event that says so.
//!
//! Made by [`crate::backup`] and [`crate::survey`].

use bytes::Bytes;
use outlast_proto::v1::{self, ItemEnded, JobError};
use outlast_proto::words::{AttemptId, Counters, ItemOutcome, SnapshotId, Timestamp, TreeId};

/// An item that is in the storage unit for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Its number in the ticket.
    pub item: u32,
    /// Which restore point.
    pub snapshot: SnapshotId,
    /// Its root.
    pub tree: TreeId,
    /// As the snapshot says.
    pub at: Timestamp,
    /// Done, with exceptions or without.
    pub outcome: ItemOutcome,
    /// What was done.
    pub counters: Counters,
    /// It was found.
    pub adopted: bool,
}

/// An item that was found in the storage unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundItem {
    /// The attempt that finished it.
    pub of: AttemptId,
    /// As its tags tell.
    pub finished: Finished,
}

impl FoundItem {
    /// The item as it is taken over: none of its bytes was read.
    #[must_use]
    pub fn taken_over(self) -> Finished {
        let mut finished = self.finished;
        finished.counters.bytes_carried_over = finished.counters.bytes;
        finished.adopted = true;
        finished
    }
}

impl Finished {
    /// The event that says so.
    #[must_use]
    pub fn ended(&self) -> ItemEnded {
        let outcome = match self.outcome {
            ItemOutcome::DoneWithExceptions => v1::ItemOutcome::DoneWithExceptions,
            _ => v1::ItemOutcome::Done,
        };
        ItemEnded {
            item: self.item,
            outcome: outcome.into(),
            counters: Some(self.counters.into()),
            snapshot: self.snapshot.to_wire(),
            snapshot_time: Some(crate::stamps::to_message(self.at)),
            error: None,
            adopted: self.adopted,
            tree: self.tree.to_wire(),
        }
    }
}

/// An item that failed; the next one runs (S-02a).
pub(crate) fn failed(item: u32, error: JobError) -> ItemEnded {
    ItemEnded {
        item,
        outcome: v1::ItemOutcome::Failed.into(),
        counters: Some(Counters::default().into()),
        snapshot: Bytes::new(),
        error: Some(error),
        ..ItemEnded::default()
    }
}
