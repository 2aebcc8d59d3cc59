//! Opens the repository of the storage unit, once, as soon as it can be reached.
//!
//! Remembers the repository's id on disk, so that an empty mount point is never taken for a new unit. Used by attempts,
//! the survey and the session.

use std::path::PathBuf;
use std::sync::Arc;

use outlast_repository::{LocalStorage, Password, Repository, RepositoryError, Storage};
use parking_lot::Mutex;

use super::lock::AttemptLock;

/// A storage unit and the way into it.
pub(crate) struct StorageUnit {
    pub(crate) name: String,
    path: PathBuf,
    password: Password,
    /// In locks: only this agent uses it.
    lock_host: String,
    /// Where the id of the repository is remembered.
    id_file: PathBuf,
    opened: Mutex<Option<Repository>>,
}

/// Whether an error at start is a mistake in the configuration rather than a storage unit that is away.
pub(crate) fn keeps_agent_down(error: &RepositoryError) -> bool {
    matches!(
        error,
        RepositoryError::NotARepository { .. }
            | RepositoryError::ForeignContent { .. }
            | RepositoryError::WrongPassword { .. }
            | RepositoryError::NewerVersion { .. }
            | RepositoryError::OlderVersion { .. }
    )
}

impl StorageUnit {
    pub(crate) fn new(
        name: String,
        path: PathBuf,
        password: Password,
        agent: &str,
        id_file: PathBuf,
    ) -> Self {
        Self {
            name,
            path,
            password,
            lock_host: outlast_kit::tls::media_agent_server_name(agent),
            id_file,
            opened: Mutex::new(None),
        }
    }

    /// The repository; opened now if it was not yet. The first opening removes locks an earlier process of this agent left.
    pub(crate) fn repository(&self) -> Result<Repository, RepositoryError> {
        let mut opened = self.opened.lock();
        if let Some(repository) = opened.as_ref() {
            return Ok(repository.clone());
        }
        let repository = self.open()?;
        let removed = repository.remove_locks_of(&self.lock_host)?;
        if removed > 0 {
            tracing::info!(
                unit = self.name,
                removed,
                "locks of an earlier run of this agent were removed"
            );
        }
        *opened = Some(repository.clone());
        Ok(repository)
    }

    fn open(&self) -> Result<Repository, RepositoryError> {
        let storage: Arc<dyn Storage> = Arc::new(LocalStorage::new(&self.path));
        let io = |path: &PathBuf| {
            let path = path.clone();
            move |error| RepositoryError::from_io(&path, error)
        };
        let known = match std::fs::read_to_string(&self.id_file) {
            Ok(id) => Some(id.trim().to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(io(&self.id_file)(error)),
        };
        let Some(known) = known else {
            let repository = Repository::open_or_init(storage, &self.password)?;
            outlast_kit::files::write_durably(&self.id_file, repository.id().as_bytes(), 0o600)
                .map_err(io(&self.id_file))?;
            return Ok(repository);
        };
        let away = |reason: &str| {
            io(&self.path)(std::io::Error::other(format!(
                "{reason}; if the storage unit was replaced on purpose, remove {}",
                self.id_file.display()
            )))
        };
        match Repository::open(storage, &self.password) {
            Err(RepositoryError::NotARepository { .. }) => Err(away(
                "the repository that was here is gone, perhaps it is not mounted",
            )),
            Ok(repository) if repository.id() != known => Err(away("another repository is here now")),
            other => other,
        }
    }

    /// The id of the repository, if it was opened.
    pub(crate) fn repository_id(&self) -> Option<String> {
        self.opened.try_lock()?.as_ref().map(|r| r.id().to_owned())
    }

    /// Opens, locks and loads the index, in this order: everything an attempt needs.
    pub(crate) fn prepare(&self) -> Result<(Repository, AttemptLock), RepositoryError> {
        let (repository, lock) = self.lock()?;
        repository.reload_index()?;
        Ok((repository, lock))
    }

    /// Opens and locks: enough for who removes snapshots.
    pub(crate) fn lock(&self) -> Result<(Repository, AttemptLock), RepositoryError> {
        let repository = self.repository()?;
        let lock = AttemptLock::take(&repository, &self.lock_host)?;
        Ok((repository, lock))
    }

    /// Bytes this agent may still write.
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        let fs = rustix::fs::statvfs(&self.path).ok()?;
        Some(fs.f_bavail.saturating_mul(fs.f_frsize))
    }
}
