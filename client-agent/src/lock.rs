//! One process for each data directory: two would answer for the same tickets.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

const NAME: &str = "lock";

/// Holds the data directory until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct DataDirLock {
    _file: File,
}

/// The directory cannot be ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{} is in use by another client agent; stop that one or give this one its own data_dir", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The lock file.
    #[error("cannot lock {}: {source}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DataDirLock {
    /// Takes the directory.
    pub(crate) fn take(data_dir: &Path) -> Result<Self, LockError> {
        let path = data_dir.join(NAME);
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let file = opened.map_err(|source| LockError::Io {
            path: path.clone(),
            source,
        })?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::InUse {
                path: data_dir.to_owned(),
            }),
            Err(error) => Err(LockError::Io {
                path,
                source: error.into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DataDirLock, LockError};

    #[test]
    fn a_data_directory_has_one_owner_at_a_time() {
        let temp = tempfile::tempdir().unwrap();
        let first = DataDirLock::take(temp.path()).unwrap();
        let second = DataDirLock::take(temp.path()).unwrap_err();
        assert!(matches!(second, LockError::InUse { .. }), "{second}");
        drop(first);
        DataDirLock::take(temp.path()).unwrap();
    }
}
