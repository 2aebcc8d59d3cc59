//! Finished items: as the storage unit has them, and as the journal says so.

use outlast_media_core::AttemptId;
use outlast_proto::v1;
use outlast_proto::v1::journal_event::What;
use outlast_proto::words::{Counters, SnapshotId};

use crate::storage::{Kind, Snap, Unit};

/// The finished items of a job in the storage unit that count for an attempt.
pub(crate) fn found(unit: &Unit, id: AttemptId) -> Vec<(u32, SnapshotId, Snap)> {
    let is_ours = |snap: &Snap| snap.id.is_of_same_job(id) && snap.kind == Kind::Item;
    let of_job = unit.snapshots().filter(|(_, snap)| is_ours(snap));
    let all = of_job.map(|(snapshot, snap)| (snap.item, snap.id.attempt, (snapshot, snap.clone())));
    let newest = outlast_media_core::survey::newest(all, id.attempt);
    newest
        .into_iter()
        .map(|(item, (snapshot, snap))| (item, snapshot, snap))
        .collect()
}

/// The event that takes an item over.
pub(crate) fn adopted(item: u32, snapshot: SnapshotId, snap: &Snap) -> What {
    item_ended(item, snapshot, &snap.counters, true)
}

pub(super) fn item_ended(item: u32, snapshot: SnapshotId, counters: &Counters, adopted: bool) -> What {
    let outcome = if counters.exceptions > 0 {
        v1::ItemOutcome::DoneWithExceptions
    } else {
        v1::ItemOutcome::Done
    };
    What::ItemEnded(v1::ItemEnded {
        item,
        outcome: outcome.into(),
        counters: Some((*counters).into()),
        snapshot: snapshot.to_wire(),
        snapshot_time: None,
        error: None,
        adopted,
        tree: bytes::Bytes::new(),
    })
}
