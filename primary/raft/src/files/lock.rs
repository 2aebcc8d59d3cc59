//! The lock on the data directory. Held by the running node, given back by its shutdown or by its death.

use std::fs::{File, OpenOptions};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::StartError;

/// Only one holder at a time, also within one process.
#[derive(Debug)]
pub(crate) struct DirLock {
    // The lock goes with the file's last descriptor.
    _file: File,
}

impl DirLock {
    pub(crate) fn take(dir: &Path) -> Result<Self, StartError> {
        let path = dir.join("lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(StartError::io("opening", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(Errno::WOULDBLOCK) => Err(StartError::InUse {
                dir: dir.to_path_buf(),
            }),
            Err(errno) => Err(StartError::Io {
                doing: "locking",
                path,
                source: errno.into(),
            }),
        }
    }
}
