//! A daemon's data folder: held by one process at a time, and to be recognised as one that is in use.
//!
//! The file `lock` in it says whose folder it is; that it is locked says that somebody runs in it. A copy has the file and not the lock.
//! Used by the daemons at start, and by the client agent, which neither backs up nor overwrites what a daemon works with.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, flock, openat, statat};
use rustix::io::Errno;

/// The file that each of them has.
pub const LOCK: &str = "lock";
/// What the file begins with.
const MARK: &str = "outlast ";
/// As long as the longest kind and name.
const MOST_TEXT: u64 = 256;
/// Whoever asks [`user_of`] holds the lock for a moment.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// Holds a data folder until it is dropped or the process ends.
#[derive(Debug)]
pub struct HeldFolder {
    // The lock goes with the file's last descriptor.
    _lock: File,
}

impl HeldFolder {
    /// Takes the folder for `whom`, such as `media-agent media-1`; none if another process has it. Blocks for up to a second.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn take(folder: &Path, whom: &str) -> io::Result<Option<Self>> {
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join(LOCK))?;
        let mut tries = 1..TRIES;
        while let Err(error) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            match error {
                Errno::WOULDBLOCK if tries.next().is_some() => std::thread::sleep(PAUSE),
                Errno::WOULDBLOCK => return Ok(None),
                error => return Err(error.into()),
            }
        }
        let text = format!("{MARK}{whom}\n");
        // On a full disk the folder can be used; it is only not recognised.
        if read(&lock)? != text.as_bytes()
            && let Err(error) = lock
                .set_len(0)
                .and_then(|()| lock.write_all_at(text.as_bytes(), 0))
        {
            tracing::warn!(folder = %folder.display(), %error, "the lock file cannot say whose folder this is");
        }
        Ok(Some(Self { _lock: lock }))
    }
}

/// Which daemon of this host runs in the folder, if it is the data folder of one.
pub fn user_of(folder: impl AsFd) -> Option<String> {
    let folder = folder.as_fd();
    let found = statat(folder, LOCK, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let is_one = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
        && (1..=MOST_TEXT).contains(&found.st_size.unsigned_abs());
    if !is_one {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let lock = File::from(openat(folder, LOCK, flags, Mode::empty()).ok()?);
    let text = String::from_utf8(read(&lock).ok()?).ok()?;
    let whom = text.strip_prefix(MARK)?.trim_end();
    let is_held = flock(&lock, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK);
    (is_held && !whom.chars().any(char::is_control)).then(|| whom.to_owned())
}

/// Which daemon runs in the folder `path` or in one above it.
#[must_use]
pub fn user_above(path: &Path) -> Option<String> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
    let user = |path: &Path| user_of(openat(rustix::fs::CWD, path, flags, Mode::empty()).ok()?);
    path.ancestors().find_map(user)
}

fn read(lock: &File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    lock.take(MOST_TEXT).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs::{File, create_dir, read, write};

    use super::{HeldFolder, user_above, user_of};

    #[test]
    fn t90_a_data_folder_is_recognised_while_somebody_runs_in_it() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("data");
        create_dir(&folder).unwrap();
        let user = || user_of(File::open(&folder).unwrap());
        assert_eq!(user(), None);
        for whom in ["media-agent media-10", "media-agent media-1"] {
            let held = HeldFolder::take(&folder, whom).unwrap().unwrap();
            assert_eq!(user().as_deref(), Some(whom));
            assert!(
                HeldFolder::take(&folder, "another").unwrap().is_none(),
                "one process at a time"
            );
            assert_eq!(user().as_deref(), Some(whom), "asking takes nothing away");
            create_dir(folder.join(whom)).unwrap();
            assert_eq!(user_above(&folder.join(whom)).as_deref(), Some(whom));
            drop(held);
            assert_eq!((user(), user_above(&folder.join(whom))), (None, None));
        }
        // A copy, as a restore makes it elsewhere.
        let held = HeldFolder::take(&folder, "primary one").unwrap();
        let copy = temp.path().join("copy");
        create_dir(&copy).unwrap();
        write(copy.join("lock"), read(folder.join("lock")).unwrap()).unwrap();
        assert_eq!(user_of(File::open(&copy).unwrap()), None);
        drop(held);
    }

    /// Programs lock files of that name for their own purposes.
    #[test]
    fn t90_a_lock_of_another_program_makes_no_data_folder() {
        use rustix::fs::{FlockOperation, flock};
        let temp = tempfile::tempdir().unwrap();
        for text in ["", "outlast", "1234\n", "not outlast media-1\n"] {
            write(temp.path().join("lock"), text).unwrap();
            let lock = File::open(temp.path().join("lock")).unwrap();
            flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
            assert_eq!(user_of(File::open(temp.path()).unwrap()), None, "{text:?}");
        }
    }
}
