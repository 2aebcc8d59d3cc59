//! Which packs, and which blobs in them, are known not to be as they should be. What is here counts as absent.
//! How it is found is `repository::damage`'s. No files, no locks; part of `table`.

use std::collections::{HashMap, HashSet};

use crate::id::{BlobId, BlobKind, PackId};

/// A pack with more damaged blobs than this is not trusted at all.
const MOST_DAMAGED: usize = 8;

/// What is known of one pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Trust {
    #[default]
    All,
    /// All but the blobs that are named.
    Some,
    None,
}

#[derive(Default)]
struct Flaws {
    /// Missing or cut when the packs were looked at last.
    is_absent: bool,
    is_damaged: bool,
    blobs: HashSet<(BlobKind, BlobId)>,
}

impl Flaws {
    fn trust(&self) -> Trust {
        if self.is_absent || self.is_damaged {
            Trust::None
        } else if self.blobs.is_empty() {
            Trust::All
        } else {
            Trust::Some
        }
    }
}

#[derive(Default)]
pub(super) struct Distrust {
    packs: HashMap<PackId, Flaws>,
}

impl Distrust {
    pub(super) fn of(&self, pack: &PackId) -> Trust {
        self.packs.get(pack).map_or(Trust::All, Flaws::trust)
    }

    pub(super) fn is_named(&self, pack: &PackId, kind: BlobKind, id: &BlobId) -> bool {
        self.packs
            .get(pack)
            .is_some_and(|flaws| flaws.blobs.contains(&(kind, *id)))
    }

    /// A blob was read as damaged. Whether that is news, and whether its pack is given up because of it.
    pub(super) fn blob(&mut self, pack: PackId, kind: BlobKind, id: BlobId) -> (bool, bool) {
        let flaws = self.packs.entry(pack).or_default();
        if flaws.trust() == Trust::None || !flaws.blobs.insert((kind, id)) {
            return (false, false);
        }
        flaws.is_damaged = flaws.blobs.len() > MOST_DAMAGED;
        (true, flaws.is_damaged)
    }

    /// Nothing in the pack is to be trusted. Whether that is news.
    pub(super) fn pack(&mut self, pack: PackId) -> bool {
        let flaws = self.packs.entry(pack).or_default();
        !std::mem::replace(&mut flaws.is_damaged, true)
    }

    /// Whether the pack is missing or cut. Whether that is news.
    pub(super) fn set_absent(&mut self, pack: PackId, is_absent: bool) -> bool {
        if !is_absent && !self.packs.contains_key(&pack) {
            return false;
        }
        let flaws = self.packs.entry(pack).or_default();
        std::mem::replace(&mut flaws.is_absent, is_absent) != is_absent
    }

    pub(super) fn is_absent(&self, pack: &PackId) -> bool {
        self.packs.get(pack).is_some_and(|flaws| flaws.is_absent)
    }
}
