//! The repository a backup is written to, met on its way: it is left out, since it would hold itself and double with each run.
//!
//! It is known by the SHA-256 of its sealed `config`, which the media agent says; where it is mounted does not matter.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use outlast_kit::calls::{openat, statat};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use sha2::{Digest as _, Sha256};

use crate::host::open::open_to_read;

/// A sealed `config` takes some hundred bytes.
const MOST_CONFIG: u64 = 64 << 10;

/// The repository of this backup.
#[derive(Clone, Debug)]
pub(super) struct OwnRepository([u8; 32]);

impl OwnRepository {
    /// Which file every repository has.
    pub(super) const FILE: &str = "config";

    /// None if the media agent does not say it, as those of before.
    pub(super) fn of_message(config_sha256: &[u8]) -> Option<Self> {
        config_sha256.try_into().ok().map(Self)
    }

    /// Whether this directory is it.
    pub(super) fn is_at(&self, folder: impl AsFd) -> bool {
        let folder = folder.as_fd();
        let Ok(config) = statat(folder, Self::FILE, AtFlags::SYMLINK_NOFOLLOW) else {
            return false;
        };
        if FileType::from_raw_mode(config.st_mode) != FileType::RegularFile
            || config.st_size as u64 > MOST_CONFIG
        {
            return false;
        }
        // A folder of git's has a `config`, too; it is not opened.
        let has_keys = statat(folder, "keys", AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|keys| FileType::from_raw_mode(keys.st_mode) == FileType::Directory);
        if !has_keys {
            return false;
        }
        let read = |file: OwnedFd| {
            let mut content = Vec::new();
            File::from(file)
                .take(MOST_CONFIG)
                .read_to_end(&mut content)
                .map(|_| content)
        };
        open_to_read(folder, Self::FILE.as_bytes(), OFlags::empty())
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

#[cfg(test)]
mod tests {
    use std::fs::{self, File, FileTimes};
    use std::time::{Duration, SystemTime};

    use sha2::{Digest as _, Sha256};

    use super::OwnRepository;

    #[test]
    fn t90_a_config_is_looked_at_without_a_trace() {
        let temp = tempfile::tempdir().unwrap();
        let (own, git) = (temp.path().join("own"), temp.path().join("git"));
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        for folder in [&own, &git] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("config"), b"config").unwrap();
            let config = File::options().write(true).open(folder.join("config")).unwrap();
            // Older than the last change: the next reading would be noted.
            config.set_times(FileTimes::new().set_accessed(long_ago)).unwrap();
        }
        fs::create_dir(own.join("keys")).unwrap();
        let repository = OwnRepository(Sha256::digest(b"config").into());
        for (folder, is_it) in [(&own, true), (&git, false)] {
            assert_eq!(
                repository.is_at(File::open(folder).unwrap()),
                is_it,
                "{}",
                folder.display()
            );
            let accessed = fs::metadata(folder.join("config")).unwrap().accessed().unwrap();
            assert_eq!(accessed, long_ago, "{}", folder.display());
        }
        assert!(repository.holds(&own.join("keys")));
    }
}
