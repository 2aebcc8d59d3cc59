//! An attempt's lock on the repository: refreshed while the attempt lives, checked before anything becomes final.
//!
//! Used by attempts, and by `fence` and `checkpoints`, which remove snapshots under it. When it is checked is otherwise the attempt's to decide.

use std::sync::Arc;

use outlast_repository::{Hold, LockGuard, LockOptions, Repository, RepositoryError, Snapshot, SnapshotId};

/// Held until every clone is gone.
#[derive(Clone)]
pub(crate) enum AttemptLock {
    Taken(Arc<LockGuard>),
    /// Of who only reads what cannot be written.
    Without {
        repository: Repository,
        _hold: Arc<Hold>,
    },
}

impl AttemptLock {
    pub(super) fn take(repository: &Repository, host: &str) -> Result<Self, RepositoryError> {
        let guard = repository.lock(LockOptions {
            exclusive: false,
            hostname: host.to_owned(),
            username: "outlast".to_owned(),
        })?;
        Ok(Self::Taken(Arc::new(guard)))
    }

    pub(super) fn without(repository: &Repository) -> Result<Self, RepositoryError> {
        Ok(Self::Without {
            repository: repository.clone(),
            _hold: Arc::new(repository.hold()?),
        })
    }

    /// For who writes.
    pub(crate) fn guard(&self) -> Option<Arc<LockGuard>> {
        match self {
            Self::Taken(guard) => Some(Arc::clone(guard)),
            Self::Without { .. } => None,
        }
    }

    /// Whether it still holds, and its repository is still there.
    pub(crate) fn check(&self) -> Result<(), RepositoryError> {
        match self {
            Self::Taken(guard) => guard.check(),
            Self::Without { repository, .. } => repository.prove(),
        }
    }

    pub(crate) fn refresh(&self) -> Result<(), RepositoryError> {
        match self {
            Self::Taken(guard) => guard.refresh(),
            Self::Without { .. } => Ok(()),
        }
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
