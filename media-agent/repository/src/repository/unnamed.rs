//! Packs that no index file names: an index file was lost or is damaged, or a writer ended before it wrote one. What is in them is
//! made known by a new index file, as `restic repair index` does. That adds only: nothing is removed, here or ever.
//!
//! Called by the media agent when an attempt prepares, under its lock. What is wrong with packs that are named is `damage`'s.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, SystemTime};

use crate::error::{RepositoryError, Result};
use crate::id::{BlobKind, IndexId, PackId};
use crate::index::IndexFile;
use crate::lock::LockGuard;
use crate::pack::PackedBlob;
use crate::repository::Repository;
use crate::storage::FileKind;

/// As many as restic puts into one index file.
const BLOBS_PER_FILE: usize = 50_000;
/// While others hold locks, a pack of this age is none that waits for its index.
const OLD: Duration = Duration::from_secs(24 * 3600);

/// What was found of the index, and what was done about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexLook {
    /// Index files that are there and cannot be read.
    pub damaged: BTreeSet<IndexId>,
    /// Snapshots whose first tree no index file named.
    pub cut_off: usize,
    /// Those of which that is so still.
    pub still_cut_off: usize,
    /// Packs that are in a new index file now.
    pub packs: usize,
    /// What is in them.
    pub blobs: usize,
    /// Packs that nobody can tell what is in them, because they are damaged.
    pub unusable: usize,
    /// Packs that are perhaps somebody's who writes now.
    pub left: usize,
}

/// Of the last look.
#[derive(Debug)]
pub(super) struct IndexSeen {
    gone: usize,
    lost: (BTreeSet<IndexId>, usize),
}

impl IndexLook {
    /// Whether an index file is surely damaged or lost, rather than not written yet.
    pub fn is_loss(&self) -> bool {
        !self.damaged.is_empty() || self.cut_off > 0
    }
}

impl Repository {
    /// Index files that are there and could not be read when the index was loaded. They count as absent.
    pub fn damaged_index_files(&self) -> BTreeSet<IndexId> {
        self.index().damaged_files()
    }

    /// Reloads the index, looks for packs that no index file names, and writes a new one with what is in them. While others hold
    /// locks, young packs are left alone as long as nothing is known to be lost: their writers have yet to name them.
    pub fn name_unnamed_packs(&self, lock: &LockGuard) -> Result<IndexLook> {
        let mut seen = self.inner.index_looked.lock();
        // Who wrote what is listed here holds a lock after that, or has written its index.
        let listed = self.storage().list(FileKind::Pack)?;
        let others = self.lock_holders()?;
        let is_alone = others
            .iter()
            .all(|other| other.id == lock.id() || other.is_stale());
        self.reload_index()?;
        let unnamed = self.unnamed(listed);
        let gone = self.index().gone_files();
        let mut look = IndexLook {
            damaged: self.index().damaged_files(),
            ..IndexLook::default()
        };
        let before = seen.as_ref();
        let knows = before.is_some_and(|seen| seen.gone == gone && seen.lost == (BTreeSet::new(), 0));
        if unnamed.is_empty() && look.damaged.is_empty() && knows {
            return Ok(look);
        }
        look.cut_off = self.cut_off()?;
        let takes_all = is_alone || look.is_loss();
        self.name(unnamed, takes_all, lock, &mut look)?;
        look.still_cut_off = match look.cut_off {
            0 => 0,
            _ => self.cut_off()?,
        };
        let lost = (look.damaged.clone(), look.still_cut_off);
        let is_news = before.map_or_else(|| look.is_loss(), |seen| seen.lost != lost);
        *seen = Some(IndexSeen { gone, lost });
        drop(seen);
        if is_news {
            self.count_damage();
        }
        if look.packs > 0 {
            tracing::warn!(
                repository = self.location(),
                packs = look.packs,
                blobs = look.blobs,
                "packs that no index file named are in a new one now"
            );
        }
        Ok(look)
    }

    fn unnamed(&self, listed: Vec<(String, u64)>) -> Vec<(PackId, u64)> {
        let named = self.index().expected_packs();
        let to_delete = self.index().packs_to_delete();
        let listed = listed
            .into_iter()
            .filter_map(|(name, size)| Some((name.parse().ok()?, size)));
        listed
            .filter(|(pack, _)| !named.contains_key(pack) && !to_delete.contains(pack))
            .collect()
    }

    /// How many snapshots have a first tree that is in no index.
    fn cut_off(&self) -> Result<usize> {
        let snapshots = self.snapshots()?;
        let trees: HashSet<_> = snapshots.iter().map(|(_, snapshot)| snapshot.tree).collect();
        let unknown = |tree: &&_| self.index().location(BlobKind::Tree, tree).is_none();
        let unknown: HashSet<_> = trees.iter().filter(unknown).collect();
        Ok(snapshots
            .iter()
            .filter(|(_, snapshot)| unknown.contains(&snapshot.tree))
            .count())
    }

    fn name(
        &self,
        unnamed: Vec<(PackId, u64)>,
        takes_all: bool,
        lock: &LockGuard,
        look: &mut IndexLook,
    ) -> Result<()> {
        let (mut packs, mut blobs_in_file) = (Vec::new(), 0);
        for (pack, size) in unnamed {
            if !takes_all && !self.is_old(&pack)? {
                look.left += 1;
                continue;
            }
            let blobs = match self.pack_blobs(&pack, size) {
                Ok(blobs) => blobs,
                // It can be one that was not written to its end.
                Err(error @ RepositoryError::Damaged { .. }) => {
                    tracing::warn!(%error, "a pack is in no index, and what is in it cannot be told");
                    look.unusable += 1;
                    continue;
                }
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            };
            look.packs += 1;
            look.blobs += blobs.len();
            blobs_in_file += blobs.len();
            packs.push((pack, blobs));
            if blobs_in_file >= BLOBS_PER_FILE {
                self.write_index(&std::mem::take(&mut packs), lock)?;
                blobs_in_file = 0;
            }
        }
        self.write_index(&packs, lock)
    }

    fn write_index(&self, packs: &[(PackId, Vec<PackedBlob>)], lock: &LockGuard) -> Result<()> {
        if packs.is_empty() {
            return Ok(());
        }
        lock.check()?;
        let id = self.save_object(FileKind::Index, &IndexFile::of(packs))?;
        self.index().add_file(IndexId::from_bytes(*id.as_bytes()), packs);
        Ok(())
    }

    /// None of the future, which a wrong clock wrote.
    fn is_old(&self, pack: &PackId) -> Result<bool> {
        match self.storage().modified(FileKind::Pack, &pack.to_string()) {
            Ok(modified) => Ok(SystemTime::now()
                .duration_since(modified)
                .is_ok_and(|age| age > OLD)),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }
}
