//! Opens the repository of the storage unit as soon as it can be reached, and gives it out as long as it is there.
//!
//! Remembers the repository's id on disk, so that an empty mount point is never taken for a new unit. Used by attempts,
//! the survey and the session.

use std::path::PathBuf;
use std::sync::Arc;

use outlast_repository::{Found, LocalStorage, Password, Repository, RepositoryError, Storage};
use parking_lot::Mutex;

use super::chores::Chore;
use super::lock::AttemptLock;
use super::mount::Mount;

/// A storage unit and the way into it.
pub(crate) struct StorageUnit {
    pub(crate) name: String,
    path: PathBuf,
    password: Password,
    /// In locks: only this agent uses it.
    lock_host: String,
    /// Where the id of the repository is remembered.
    id_file: PathBuf,
    pub(super) opened: Mutex<Option<Repository>>,
    pub(super) chores: Mutex<Vec<Chore>>,
    /// Why it could not be used when it was last looked at.
    problem: Mutex<Option<String>>,
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
            chores: Mutex::default(),
            problem: Mutex::new(None),
        }
    }

    /// The repository, which is there now: opened if it was not yet, proved if it was (S-14a). The first opening removes locks an
    /// earlier process of this agent left. What is found is told when it changes.
    pub(crate) fn repository(&self) -> Result<Repository, RepositoryError> {
        let found = self.proved();
        self.note(found.as_ref().err().map(ToString::to_string));
        found
    }

    /// As [`StorageUnit::repository`], when the agent starts: what keeps it down is told as the reason of its end.
    pub(crate) fn repository_at_start(&self) -> Result<Repository, RepositoryError> {
        let found = self.proved();
        if !found.as_ref().is_err_and(keeps_agent_down) {
            self.note(found.as_ref().err().map(ToString::to_string));
        }
        found
    }

    /// Why it cannot be used, as far as is known.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.lock().clone()
    }

    pub(super) fn note(&self, problem: Option<String>) {
        let before = std::mem::replace(&mut *self.problem.lock(), problem.clone());
        if before == problem {
            return;
        }
        match problem {
            Some(problem) => tracing::error!(
                unit = self.name,
                problem,
                "the storage unit cannot be used now; attempts fail until it can"
            ),
            None => tracing::info!(unit = self.name, "the storage unit can be used again"),
        }
    }

    fn proved(&self) -> Result<Repository, RepositoryError> {
        let mut opened = self.opened.lock();
        let repository = match opened.as_ref() {
            Some(known) => match known.prove() {
                Ok(()) => return Ok(known.clone()),
                Err(replaced @ RepositoryError::Replaced { .. }) => {
                    let repository = self.reopen(known.id(), replaced)?;
                    repository.inherits_from(known);
                    repository
                }
                Err(error) => return Err(error),
            },
            None => {
                let repository = self.open()?;
                self.remove_own_locks(&repository);
                repository
            }
        };
        *opened = Some(repository.clone());
        Ok(repository)
    }

    fn open(&self) -> Result<Repository, RepositoryError> {
        let failed = |error| RepositoryError::from_io(&self.id_file, error);
        match std::fs::read_to_string(&self.id_file) {
            Ok(id) => self.open_known(id.trim()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let is_new = self.path.join("config").try_exists().is_ok_and(|there| !there);
                let repository = Repository::open_or_init(self.storage(), &self.password)?;
                if is_new {
                    self.tell_where_it_was_made();
                }
                outlast_kit::files::write_durably(&self.id_file, repository.id().as_bytes(), 0o600)
                    .map_err(failed)?;
                Ok(repository)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// A mount point whose file system is not mounted looks like a new storage unit to an agent that has not met it before.
    fn tell_where_it_was_made(&self) {
        let lies_on = Mount::of(&self.path).map_or_else(
            || "a file system that is not known".to_owned(),
            |mount| mount.to_string(),
        );
        tracing::warn!(
            unit = self.name, path = %self.path.display(), lies_on,
            "a new repository was made, because nothing was there; if a file system with one should be mounted there: stop this agent, \
             remove what it made, mount it, and remove the file \"repository-id\" from its data folder"
        );
    }

    /// Opens what is there, if it is the repository of this id.
    fn open_known(&self, id: &str) -> Result<Repository, RepositoryError> {
        let replaced = |found| RepositoryError::Replaced {
            location: self.path.display().to_string(),
            expected: id.to_owned(),
            found,
        };
        match Repository::open(self.storage(), &self.password) {
            Err(RepositoryError::NotARepository { found, .. }) => Err(replaced(found)),
            Ok(other) if other.id() != id => Err(replaced(Found::Other {
                id: Some(other.id().to_owned()),
            })),
            opened => opened,
        }
    }

    /// The same repository can have been mounted anew, or have another key for the same password. Who still works with what was
    /// there before finds out by himself.
    fn reopen(&self, id: &str, replaced: RepositoryError) -> Result<Repository, RepositoryError> {
        self.open_known(id).map_err(|error| {
            tracing::debug!(unit = self.name, %error, "the storage unit cannot be opened anew");
            replaced
        })
    }

    fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(LocalStorage::new(&self.path))
    }

    /// They keep nobody away who only adds, so what cannot be written may keep them.
    fn remove_own_locks(&self, repository: &Repository) {
        match repository.remove_locks_of(&self.lock_host) {
            Ok(0) => {}
            Ok(removed) => tracing::info!(
                unit = self.name,
                removed,
                "locks of an earlier run of this agent were removed"
            ),
            Err(error) => tracing::warn!(
                unit = self.name, %error,
                "locks of an earlier run of this agent are not removed yet; that is tried again"
            ),
        }
    }

    /// The id of the repository, if it was opened.
    pub(crate) fn repository_id(&self) -> Option<String> {
        self.opened.try_lock()?.as_ref().map(|r| r.id().to_owned())
    }

    /// Opens, locks and loads the index, in this order: everything an attempt needs that writes.
    pub(crate) fn prepare(&self) -> Result<(Repository, AttemptLock), RepositoryError> {
        let (repository, lock) = self.lock()?;
        repository.reload_index()?;
        Ok((repository, lock))
    }

    /// The same for one that only reads. What cannot be written needs no lock: nobody can remove anything there either, or, if it is
    /// only full, what a prune removes meanwhile shows itself as missing.
    pub(crate) fn prepare_to_read(&self) -> Result<(Repository, AttemptLock), RepositoryError> {
        let repository = self.repository()?;
        let lock = match AttemptLock::take(&repository, &self.lock_host) {
            Err(error) if error.is_about_writing() => {
                tracing::warn!(unit = self.name, %error, "the storage unit cannot be written; it is read without a lock");
                AttemptLock::without(&repository)?
            }
            taken => taken?,
        };
        repository.reload_index()?;
        if let Some(lock) = lock.guard() {
            match repository.name_unnamed_packs(&lock) {
                Err(error) if error.is_about_writing() => {
                    tracing::warn!(unit = self.name, %error, "packs that no index file names are not in a new one yet");
                }
                look => drop(look?),
            }
        }
        Ok((repository, lock))
    }

    /// Opens and locks: enough for who removes snapshots.
    pub(crate) fn lock(&self) -> Result<(Repository, AttemptLock), RepositoryError> {
        let repository = self.repository()?;
        let lock = AttemptLock::take(&repository, &self.lock_host)?;
        Ok((repository, lock))
    }

    /// Bytes this agent may still write, and how many the file system has.
    pub(crate) fn room(&self) -> Option<(u64, u64)> {
        let fs = rustix::fs::statvfs(&self.path).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(fs.f_frsize);
        Some((bytes(fs.f_bavail), bytes(fs.f_blocks)))
    }
}
