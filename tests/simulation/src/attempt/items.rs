//! Finished items, as the storage unit has them.

use outlast_media_core::{AttemptId, Finished, FoundItem};
use outlast_proto::words::{Timestamp, TreeId};

use crate::storage::{Kind, Snap, Unit};

/// The finished items of a job in the storage unit that count for an attempt.
pub(crate) fn found(unit: &Unit, id: AttemptId) -> Vec<FoundItem> {
    let is_ours = |snap: &Snap| snap.id.is_of_same_job(id) && snap.kind == Kind::Item;
    let of_job = unit.snapshots().filter(|(_, snap)| is_ours(snap));
    let all = of_job.map(|(snapshot, snap)| {
        let finished = Finished {
            item: snap.item,
            snapshot,
            tree: TreeId([7; 32]),
            at: Timestamp::default(),
            outcome: snap.outcome,
            counters: snap.counters,
            adopted: false,
        };
        let of = snap.id;
        (snap.item, of.attempt, FoundItem { of, finished })
    });
    let newest = outlast_media_core::survey::newest(all, id.attempt);
    newest.into_values().collect()
}
