//! Where the walk of an item begins: its path opened, or the reason why the item fails.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};
use std::sync::Arc;

use outlast_proto::v1::JobError;
use outlast_proto::words::StatusCode;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, Stat, fstat, openat, statat};
use rustix::io::Errno;

/// An item's opened root.
pub(super) struct Root {
    /// The last component of the item's path; empty for `/`.
    pub(super) name: Vec<u8>,
    pub(super) stat: Stat,
    /// The directory that paths of the item are relative to: the root itself, or its parent if it is no directory.
    pub(super) base: Arc<OwnedFd>,
    /// Its path, for people.
    pub(super) base_path: Vec<u8>,
    /// That of the item.
    pub(super) path: Vec<u8>,
    pub(super) is_folder: bool,
}

impl Root {
    /// Opens the item at `path`; the error is what the item ends with. `by` opens it with [`Root::of`], or has another reason for
    /// not doing so.
    pub(super) fn open_by<E>(
        path: &str,
        by: impl FnOnce(&Path) -> Result<Result<Self, Errno>, E>,
    ) -> Result<Result<Self, JobError>, E> {
        let path = Path::new(path);
        let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
        if !path.is_absolute() || !path.components().all(plain) {
            let reason = "it is no plain absolute path";
            return Ok(Err(fault(StatusCode::NO_SUCH_PATH, path, reason)));
        }
        let opened = by(path)?;
        Ok(opened.map_err(|error| {
            let code = match error {
                Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP => StatusCode::NO_SUCH_PATH,
                _ => StatusCode::FILE_READ_FAILED,
            };
            fault(code, path, &std::io::Error::from(error).to_string())
        }))
    }

    /// Whether the root can still be read, and is what was opened.
    pub(super) fn look_again(&self) -> Result<(), Errno> {
        let stat = fstat(&self.base)?;
        if !self.is_folder {
            return Ok(());
        }
        // A description of its own: the walk may be listing the other one.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::DIRECTORY;
        let path = OsStr::from_bytes(&self.base_path);
        let again = openat(CWD, path, flags, Mode::empty())?;
        let now = fstat(&again)?;
        if (now.st_dev, now.st_ino) != (stat.st_dev, stat.st_ino) {
            return Err(Errno::STALE);
        }
        let mut room = [std::mem::MaybeUninit::uninit(); 4096];
        match RawDir::new(&again, &mut room).next() {
            Some(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    pub(super) fn of(path: &Path) -> Result<Self, Errno> {
        // `components` drops a slash at the end, which would make the kernel follow a link.
        let path: std::path::PathBuf = path.components().collect();
        let stat = statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let (base, base_path) = if is_folder {
            (
                openat(CWD, &path, flags | OFlags::DIRECTORY, Mode::empty())?,
                path.as_path(),
            )
        } else {
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                // The whole item is this file: if it cannot be read, the item has failed.
                openat(CWD, &path, flags, Mode::empty())?;
            }
            let parent = path.parent().unwrap_or(Path::new("/"));
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
            (openat(CWD, parent, flags, Mode::empty())?, parent)
        };
        Ok(Self {
            name: path
                .file_name()
                .map(|name| name.as_bytes().to_vec())
                .unwrap_or_default(),
            stat,
            base: Arc::new(base),
            base_path: base_path.as_os_str().as_bytes().to_vec(),
            path: path.as_os_str().as_bytes().to_vec(),
            is_folder,
        })
    }
}

fn fault(code: StatusCode, path: &Path, reason: &str) -> JobError {
    JobError {
        code: code.0.into(),
        text: format!("{}: {reason}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use outlast_proto::v1::JobError;

    use super::Root;

    fn open(path: &str) -> Result<Root, JobError> {
        Root::open_by(path, |path| Ok(Root::of(path))).unwrap_or_else(Err)
    }

    #[test]
    fn s02a_a_root_is_looked_at_again() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("root");
        std::fs::create_dir(&path).unwrap();
        let root = open(path.to_str().unwrap()).unwrap();
        assert_eq!(root.look_again(), Ok(()));
        std::fs::remove_dir(&path).unwrap();
        assert!(root.look_again().is_err());
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("file"), b"of another folder").unwrap();
        assert!(root.look_again().is_err());
    }

    #[test]
    fn s02a_a_root_that_is_not_there_is_71() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().to_str().unwrap().to_owned();
        std::fs::write(temp.path().join("file"), b"x").unwrap();
        for (item, code) in [
            (format!("{path}/none"), Some(71)),
            (format!("{path}/file/below"), Some(71)),
            (format!("{path}/../x"), Some(71)),
            ("relative".to_owned(), Some(71)),
            (format!("{path}/file"), None),
            (format!("{path}/"), None),
            ("/".to_owned(), None),
        ] {
            let error = open(&item).err().map(|error| error.code);
            assert_eq!(error, code, "{item}");
        }
    }
}
