//! Where the walk of an item begins: its path opened, or the reason why the item fails.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use outlast_kit::calls::{fstat, openat, readlinkat, statat};
use outlast_proto::v1::JobError;
use outlast_proto::words::StatusCode;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;

use crate::host::open::open_to_read;
use crate::host::paths::shown;

/// Links from one to the next, as many as the kernel follows.
const MOST_LINKS: usize = 40;

/// An item's opened root.
pub(super) struct Root {
    /// The last component of the item's path; empty for `/`.
    pub(super) name: Vec<u8>,
    /// What is called so in `base`, if it is no directory: `name`, or what a link led to.
    pub(super) entry: Vec<u8>,
    pub(super) stat: Stat,
    /// The directory that paths of the item are relative to: the root itself, or its parent if it is no directory.
    pub(super) base: Arc<OwnedFd>,
    /// Its path, for people.
    pub(super) base_path: Vec<u8>,
    /// That of the item.
    pub(super) path: Vec<u8>,
    pub(super) is_folder: bool,
    /// The item's path, or where the link leads.
    pub(super) real_path: PathBuf,
    pub(super) is_link: bool,
}

/// What was found at an item's path: its root, or what makes it none.
pub(super) type Found = Result<Root, String>;

impl Root {
    /// Opens the item at `path`; the error is what the item ends with. `by` opens it with [`Root::of`], or has another reason for
    /// not doing so.
    pub(super) fn open_by<E>(
        path: &str,
        by: impl FnOnce(&Path) -> Result<Result<Found, Errno>, E>,
    ) -> Result<Result<Self, JobError>, E> {
        let path = Path::new(path);
        let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
        if !path.is_absolute() || !path.components().all(plain) {
            let reason = "it is no plain absolute path";
            return Ok(Err(fault(StatusCode::NO_SUCH_PATH, path, reason)));
        }
        Ok(match by(path)? {
            Ok(Ok(root)) => Ok(root),
            Ok(Err(odd)) => Err(fault(StatusCode::FILE_READ_FAILED, path, &odd)),
            Err(error) => {
                let code = match error {
                    Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP => {
                        StatusCode::NO_SUCH_PATH
                    }
                    _ => StatusCode::FILE_READ_FAILED,
                };
                let error = std::io::Error::from(error);
                Err(match end_of_links(path) {
                    Some(to) => {
                        let to = shown(to.as_os_str().as_bytes());
                        let reason = format!("is a symbolic link that leads to {to}: {error}");
                        fault(code, path, &reason)
                    }
                    None => fault(code, path, &error.to_string()),
                })
            }
        })
    }

    /// Whether the root can still be read, and is what was opened.
    pub(super) fn look_again(&self) -> Result<(), Errno> {
        let stat = fstat(&self.base)?;
        if !self.is_folder {
            return Ok(());
        }
        // A description of its own: the walk may be listing the other one.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::DIRECTORY;
        let path = &self.real_path;
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

    pub(super) fn of(path: &Path) -> Result<Found, Errno> {
        // `components` drops a slash at the end, which would make the kernel follow a link.
        let path: PathBuf = path.components().collect();
        let Followed { to, owners } = follow(&path)?;
        let is_link = !owners.is_empty();
        let stat = statat(CWD, &to, AtFlags::SYMLINK_NOFOLLOW)?;
        if let Some(what) = no_content(FileType::from_raw_mode(stat.st_mode)) {
            let text = format!("is {what}; an item is a directory or a file");
            return Ok(Err(text));
        }
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        // The whole item is this file or directory: if it cannot be read, the item has failed.
        let opened = open_to_read(CWD, to.as_os_str().as_bytes(), OFlags::empty())?;
        // Of what was opened: the path may lead elsewhere by now.
        let stat = fstat(&opened)?;
        if let Some(owner) = owners
            .into_iter()
            .find(|owner| *owner != 0 && *owner != stat.st_uid)
        {
            return Ok(Err(format!(
                "is a symbolic link of user {owner} to {}, which belongs to user {}; links are followed that belong to root or to the owner of \
                 what they point to: name that path as the item, or let root own the link (chown -h root)",
                shown(to.as_os_str().as_bytes()),
                stat.st_uid
            )));
        }
        let (base, base_path) = if is_folder {
            (opened, path.as_path())
        } else {
            let parent = to.parent().unwrap_or(Path::new("/"));
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
            (openat(CWD, parent, flags, Mode::empty())?, parent)
        };
        Ok(Ok(Self {
            name: name_of(&path),
            entry: name_of(&to),
            stat,
            base: Arc::new(base),
            base_path: base_path.as_os_str().as_bytes().to_vec(),
            is_folder,
            path: path.as_os_str().as_bytes().to_vec(),
            real_path: to,
            is_link,
        }))
    }
}

/// Where links led, and whose they are.
struct Followed {
    to: PathBuf,
    owners: Vec<u32>,
}

/// Follows links at the end of `path`. Those on the way are the kernel's matter, as for any path that an administrator names.
fn follow(path: &Path) -> Result<Followed, Errno> {
    let mut followed = Followed {
        to: path.to_owned(),
        owners: Vec::new(),
    };
    for _ in 0..=MOST_LINKS {
        // One descriptor for owner and target: they are of the same link, whatever happens to its name.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let link = openat(CWD, &followed.to, flags, Mode::empty())?;
        let stat = fstat(&link)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Ok(followed);
        }
        let target = readlinkat(&link, "", Vec::new())?;
        let target = Path::new(OsStr::from_bytes(target.as_bytes()));
        let above = followed.to.parent().unwrap_or(Path::new("/"));
        followed.to = above.join(target).components().collect();
        followed.owners.push(stat.st_uid);
    }
    Err(Errno::LOOP)
}

