//! An attempt's lock on the repository: refreshed while the attempt lives, checked before anything becomes final.
//!
//! Used by attempts, and by `fence` and `checkpoints`, which remove snapshots under it. When it is checked is otherwise the attempt's to decide.

use std::sync::Arc;

use outlast_repository::{LockGuard, LockOptions, Repository, RepositoryError, Snapshot, SnapshotId};

/// Held until every clone is gone.
#[derive(Clone)]
pub(crate) struct AttemptLock {
    guard: Arc<LockGuard>,
}

impl AttemptLock {
    pub(super) fn take(repository: &Repository, host: &str) -> Result<Self, RepositoryError> {
        let guard = repository.lock(LockOptions {
            exclusive: false,
            hostname: host.to_owned(),
            username: "outlast".to_owned(),
        })?;
        Ok(Self {
            guard: Arc::new(guard),
        })
    }

    pub(crate) fn guard(&self) -> Arc<LockGuard> {
        Arc::clone(&self.guard)
    }

    pub(crate) fn check(&self) -> Result<(), RepositoryError> {
        self.guard.check()
    }

    pub(crate) fn refresh(&self) -> Result<(), RepositoryError> {
        self.guard.refresh()
    }
    /// Removes the snapshots that are meant, while the lock holds. The number of those removed; somebody else may be quicker.
    pub(super) fn remove_snapshots(
        &self,
        repository: &Repository,
        is_meant: impl Fn(&SnapshotId, &Snapshot) -> bool,
    ) -> Result<usize, RepositoryError> {
        let mut removed = 0;
        for (id, snapshot) in repository.snapshots()? {
            if !is_meant(&id, &snapshot) {
                continue;
            }
            self.check()?;
            match repository.remove_snapshot(&id) {
                Ok(()) => removed += 1,
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }
}
