//! A model of the storage unit: packs, index, snapshots, each durable when it is written, in that order. What a snapshot needs is
//! there, or it is not whole. Shared by the media agents.

use std::collections::{BTreeMap, BTreeSet};

use outlast_media_core::AttemptId;
use outlast_proto::words::{Counters, SnapshotId};

/// A snapshot, as its tags tell.
#[derive(Clone, Debug)]
pub(crate) struct Snap {
    pub(crate) id: AttemptId,
    pub(crate) item: u32,
    pub(crate) counters: Counters,
    pub(crate) packs: Vec<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Unit {
    packs: BTreeSet<u64>,
    index: BTreeSet<u64>,
    pub(crate) snapshots: BTreeMap<SnapshotId, Snap>,
}

impl Unit {
    pub(crate) fn write_pack(&mut self, pack: u64) {
        self.packs.insert(pack);
    }

    pub(crate) fn write_index(&mut self, packs: &[u64]) {
        self.index.extend(packs);
    }

    pub(crate) fn write_snapshot(&mut self, number: u64, snap: Snap) -> SnapshotId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        id[8..16].copy_from_slice(&snap.id.job.0.to_be_bytes());
        self.snapshots.insert(SnapshotId(id), snap);
        SnapshotId(id)
    }

    /// Why a restore point of this job and item cannot be this snapshot.
    pub(crate) fn what_is_wrong_with(&self, id: &SnapshotId, job: u64, item: u32) -> Option<&'static str> {
        let Some(snap) = self.snapshots.get(id) else {
            return Some("is not in the storage unit");
        };
        if snap.id.job.0 != job || snap.item != item {
            return Some("is another item's");
        }
        let whole = snap
            .packs
            .iter()
            .all(|pack| self.packs.contains(pack) && self.index.contains(pack));
        (!whole).then_some("is not whole")
    }
}
