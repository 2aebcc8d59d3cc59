//! The blobs added to a writer that no index names yet. In shards, so that threads seldom meet. Called by `shared`.

use std::collections::HashSet;

use parking_lot::{Mutex, MutexGuard};

use crate::id::{BlobId, BlobKind};
use crate::index::IdHasher;

const SHARDS: usize = 32;

type Shard = HashSet<(BlobKind, BlobId), IdHasher>;

pub(super) struct Pending {
    shards: Vec<Mutex<Shard>>,
}

impl Pending {
    pub(super) fn new() -> Pending {
        let hasher = IdHasher::random();
        Pending {
            shards: (0..SHARDS)
                .map(|_| Mutex::new(HashSet::with_hasher(hasher.clone())))
                .collect(),
        }
    }

    /// Takes note of a blob unless it is noted already or `indexed`; true if the caller is the one to store it.
    /// `indexed` is asked under the shard's lock: a blob leaves here only after it got into the index, so it is
    /// always found in one of the two.
    pub(super) fn claim(&self, kind: BlobKind, id: BlobId, indexed: impl FnOnce() -> bool) -> bool {
        let mut shard = self.shard(&id);
        if shard.contains(&(kind, id)) || indexed() {
            return false;
        }
        shard.insert((kind, id))
    }

    pub(super) fn contains(&self, kind: BlobKind, id: &BlobId) -> bool {
        self.shard(id).contains(&(kind, *id))
    }

    pub(super) fn remove(&self, kind: BlobKind, id: BlobId) {
        self.shard(&id).remove(&(kind, id));
    }

    fn shard(&self, id: &BlobId) -> MutexGuard<'_, Shard> {
        self.shards[usize::from(id.as_bytes()[31]) % SHARDS].lock()
    }
}
