//! Whose each snapshot of the storage unit is, so that an attempt reads only those that are new since the last one.
//!
//! In memory; a new process reads them all once. Called by `store`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use outlast_repository::{BlobId, Repository, RepositoryError, SnapshotId};
use parking_lot::Mutex;

use crate::storage::{SnapshotOwner, is_checkpoint, owner_of};

#[derive(Default)]
pub(super) struct Snapshots {
    /// Nothing for those that are nobody's.
    seen: Mutex<HashMap<SnapshotId, Option<(SnapshotOwner, Root)>>>,
}

/// The tree of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) tree: BlobId,
    /// It goes with its job: nobody shall rely on it for long.
    pub(super) is_checkpoint: bool,
}

impl Snapshots {
    /// The owner's snapshots, checkpoints among them.
    pub(super) fn of(
        &self,
        repository: &Repository,
        owner: &SnapshotOwner,
    ) -> Result<BTreeMap<SnapshotId, Root>, RepositoryError> {
        let listed: BTreeSet<SnapshotId> = repository.snapshot_ids()?.into_iter().collect();
        // Held while files are read: the second attempt that asks would only read the same.
        let mut seen = self.seen.lock();
        seen.retain(|id, _| listed.contains(id));
        for id in listed {
            if seen.contains_key(&id) {
                continue;
            }
            match repository.snapshot(&id) {
                Ok(snapshot) => {
                    let root = Root {
                        tree: snapshot.tree,
                        is_checkpoint: is_checkpoint(&snapshot),
                    };
                    seen.insert(id, owner_of(&snapshot).map(|owner| (owner, root)));
                }
                Err(error) if error.is_not_found() => {}
                Err(error @ RepositoryError::Damaged { .. }) => {
                    tracing::warn!(%error, "a snapshot cannot be read; chunks only it reaches are sent again");
                }
                Err(error) => return Err(error),
            }
        }
        let own = seen.iter().filter_map(|(id, known)| match known {
            Some((other, root)) if other == owner => Some((*id, *root)),
            _ => None,
        });
        Ok(own.collect())
    }
}
