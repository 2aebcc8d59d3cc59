//! Locks in restic's form, so that our agents and people's own restic runs respect each other.
//! When to take, refresh and release them is the media agent's business, which calls this; whose the others are is in `others`.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::error::{RepositoryError, Result};
use crate::id::LockId;
use crate::repository::{Hold, Repository};
use crate::storage::FileKind;
use crate::time::Timestamp;

mod others;

pub use others::LockHolder;

/// Ours counts as lost earlier, so that clocks may differ.
const VALID_FOR: Duration = Duration::from_secs(22 * 60);

/// Who locks, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockOptions {
    /// Alone (prune), or beside others that add data (backup).
    pub exclusive: bool,
    /// Unique per agent.
    pub hostname: String,
    pub username: String,
}

/// A lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockInfo {
    pub time: Timestamp,
    #[serde(default)]
    pub exclusive: bool,
    #[serde(default)]
    pub hostname: String,
    #[serde(default)]
    pub username: String,
    #[serde(default)]
    pub pid: u32,
    #[serde(default)]
    pub uid: u32,
    #[serde(default)]
    pub gid: u32,
}

/// A lock that is held until it is released or dropped.
#[derive(Debug)]
pub struct LockGuard {
    repository: Repository,
    options: LockOptions,
    state: Mutex<State>,
    /// Let go after the lock is removed, in `drop`.
    _hold: Hold,
}

#[derive(Debug)]
struct State {
    id: LockId,
    refreshed: Duration,
    released: bool,
}

impl Repository {
    /// Takes a lock. Fails if a lock that excludes it exists and is not stale; then the other one is named. Those of ended
    /// processes of this host are removed.
    pub fn lock(&self, options: LockOptions) -> Result<LockGuard> {
        let hold = self.hold()?;
        self.prove()?;
        self.refuse_conflict(options.exclusive, None)?;
        let refreshed = boot_time();
        let id = self.write_lock(&options)?;
        let state = Mutex::new(State {
            id,
            refreshed,
            released: false,
        });
        let guard = LockGuard {
            repository: self.clone(),
            options,
            state,
            _hold: hold,
        };
        // Of two that did this at once, at least the later one sees the other's file now; dropping removes ours.
        self.refuse_conflict(guard.options.exclusive, Some(id))?;
        Ok(guard)
    }

    /// Removes all locks with this host name, which must be one that only this agent uses; gives their number.
    /// Locks that cannot be read are somebody else's. Those that cannot be removed are tried again with
    /// [`Repository::remove_leftovers`].
    pub fn remove_locks_of(&self, hostname: &str) -> Result<usize> {
        let (mut removed, mut failed) = (0, Ok(()));
        for (name, _) in self.storage().list(FileKind::Lock)? {
            match self.load_object::<LockInfo>(FileKind::Lock, &name) {
                Ok(lock) if lock.hostname == hostname => {}
                Ok(_) | Err(RepositoryError::Damaged { .. } | RepositoryError::NotFound { .. }) => continue,
                Err(error) => return Err(error),
            }
            match self.remove_or_remember(FileKind::Lock, &name) {
                Ok(()) => removed += 1,
                Err(error) => failed = Err(error),
            }
        }
        failed.map(|()| removed)
    }

    /// Removes a lock of somebody else, whose process the caller knows to be gone.
    pub fn remove_lock(&self, id: &LockId) -> Result<()> {
        self.storage().remove(FileKind::Lock, &id.to_string())
    }

    fn refuse_conflict(&self, exclusive: bool, own: Option<LockId>) -> Result<()> {
        for lock in self.lock_holders()? {
            if own == Some(lock.id) || self.remove_if_dead(&lock) {
                continue;
            }
            if lock.excludes(exclusive) && !lock.is_stale() {
                return Err(RepositoryError::Locked {
                    location: self.location().to_owned(),
                    by: Arc::new(lock),
                });
            }
        }
        Ok(())
    }

    fn write_lock(&self, options: &LockOptions) -> Result<LockId> {
        let lock = LockInfo {
            time: Timestamp::now(),
            exclusive: options.exclusive,
            hostname: options.hostname.clone(),
            username: options.username.clone(),
            pid: std::process::id(),
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
        };
        let id = self.save_or_take_back(FileKind::Lock, &lock)?;
        Ok(LockId::from_bytes(*id.as_bytes()))
    }
}

impl LockGuard {
    /// Writes a new lock file and removes the old one. Fails if the lock was lost in the meantime, because then
    /// somebody else may have had the repository for himself.
    pub fn refresh(&self) -> Result<()> {
        self.repository.prove()?;
        let mut state = self.state.lock();
        if !self.holds(&state)? {
            return Err(self.lost());
        }
        let refreshed = boot_time();
        let new = self.repository.write_lock(&self.options)?;
        let old = std::mem::replace(&mut state.id, new);
        state.refreshed = refreshed;
        drop(state);
        let removed = self
            .repository
            .remove_or_remember(FileKind::Lock, &old.to_string());
        if let Err(error) = removed {
            tracing::warn!(%error, "the old file of a refreshed lock is not removed yet");
        }
        Ok(())
    }

    /// Whether the lock surely still holds: its file exists and was refreshed within 22 minutes, counting the time
    /// the machine slept, in the repository it was taken in. What cannot be found out counts as no.
    pub fn is_valid(&self) -> bool {
        self.check().is_ok()
    }

    /// `is_valid` as a result, with the error to report.
    pub fn check(&self) -> Result<()> {
        self.repository.prove()?;
        if self.holds(&self.state.lock())? {
            Ok(())
        } else {
            Err(self.lost())
        }
    }

    /// The name of the present lock file.
    pub fn id(&self) -> LockId {
        self.state.lock().id
    }

    /// Removes the lock. Dropping does the same but cannot report an error. One that cannot be removed is tried again with
    /// [`Repository::remove_leftovers`].
    pub fn release(self) -> Result<()> {
        self.remove()
    }

    fn remove(&self) -> Result<()> {
        let mut state = self.state.lock();
        if state.released {
            return Ok(());
        }
        state.released = true;
        self.repository
            .remove_or_remember(FileKind::Lock, &state.id.to_string())
    }

    fn holds(&self, state: &State) -> Result<bool> {
        let fresh = is_fresh(state.refreshed, boot_time());
        Ok(fresh
            && !state.released
            && self
                .repository
                .storage()
                .exists(FileKind::Lock, &state.id.to_string())?)
    }

    fn lost(&self) -> RepositoryError {
        RepositoryError::LockLost {
            location: self.repository.location().to_owned(),
            hostname: self.options.hostname.clone(),
        }
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(%error, "a lock could not be removed yet; that is tried again until this agent ends, and it becomes stale by itself");
        }
    }
}

fn is_fresh(refreshed: Duration, now: Duration) -> bool {
    now.saturating_sub(refreshed) < VALID_FOR
}

/// Time since the machine was started, sleep included; unlike the wall clock nobody sets it.
fn boot_time() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests;
