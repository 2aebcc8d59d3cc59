//! A model of the storage unit: packs, index, snapshots, written and then synced by one media agent or the other. What a host
//! wrote last and did not sync may be gone when it is. Others see a snapshot when it is synced, as it gets its name then.

use std::collections::{BTreeMap, BTreeSet};

use outlast_media_core::AttemptId;
use outlast_proto::words::{Counters, ItemOutcome, SnapshotId};

use crate::net::Cx;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Item,
    Checkpoint,
}

/// A snapshot, as its tags tell.
#[derive(Clone, Debug)]
pub(crate) struct Snap {
    pub(crate) id: AttemptId,
    pub(crate) item: u32,
    pub(crate) kind: Kind,
    pub(crate) outcome: ItemOutcome,
    pub(crate) counters: Counters,
    pub(crate) packs: Vec<u64>,
}

/// A file of the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
enum File {
    Pack(u64),
    Index(u64),
    Snapshot(SnapshotId),
}

#[derive(Debug, Default)]
pub(crate) struct Unit {
    packs: BTreeSet<u64>,
    index: BTreeSet<u64>,
    snapshots: BTreeMap<SnapshotId, Snap>,
    /// Checkpoints that were there.
    removed: BTreeSet<SnapshotId>,
    /// By media agent, in the order of writing.
    unsynced: BTreeMap<usize, Vec<File>>,
}

impl Unit {
    pub(crate) fn write_pack(&mut self, by: usize, pack: u64) {
        self.packs.insert(pack);
        self.unsynced.entry(by).or_default().push(File::Pack(pack));
    }

    /// An index file that names one pack.
    pub(crate) fn write_index(&mut self, by: usize, pack: u64) {
        self.index.insert(pack);
        self.unsynced.entry(by).or_default().push(File::Index(pack));
    }

    pub(crate) fn write_snapshot(&mut self, by: usize, number: u64, snap: Snap) -> SnapshotId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        id[8..16].copy_from_slice(&snap.id.job.0.to_be_bytes());
        let id = SnapshotId(id);
        self.snapshots.insert(id, snap);
        self.unsynced.entry(by).or_default().push(File::Snapshot(id));
        id
    }

    /// What this media agent wrote is on the disk now.
    pub(crate) fn sync(&mut self, by: usize, but_packs: bool) {
        let files = self.unsynced.entry(by).or_default();
        files.retain(|file| but_packs && matches!(file, File::Pack(_)));
    }

    /// Snapshots that have their name.
    pub(crate) fn snapshots(&self) -> impl Iterator<Item = (SnapshotId, &Snap)> {
        let all = self.snapshots.iter().map(|(id, snap)| (*id, snap));
        all.filter(|(id, _)| {
            let file = File::Snapshot(*id);
            !self.unsynced.values().any(|files| files.contains(&file))
        })
    }

    pub(crate) fn snapshot(&self, id: SnapshotId) -> Option<&Snap> {
        self.snapshots.get(&id)
    }

    /// Finished items of an attempt that have their name.
    pub(crate) fn items_of(&self, id: AttemptId) -> impl Iterator<Item = u32> {
        let of_it = self
            .snapshots()
            .filter(move |(_, snap)| snap.id == id && snap.kind == Kind::Item);
        of_it.map(|(_, snap)| snap.item)
    }

    /// Whether it has its name for good.
    pub(crate) fn is_durable(&self, id: SnapshotId) -> bool {
        self.removed.contains(&id) || self.snapshots().any(|(other, _)| other == id)
    }

    pub(crate) fn remove(&mut self, id: SnapshotId) {
        if let Some(snap) = self.snapshots.remove(&id)
            && snap.kind == Kind::Checkpoint
        {
            self.removed.insert(id);
        }
    }

    /// The newest checkpoint of this attempt but for one.
    pub(crate) fn newest_checkpoint_but(&self, of: AttemptId, id: SnapshotId) -> Option<SnapshotId> {
        let is_one = |snap: &Snap| snap.id == of && snap.kind == Kind::Checkpoint;
        let all = self
            .snapshots()
            .filter(|(other, snap)| *other != id && is_one(snap));
        all.map(|(other, _)| other).max()
    }

    /// Somebody else removes what of this no snapshot refers to that he sees.
    pub(crate) fn prune(&mut self, packs: &[u64], unseen: Option<SnapshotId>) {
        let seen = self.snapshots.iter().filter(|(id, _)| Some(**id) != unseen);
        let used: BTreeSet<u64> = seen.flat_map(|(_, snap)| snap.packs.iter().copied()).collect();
        self.packs
            .retain(|pack| used.contains(pack) || !packs.contains(pack));
    }

    /// Those of this attempt and of the ones before it.
    pub(crate) fn remove_checkpoints(&mut self, id: AttemptId) {
        let removed = self.snapshots.extract_if(.., |_, snap| {
            let of_job = snap.id.is_through(id);
            of_job && snap.kind == Kind::Checkpoint
        });
        self.removed.extend(removed.map(|(snapshot, _)| snapshot));
    }

    /// What superseded attempts left and nobody took over.
    pub(crate) fn remove_fenced(&mut self, through: AttemptId, keep: &BTreeSet<SnapshotId>) {
        self.snapshots
            .retain(|id, snap| snap.kind != Kind::Item || !snap.id.is_through(through) || keep.contains(id));
    }

    /// There is one of this attempt or of one before it.
    pub(crate) fn has_checkpoints(&self, id: AttemptId) -> bool {
        let is_one = |snap: &Snap| snap.id.is_through(id) && snap.kind == Kind::Checkpoint;
        self.snapshots.values().any(is_one)
    }

    /// Why what was journalled as a checkpoint of this attempt cannot be this snapshot.
    pub(crate) fn what_is_wrong_with_checkpoint(
        &self,
        id: &SnapshotId,
        of: AttemptId,
    ) -> Option<&'static str> {
        if self.removed.contains(id) {
            return None;
        }
        let Some(snap) = self.snapshots.get(id) else {
            return Some("was never there");
        };
        if (snap.id, snap.kind) != (of, Kind::Checkpoint) {
            return Some("is something else");
        }
        (!self.is_whole(snap)).then_some("is not whole")
    }

    fn is_whole(&self, snap: &Snap) -> bool {
        snap.packs
            .iter()
            .all(|pack| self.packs.contains(pack) && self.index.contains(pack))
    }

    /// Why a restore point of this job and item cannot be this snapshot.
    pub(crate) fn what_is_wrong_with(&self, id: &SnapshotId, job: u64, item: u32) -> Option<&'static str> {
        let Some(snap) = self.snapshots.get(id) else {
            return Some("is not in the storage unit");
        };
        if snap.id.job.0 != job || snap.item != item || snap.kind != Kind::Item {
            return Some("is another item's");
        }
        (!self.is_whole(snap)).then_some("is not whole")
    }
}

/// The host of a media agent is gone: of what it did not sync, any part may be there.
pub(crate) fn crash(cx: &mut Cx, by: usize) {
    for file in cx.unit.unsynced.remove(&by).unwrap_or_default() {
        if cx.rng.percent(50) {
            continue;
        }
        match file {
            File::Pack(pack) => {
                cx.unit.packs.remove(&pack);
            }
            File::Index(pack) => {
                cx.unit.index.remove(&pack);
            }
            File::Snapshot(id) => {
                cx.unit.snapshots.remove(&id);
            }
        }
    }
}
