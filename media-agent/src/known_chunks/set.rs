//! A set of chunks by the first half of their ids.
//!
//! Why half is enough: to pass for a chunk of the set, a foreign one must have the same first 128 bits. A client can
//! choose its own chunks but not the foreign one, so it needs a second preimage, some 2^128 hashes. And whoever asks
//! here also asks the index for the whole id, so a collision by chance loses nothing. No files, no locks.

use std::collections::HashSet;

use outlast_repository::BlobId;

/// What is kept of an id.
pub(super) const KEPT: usize = 16;
pub(super) type Short = [u8; KEPT];

/// Fewer new ones are not worth a merge.
const MERGE_FROM: usize = 65_536;

/// Most of it sorted and tight, the newest in a hash set.
#[derive(Debug, Default)]
pub(super) struct ChunkSet {
    sorted: Vec<Short>,
    fresh: HashSet<Short>,
}

impl ChunkSet {
    /// Takes over ids that rise strictly.
    pub(super) fn of_sorted(sorted: Vec<Short>) -> Self {
        Self {
            sorted,
            fresh: HashSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.sorted.len() + self.fresh.len()
    }

    pub(super) fn contains(&self, id: &BlobId) -> bool {
        let short = short(id);
        self.sorted.binary_search(&short).is_ok() || self.fresh.contains(&short)
    }

    pub(super) fn insert(&mut self, id: &BlobId) {
        let short = short(id);
        if self.sorted.binary_search(&short).is_ok() || !self.fresh.insert(short) {
            return;
        }
        if self.fresh.len() >= MERGE_FROM.max(self.sorted.len() / 4) {
            self.merge();
        }
    }

    /// All of them, rising.
    pub(super) fn sorted(&mut self) -> &[Short] {
        self.merge();
        &self.sorted
    }

    fn merge(&mut self) {
        let mut fresh: Vec<Short> = std::mem::take(&mut self.fresh).into_iter().collect();
        fresh.sort_unstable();
        // Not doubled: the old and the new together are what is needed.
        self.sorted.reserve_exact(fresh.len());
        self.sorted.append(&mut fresh);
        // Two sorted runs: the stable sort merges them in one pass.
        self.sorted.sort();
    }

    #[cfg(test)]
    pub(super) fn bytes_in_memory(&self) -> usize {
        // A hash set keeps one slot in eight free and a byte of control for each.
        self.sorted.capacity() * KEPT + self.fresh.capacity() * 8 / 7 * (KEPT + 1)
    }
}

pub(super) fn short(id: &BlobId) -> Short {
    let mut short = [0; KEPT];
    short.copy_from_slice(&id.as_bytes()[..KEPT]);
    short
}
