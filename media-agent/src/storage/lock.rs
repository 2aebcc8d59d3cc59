//! An attempt's lock on the repository: refreshed while the attempt lives, checked before anything becomes final.
//!
//! Used by attempts. When it is checked is theirs to decide.

use std::sync::Arc;

use outlast_repository::{LockGuard, LockOptions, Repository, RepositoryError};

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
}
