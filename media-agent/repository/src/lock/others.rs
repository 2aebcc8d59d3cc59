//! The locks that are there: whose they are, and which do not count any more. By restic's rules: after 30 minutes, or as soon as
//! their process on this very host has ended.
//! Used by `lock` when one is taken, by errors, and by the media agent to say what it waits for.

use std::fmt;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::LockInfo;
use crate::error::{Damage, ObjectKind, RepositoryError, Result};
use crate::id::LockId;
use crate::repository::Repository;
use crate::storage::FileKind;
use crate::time::Timestamp;

/// Restic takes a lock of this age for abandoned.
const STALE_AFTER_SECS: i64 = 30 * 60;

/// A lock file and who wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockHolder {
    pub id: LockId,
    /// When it was taken or refreshed last. Of one that cannot be read: when its file was written.
    pub since: Timestamp,
    /// What is wrong with one that cannot be read.
    pub info: Result<LockInfo, Damage>,
}

impl LockHolder {
    /// Whether it keeps others away: a lock that cannot be read may be an exclusive one.
    pub(super) fn excludes(&self, exclusive: bool) -> bool {
        exclusive || self.info.as_ref().map_or(true, |lock| lock.exclusive)
    }

    /// Nobody relies on it any more.
    pub fn is_stale(&self) -> bool {
        Timestamp::now().seconds_since(self.since) > STALE_AFTER_SECS || self.is_dead()
    }

    /// Its process was one of this host and has ended. Agents have host names of their own, so theirs are none of these.
    fn is_dead(&self) -> bool {
        self.info
            .as_ref()
            .is_ok_and(|lock| lock.hostname.as_bytes() == this_host().as_slice() && has_ended(lock.pid))
    }
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, since) = (self.id.to_string(), self.since);
        let id = &id[..8];
        match &self.info {
            Ok(lock) => {
                let how = if lock.exclusive { "exclusive " } else { "" };
                let LockInfo {
                    username,
                    hostname,
                    pid,
                    ..
                } = lock;
                write!(
                    f,
                    "the {how}lock {id} of {username}@{hostname} (process {pid}) since {since}"
                )
            }
            Err(damage) => write!(
                f,
                "the lock {id}, which cannot be read ({damage}), since {since}; it counts until it is 30 minutes old"
            ),
        }
    }
}

impl Repository {
    /// All locks that can be read, stale ones too.
    pub fn locks(&self) -> Result<Vec<(LockId, LockInfo)>> {
        let files = self.lock_holders()?.into_iter();
        Ok(files
            .filter_map(|lock| Some((lock.id, lock.info.ok()?)))
            .collect())
    }

    /// Removes the locks of processes of this host that have ended; gives them.
    pub fn remove_dead_locks(&self) -> Result<Vec<LockHolder>> {
        let mut files = self.lock_holders()?;
        files.retain(|lock| self.remove_if_dead(lock));
        Ok(files)
    }

    /// All locks, also those that cannot be read.
    pub fn lock_holders(&self) -> Result<Vec<LockHolder>> {
        let mut locks = Vec::new();
        for (name, size) in self.storage().list(FileKind::Lock)? {
            let Ok(id) = name.parse() else { continue };
            // Other programs can leave empty files when they are interrupted; they lock nothing.
            if size == 0 {
                continue;
            }
            let found = match self.load_object::<LockInfo>(FileKind::Lock, &name) {
                Ok(lock) => Ok((lock.time, Ok(lock))),
                Err(RepositoryError::Damaged {
                    kind: ObjectKind::File(_),
                    damage,
                    ..
                }) => self
                    .storage()
                    .modified(FileKind::Lock, &name)
                    .map(|modified| (modified.into(), Err(damage))),
                Err(error) => Err(error),
            };
            match found {
                Ok((since, info)) => locks.push(LockHolder { id, since, info }),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(locks)
    }

    /// Whether the lock is of an ended process. It is removed then, if that can be done; if not, it does not count all the same.
    pub(super) fn remove_if_dead(&self, lock: &LockHolder) -> bool {
        if !lock.is_dead() {
            return false;
        }
        match self.storage().remove(FileKind::Lock, &lock.id.to_string()) {
            Ok(()) => tracing::info!(%lock, "a lock was removed because its process has ended"),
            Err(error) if error.is_not_found() => {}
            Err(error) => tracing::debug!(%lock, %error, "the lock of an ended process stays"),
        }
        true
    }
}

fn this_host() -> Vec<u8> {
    rustix::system::uname().nodename().to_bytes().to_vec()
}

/// Whether no such process runs; one that has ended and whose parent has not noticed counts as ended.
fn has_ended(pid: u32) -> bool {
    let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    if test_kill_process(id) == Err(Errno::SRCH) {
        return true;
    }
    let Ok(stat) = std::fs::read(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The name before it can hold anything, brackets too.
    let state = stat
        .rsplit(|byte| *byte == b')')
        .next()
        .and_then(|rest| rest.get(1));
    matches!(state, Some(b'Z' | b'X'))
}
