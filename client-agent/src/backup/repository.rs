//! The repository a backup is written to, met on its way: it is left out, since it would hold itself and double with each run.
//!
//! It is known by the SHA-256 of its sealed `config`, which the media agent says; where it is mounted does not matter.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, openat, statat};
use sha2::{Digest as _, Sha256};

/// A sealed `config` takes some hundred bytes.
const MOST_CONFIG: u64 = 64 << 10;

/// The repository of this backup.
#[derive(Clone, Debug)]
pub(super) struct OwnRepository([u8; 32]);

impl OwnRepository {
    /// None if the media agent does not say it, as those of before.
    pub(super) fn of_message(config_sha256: &[u8]) -> Option<Self> {
        config_sha256.try_into().ok().map(Self)
    }

    /// Whether this directory is it.
    pub(super) fn is_at(&self, folder: impl AsFd) -> bool {
        let folder = folder.as_fd();
        // Most directories have no such name, which costs one call.
        let Ok(config) = statat(folder, "config", AtFlags::SYMLINK_NOFOLLOW) else {
            return false;
        };
        if FileType::from_raw_mode(config.st_mode) != FileType::RegularFile
            || config.st_size as u64 > MOST_CONFIG
        {
            return false;
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let read = |file: OwnedFd| {
            let mut content = Vec::new();
            File::from(file)
                .take(MOST_CONFIG)
                .read_to_end(&mut content)
                .map(|_| content)
        };
        openat(folder, "config", flags, Mode::empty())
            .is_ok_and(|file| read(file).is_ok_and(|content| Sha256::digest(content)[..] == self.0))
    }

    /// Whether it is `path`, or a directory above it.
    pub(super) fn holds(&self, path: &Path) -> bool {
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
        let is_it =
            |path: &Path| openat(CWD, path, flags, Mode::empty()).is_ok_and(|folder| self.is_at(folder));
        path.ancestors().any(is_it)
    }
}
