//! The chunks one client may name in one attempt: what its snapshots reach, and what it proves on the way.
//!
//! `store` loads and keeps it; `backup::chunks` asks and adds.

use std::collections::BTreeSet;

use outlast_repository::{BlobId, SnapshotId};

use super::set::ChunkSet;

#[derive(Debug, Default)]
pub(crate) struct OwnChunks {
    pub(super) set: ChunkSet,
    /// Snapshots all of whose chunks are in the set.
    pub(super) covered: BTreeSet<SnapshotId>,
    /// Whether the cache file knows less of snapshots.
    pub(super) has_changed: bool,
}

impl OwnChunks {
    pub(crate) fn contains(&self, id: &BlobId) -> bool {
        self.set.contains(id)
    }

    /// The client sent this chunk and its bytes were right: it has it, so it may name it, also when no snapshot comes to
    /// reach it (a file that was left out, an item that failed).
    pub(crate) fn prove(&mut self, id: &BlobId) {
        self.set.insert(id);
    }

    /// A snapshot was written from chunks of this set and files of `parent`.
    pub(crate) fn committed(&mut self, snapshot: SnapshotId, parent: Option<SnapshotId>) {
        // If the parent was not walked, or not wholly, the next attempt walks the new one.
        if parent.is_none_or(|parent| self.covered.contains(&parent)) {
            self.covered.insert(snapshot);
            self.has_changed = true;
        }
    }
}
