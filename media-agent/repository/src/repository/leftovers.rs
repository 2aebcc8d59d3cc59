//! Files of ours that were to be removed and could not be: released locks, snapshots that were taken back. Such a lock keeps others
//! away until it is stale, such a snapshot is taken for what it is not.
//!
//! They are kept in mind, and tried again when the media agent asks for it. Locks and snapshots come here; what is only in
//! nobody's way does not.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::Result;
use crate::id::SnapshotId;
use crate::repository::Repository;
use crate::storage::FileKind;

#[derive(Debug, Default)]
pub(super) struct Leftovers(Mutex<Vec<(FileKind, String)>>);

impl Repository {
    /// Removes a file of ours; one that is gone is removed. If that fails it is tried again later.
    pub(crate) fn remove_or_remember(&self, kind: FileKind, name: &str) -> Result<()> {
        match self.storage().remove(kind, name) {
            Err(error) if !error.is_not_found() => {
                self.leftovers().0.lock().push((kind, name.to_owned()));
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Removes a snapshot of ours that nobody was told of. If that fails it is tried again with [`Repository::remove_leftovers`].
    pub fn take_back_snapshot(&self, id: &SnapshotId) -> Result<()> {
        self.remove_or_remember(FileKind::Snapshot, &id.to_string())
    }

    pub fn has_leftovers(&self) -> bool {
        !self.leftovers().0.lock().is_empty()
    }

    /// Tries again to remove what could not be removed; the number of those that are gone.
    pub fn remove_leftovers(&self) -> Result<usize> {
        if !self.has_leftovers() {
            return Ok(0);
        }
        let _hold = self.hold()?;
        self.prove()?;
        let leftovers = std::mem::take(&mut *self.leftovers().0.lock());
        let count = leftovers.len();
        let mut failed = Ok(());
        for (kind, name) in leftovers {
            if let Err(error) = self.remove_or_remember(kind, &name) {
                failed = Err(error);
            }
        }
        failed.map(|()| count)
    }

    /// Takes over what is left of an earlier handle of the same repository, and shares it from now on.
    pub fn inherits_from(&self, before: &Repository) {
        let shared = before.leftovers();
        *self.inner.leftovers.lock() = shared;
    }

    fn leftovers(&self) -> Arc<Leftovers> {
        Arc::clone(&self.inner.leftovers.lock())
    }
}