/// Where the links at the end of `path` lead, for who is told that nothing is there.
fn end_of_links(path: &Path) -> Option<PathBuf> {
    let begin: PathBuf = path.components().collect();
    let mut to = begin.clone();
    for _ in 0..MOST_LINKS {
        let Ok(target) = readlinkat(CWD, &to, Vec::new()) else {
            break;
        };
        let above = to.parent().unwrap_or(Path::new("/"));
        to = above
            .join(OsStr::from_bytes(target.as_bytes()))
            .components()
            .collect();
    }
    (to != begin).then_some(to)
}

/// What it is, if there is nothing in it that could be backed up as an item.
fn no_content(file_type: FileType) -> Option<&'static str> {
    match file_type {
        FileType::RegularFile | FileType::Directory => None,
        FileType::Fifo => Some("a fifo"),
        FileType::CharacterDevice => Some("a character device"),
        FileType::BlockDevice => Some("a block device"),
        FileType::Socket => Some("a socket"),
        FileType::Symlink => Some("a symbolic link again, which was made just now"),
        FileType::Unknown => Some("of an unknown type"),
    }
}

fn name_of(path: &Path) -> Vec<u8> {
    path.file_name()
        .map(|name| name.as_bytes().to_vec())
        .unwrap_or_default()
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

    #[test]
    fn t90_an_item_that_is_a_link_is_followed_if_nobody_else_made_it() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name).to_str().unwrap().to_owned();
        std::fs::create_dir(at("folder")).unwrap();
        std::fs::write(at("file"), b"x").unwrap();
        for (link, target) in [
            ("a", "folder"),
            ("b", "a"),
            ("c", "file"),
            ("d", "nothing"),
            ("e", "e"),
            ("f", "folder/"),
        ] {
            std::os::unix::fs::symlink(target, at(link)).unwrap();
        }
        for (item, leads_to) in [
            ("a", Ok("folder")),
            ("b", Ok("folder")),
            ("c", Ok("file")),
            ("d", Err(71)),
            ("e", Err(71)),
            ("f", Ok("folder")),
        ] {
            match (open(&at(item)), leads_to) {
                (Ok(root), Ok(leads_to)) => {
                    assert!(root.is_link);
                    assert_eq!(root.real_path, temp.path().join(leads_to), "{item}");
                    assert_eq!(root.name, item.as_bytes());
                }
                (Err(error), Err(code)) => {
                    assert_eq!(error.code, code, "{item}: {}", error.text);
                    // The target of a link that dangles is what has to be looked for.
                    let target = format!("leads to {}: No such file", at("nothing"));
                    assert_eq!(error.text.contains(&target), item == "d", "{}", error.text);
                }
                (found, _) => panic!("{item}: {:?}", found.map(|root| root.real_path)),
            }
        }
        if !rustix::process::geteuid().is_root() {
            return eprintln!("SKIPPED: only root can make links of others");
        }
        for (link, owner, target, target_owner, code) in [
            ("root to root", 0, "1", 0, None),
            ("root to other", 0, "2", 1000, None),
            ("other to own", 1000, "3", 1000, None),
            ("other to root", 1000, "4", 0, Some(13)),
            ("other to third", 1000, "5", 1001, Some(13)),
        ] {
            std::fs::create_dir(at(target)).unwrap();
            std::os::unix::fs::chown(at(target), Some(target_owner), None).unwrap();
            std::os::unix::fs::symlink(target, at(link)).unwrap();
            std::os::unix::fs::lchown(at(link), Some(owner), None).unwrap();
            let error = open(&at(link)).err();
            assert_eq!(error.as_ref().map(|error| error.code), code, "{link}: {error:?}");
        }
        // The link in the middle of a chain counts as well.
        std::os::unix::fs::symlink("other to root", at("outer")).unwrap();
        assert_eq!(open(&at("outer")).err().map(|error| error.code), Some(13));
    }

    #[test]
    fn t90_an_item_without_content_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let fifo = temp.path().join("fifo");
        outlast_kit::calls::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(temp.path().join("socket")).unwrap();
        for (item, what) in [
            (fifo.to_str().unwrap(), "a fifo"),
            (temp.path().join("socket").to_str().unwrap(), "a socket"),
            ("/dev/null", "a character device"),
        ] {
            let error = open(item).err().expect("there is nothing to back up");
            assert_eq!(error.code, 13);
            assert!(error.text.contains(what), "{}", error.text);
        }
    }
}
