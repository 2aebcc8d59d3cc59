//! Saves, finds, lists and removes snapshots.
//! Which to keep is the media agent's business, which calls this.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{RepositoryError, Result};
use crate::id::{BlobKind, SnapshotId};
use crate::repository::Repository;
use crate::snapshot::Snapshot;
use crate::storage::FileKind;

/// All snapshots, the readable and the others.
#[derive(Debug, Default)]
pub struct SnapshotList {
    /// Oldest first.
    pub readable: Vec<(SnapshotId, Snapshot)>,
    /// Each error names the file.
    pub damaged: Vec<(SnapshotId, RepositoryError)>,
}

impl Repository {
    /// Writes a snapshot; it is durable when this returns. Its tree must be in an index already, so that a snapshot
    /// never refers to what a crash can take away. If it cannot be made durable it is taken back: nobody is to find what
    /// its writer was told is not there.
    pub fn save_snapshot(&self, snapshot: &Snapshot) -> Result<SnapshotId> {
        if !self.contains(BlobKind::Tree, &snapshot.tree) {
            let location = self.location().to_owned();
            return Err(RepositoryError::MissingBlob {
                kind: BlobKind::Tree,
                id: snapshot.tree,
                location,
            });
        }
        let id = self.save_or_take_back(FileKind::Snapshot, snapshot)?;
        Ok(SnapshotId::from_bytes(*id.as_bytes()))
    }

    pub fn snapshot(&self, id: &SnapshotId) -> Result<Snapshot> {
        self.load_object(FileKind::Snapshot, &id.to_string())
    }

    /// The snapshot of this id, or the one that took its place: `restic tag`, `restic rewrite` and `restic repair snapshots` give a
    /// snapshot another id and remove the old one; the new one names it in `original`.
    ///
    /// Changed again it names the one before it, which nobody knows any more (restic rewrite, restic repair): then `is_of` says which
    /// of the changed snapshots are of this one.
    pub fn follow_snapshot(
        &self,
        id: &SnapshotId,
        is_of: impl Fn(&Snapshot) -> bool,
    ) -> Result<(SnapshotId, Snapshot)> {
        let missing = match self.snapshot(id) {
            Err(error) if error.is_not_found() => error,
            found => return Ok((*id, found?)),
        };
        let names_it = |snapshot: &Snapshot| snapshot.original == Some(*id);
        let mut successors = self.snapshots()?;
        if successors.iter().any(|(_, snapshot)| names_it(snapshot)) {
            successors.retain(|(_, snapshot)| names_it(snapshot));
        } else {
            let there: BTreeSet<SnapshotId> = self.snapshot_ids()?.into_iter().collect();
            let lost_its_own =
                |snapshot: &Snapshot| snapshot.original.is_some_and(|was| !there.contains(&was));
            successors.retain(|(_, snapshot)| lost_its_own(snapshot) && is_of(snapshot));
        }
        match *successors {
            [] => Err(missing),
            [(now, _)] => {
                tracing::info!(snapshot = %id, %now, "a snapshot has another id since somebody changed it");
                Ok(successors.remove(0))
            }
            _ => Err(RepositoryError::SeveralSuccessors {
                location: self.location().to_owned(),
                id: *id,
                by: successors.iter().map(|(id, _)| *id).collect(),
            }),
        }
    }

    /// All readable snapshots, oldest first. Damaged ones are logged by name and left out; see `list_snapshots`.
    pub fn snapshots(&self) -> Result<Vec<(SnapshotId, Snapshot)>> {
        let list = self.list_snapshots()?;
        for (_, error) in &list.damaged {
            tracing::error!(%error, "snapshot passed over");
        }
        Ok(list.readable)
    }

    /// All snapshots, with the reason for each that cannot be read. Only those are read that are new since the last call.
    pub fn list_snapshots(&self) -> Result<SnapshotList> {
        let _hold = self.hold()?;
        let mut list = SnapshotList::default();
        let files = self.storage().list(FileKind::Snapshot)?;
        let named = files
            .iter()
            .filter_map(|(name, length)| Some((name.parse().ok()?, *length)));
        let there: BTreeMap<SnapshotId, u64> = named.collect();
        let known = self.known_snapshots().keep(&there);
        for (id, length) in there {
            if let Some(snapshot) = known.get(&id) {
                list.readable.push((id, Snapshot::clone(snapshot)));
                continue;
            }
            match self.snapshot(&id) {
                Ok(snapshot) => {
                    self.known_snapshots().learn(id, length, &snapshot);
                    list.readable.push((id, snapshot));
                }
                Err(error) if error.is_not_found() => {}
                Err(error @ RepositoryError::Damaged { .. }) => list.damaged.push((id, error)),
                Err(error) => return Err(error),
            }
        }
        list.readable.sort_by_key(|(id, snapshot)| (snapshot.time, *id));
        Ok(list)
    }

    /// The one snapshot whose id begins with `prefix`.
    pub fn find_snapshot(&self, prefix: &str) -> Result<(SnapshotId, Snapshot)> {
        let prefix = prefix.to_ascii_lowercase();
        let fits = |id: &SnapshotId| !prefix.is_empty() && id.to_string().starts_with(&prefix);
        let mut found = self.snapshot_ids()?.into_iter().filter(fits);
        let location = || self.location().to_owned();
        match (found.next(), found.next()) {
            (Some(id), None) => Ok((id, self.snapshot(&id)?)),
            (None, _) => Err(RepositoryError::NoSuchSnapshot {
                location: location(),
                prefix,
            }),
            _ => Err(RepositoryError::AmbiguousSnapshot {
                location: location(),
                prefix,
            }),
        }
    }

    /// Removes a snapshot. The data it refers to stays until a prune.
    pub fn remove_snapshot(&self, id: &SnapshotId) -> Result<()> {
        self.storage().remove(FileKind::Snapshot, &id.to_string())
    }

    /// So many seconds ago its file was written, by this host's clock; none: it is gone.
    pub fn snapshot_age(&self, id: &SnapshotId) -> Result<Option<u64>> {
        match self.storage().modified(FileKind::Snapshot, &id.to_string()) {
            Ok(at) => Ok(Some(at.elapsed().map_or(0, |age| age.as_secs()))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Which snapshots there are, without reading them.
    pub fn snapshot_ids(&self) -> Result<Vec<SnapshotId>> {
        let files = self.storage().list(FileKind::Snapshot)?;
        Ok(files.iter().filter_map(|(name, _)| name.parse().ok()).collect())
    }
}
