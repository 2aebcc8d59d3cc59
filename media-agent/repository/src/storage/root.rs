//! The directory of a repository, opened: what is below it is reached through descriptors. So nothing that is mounted over the
//! path, or made there anew, gets what is meant for the repository that was there when it was opened.
//! Knows names and descriptors, not whether it is the right repository. Used by `local`.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use parking_lot::Mutex;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::storage::atomic_file::{is_temporary, sync_directory};
use crate::storage::found::{Found, is_harmless};
use crate::storage::{CONFIG_NAME, FileKind};

pub(super) const KINDS_WITH_DIRECTORY: [FileKind; 6] = [
    FileKind::Key,
    FileKind::Index,
    FileKind::Snapshot,
    FileKind::Lock,
    FileKind::Pack,
    FileKind::Damage,
];
const PRIVATE: Mode = Mode::RWXU;

/// An open directory and those of the kinds of files in it.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    top: OwnedFd,
    kinds: [OnceLock<OwnedFd>; 6],
    /// Directories whose own names are durable, as far as that was seen to.
    settled: Mutex<HashSet<String>>,
    /// The devices of the directories of packs that were met: there are too many to keep them open.
    packs: Mutex<BTreeMap<String, u64>>,
}

/// There was a directory of packs on another file system before.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{} was exchanged while it was in use", folder.display())]
pub(super) struct Exchanged {
    pub(super) folder: PathBuf,
}

/// Which directories these are. Another mount of the same file system is the same place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    top: (u64, u64),
    kinds: [Option<(u64, u64)>; 6],
}

/// A directory below the root: one that stays open, or one of the many of packs.
pub(super) enum Directory<'a> {
    Kept(BorrowedFd<'a>),
    Opened(OwnedFd),
}

impl AsFd for Directory<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Directory::Kept(fd) => *fd,
            Directory::Opened(fd) => fd.as_fd(),
        }
    }
}

impl Root {
    pub(super) fn open(path: &Path) -> io::Result<Root> {
        Ok(Root {
            path: path.to_owned(),
            top: open_directory(CWD, path)?,
            kinds: Default::default(),
            settled: Mutex::default(),
            packs: Mutex::default(),
        })
    }

    /// One of the directories of packs; always on the same file system while this is open. It may be made anew.
    fn open_packs(&self, kept: BorrowedFd<'_>, prefix: &str) -> io::Result<OwnedFd> {
        let opened = open_directory(kept, prefix)?;
        let now = outlast_kit::calls::fstat(&opened)?.st_dev;
        let met = *self.packs.lock().entry(prefix.to_owned()).or_insert(now);
        if met == now {
            return Ok(opened);
        }
        let folder = self.path.join(directory_name(FileKind::Pack)).join(prefix);
        Err(io::Error::other(Exchanged { folder }))
    }

    /// The directory of a pack, if it is on another file system than that of all packs.
    pub(super) fn mounted_over(&self, pack: &str) -> io::Result<Option<PathBuf>> {
        let kept = self.kind(FileKind::Pack)?;
        let Some(prefix) = second_level(FileKind::Pack, pack) else {
            return Ok(None);
        };
        let own = match outlast_kit::calls::statat(kept, prefix, AtFlags::empty()) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let is_other = own.st_dev != outlast_kit::calls::fstat(kept)?.st_dev;
        Ok(is_other.then(|| self.path.join(directory_name(FileKind::Pack)).join(prefix)))
    }

    /// Opens all directories there are now, so that none of them can be exchanged unnoticed.
    pub(super) fn pin(&self) -> io::Result<()> {
        for kind in KINDS_WITH_DIRECTORY {
            match self.kind(kind) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Of what is open, and of what is there by name if it is not.
    pub(super) fn place(&self) -> io::Result<Place> {
        let mut kinds = [None; 6];
        for (at, kind) in KINDS_WITH_DIRECTORY.into_iter().enumerate() {
            let found = match self.kinds[at].get() {
                Some(open) => outlast_kit::calls::fstat(open),
                None => outlast_kit::calls::statat(&self.top, directory_name(kind), AtFlags::empty()),
            };
            kinds[at] = match found {
                Ok(stat) => Some((stat.st_dev, stat.st_ino)),
                Err(Errno::NOENT) => None,
                Err(error) => return Err(error.into()),
            };
        }
        let top = outlast_kit::calls::fstat(&self.top)?;
        Ok(Place {
            top: (top.st_dev, top.st_ino),
            kinds,
        })
    }

    /// For messages.
    pub(super) fn path_of(&self, kind: FileKind, name: &str) -> PathBuf {
        path_of(&self.path, kind, name)
    }

    /// The directory that `name` is in.
    pub(super) fn directory(&self, kind: FileKind, name: &str) -> io::Result<Directory<'_>> {
        let kept = self.kind(kind)?;
        Ok(match second_level(kind, name) {
            None => Directory::Kept(kept),
            Some(prefix) => Directory::Opened(self.open_packs(kept, prefix)?),
        })
    }

    /// The same, made if it is not there, and durable by its own name. Other programs make the second level of the packs only when
    /// needed. Never the root: if that is missing, the storage is not mounted.
    pub(super) fn directory_to_write(&self, kind: FileKind, name: &str) -> io::Result<Directory<'_>> {
        let name_of_kind = directory_name(kind);
        let kept = match self.kind(kind) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_directory(self.top.as_fd(), name_of_kind)?;
                self.kind(kind)?
            }
            found => found?,
        };
        if kind != FileKind::Config {
            self.settle(self.top.as_fd(), "", name_of_kind)?;
        }
        let Some(prefix) = second_level(kind, name) else {
            return Ok(Directory::Kept(kept));
        };
        let opened = match self.open_packs(kept, prefix) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_directory(kept, prefix)?;
                self.open_packs(kept, prefix)?
            }
            opened => opened?,
        };
        self.settle(kept, name_of_kind, prefix)?;
        Ok(Directory::Opened(opened))
    }

    /// Makes the name of a directory durable, once: also if it was there, for whoever made it may have been killed before it came to
    /// that, and what is in it goes with it.
    fn settle(&self, above: BorrowedFd<'_>, path: &str, name: &str) -> io::Result<()> {
        let settled = |name: &str| format!("{path}/{name}");
        if self.settled.lock().contains(&settled(name)) {
            return Ok(());
        }
        // All that are there now are settled by the same call.
        let mut names = Vec::new();
        each_name(above, |name| {
            names.push(settled(name));
            Ok(())
        })?;
        sync_directory(above)?;
        self.settled.lock().extend(names);
        Ok(())
    }

    /// Makes every directory that can hold files of ours, but that of damage: it comes with the first file in it.
    pub(super) fn make_layout(&self) -> io::Result<()> {
        for kind in KINDS_WITH_DIRECTORY
            .into_iter()
            .filter(|kind| *kind != FileKind::Damage)
        {
            make_directory(self.top.as_fd(), directory_name(kind))?;
        }
        let packs = self.kind(FileKind::Pack)?;
        for prefix in prefixes() {
            make_directory(packs, &prefix)?;
        }
        sync_directory(packs)?;
        sync_directory(self.top.as_fd())
    }

    /// Opens a file; `flags` beyond those for reading.
    pub(super) fn open_file(&self, kind: FileKind, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = outlast_kit::calls::openat(self.kind(kind)?, below(kind, name), flags, Mode::empty())?;
        Ok(File::from(opened))
    }

    pub(super) fn stat(&self, kind: FileKind, name: &str) -> io::Result<Stat> {
        let found = outlast_kit::calls::statat(self.kind(kind)?, below(kind, name), AtFlags::empty())?;
        Ok(found)
    }

    pub(super) fn exists(&self, kind: FileKind, name: &str) -> io::Result<bool> {
        match self.stat(kind, name) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Names and sizes of the files whose name is an identifier. Everything else, temporary files above all, is not there. The names are
    /// durable: who wrote a file may have been killed between its rename and its sync of the directory. But for locks: no process that
    /// has one outlives a power cut.
    pub(super) fn list(&self, kind: FileKind) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        let lasts = kind != FileKind::Lock;
        self.each_directory(kind, |directory| {
            let before = files.len();
            each_name(directory, |name| {
                let is_ours = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
                if name.len() != 64 || !name.as_bytes().iter().all(is_ours) {
                    return Ok(());
                }
                match outlast_kit::calls::statat(directory, name, AtFlags::empty()) {
                    Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                        files.push((name.to_owned(), u64::try_from(stat.st_size).unwrap_or(0)));
                    }
                    Ok(_) | Err(Errno::NOENT) => {}
                    Err(error) => return Err(error.into()),
                }
                Ok(())
            })?;
            // Most of the 256 folders of a small unit are empty, and each sync costs as much as that of a full one.
            if lasts && files.len() > before {
                sync_found(directory)?;
            }
            Ok(())
        })?;
        if lasts && !files.is_empty() {
            if kind == FileKind::Pack {
                sync_found(self.kind(kind)?)?;
            }
            sync_found(self.top.as_fd())?;
        }
        Ok(files)
    }

    /// The size of the configuration, if it is there; then its name is durable.
    pub(super) fn config_size(&self) -> io::Result<Option<u64>> {
        match self.stat(FileKind::Config, CONFIG_NAME) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(stat) => {
                sync_found(self.top.as_fd())?;
                Ok(Some(u64::try_from(stat.st_size).unwrap_or(0)))
            }
        }
    }

    /// Removes temporary files of ours for which `is_stale` holds; their number.
    pub(super) fn remove_temporaries(&self, is_stale: impl Fn(&Stat) -> bool) -> io::Result<usize> {
        let mut removed = 0;
        let mut look_in = |directory: BorrowedFd<'_>| {
            each_name(directory, |name| {
                let stale = is_temporary(name)
                    && outlast_kit::calls::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
                        .is_ok_and(|stat| is_stale(&stat));
                if stale && outlast_kit::calls::unlinkat(directory, name, AtFlags::empty()).is_ok() {
                    removed += 1;
                }
                Ok(())
            })
        };
        look_in(self.top.as_fd())?;
        for kind in KINDS_WITH_DIRECTORY {
            self.each_directory(kind, &mut look_in)?;
        }
        Ok(removed)
    }

    /// What there is, when it is not a repository.
    pub(super) fn found(&self) -> io::Result<Found> {
        let (has_folders, foreign) = self.entries()?;
        Ok(match foreign {
            _ if has_folders => Found::NoConfig,
            Some(entry) => Found::Foreign { entry },
            None => Found::Empty,
        })
    }

    /// Whether there are folders of a repository, and an entry that none has.
    pub(super) fn entries(&self) -> io::Result<(bool, Option<String>)> {
        let (mut has_folders, mut foreign) = (false, None);
        each_name(self.top.as_fd(), |name| {
            if KINDS_WITH_DIRECTORY
                .iter()
                .any(|kind| directory_name(*kind) == name)
            {
                has_folders = true;
            } else if name != CONFIG_NAME && !is_harmless(name) && !is_temporary(name) {
                foreign = Some(name.to_owned());
            }
            Ok(())
        })?;
        Ok((has_folders, foreign))
    }

    /// The directory of a kind, opened now if it was not yet.
    fn kind(&self, kind: FileKind) -> io::Result<BorrowedFd<'_>> {
        let Some(at) = KINDS_WITH_DIRECTORY.iter().position(|one| *one == kind) else {
            return Ok(self.top.as_fd());
        };
        if let Some(open) = self.kinds[at].get() {
            return Ok(open.as_fd());
        }
        let opened = open_directory(self.top.as_fd(), directory_name(kind))?;
        Ok(self.kinds[at].get_or_init(|| opened).as_fd())
    }

    /// Those that files of a kind are in; none if they do not exist.
    fn each_directory(
        &self,
        kind: FileKind,
        mut look_in: impl FnMut(BorrowedFd<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let top = match self.kind(kind) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            top => top?,
        };
        if kind != FileKind::Pack {
            return look_in(top);
        }
        for prefix in prefixes() {
            match self.open_packs(top, &prefix) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                directory => look_in(directory?.as_fd())?,
            }
        }
        Ok(())
    }
}

/// Makes names durable that were found in a directory. Where nothing can be written, nothing that relies on them can be either.
fn sync_found(directory: BorrowedFd<'_>) -> io::Result<()> {
    match sync_directory(directory) {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(()),
        synced => synced,
    }
}

/// For messages.
pub(super) fn path_of(root: &Path, kind: FileKind, name: &str) -> PathBuf {
    root.join(directory_name(kind)).join(below(kind, name))
}

fn directory_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Config => "",
        FileKind::Key => "keys",
        FileKind::Index => "index",
        FileKind::Snapshot => "snapshots",
        FileKind::Lock => "locks",
        FileKind::Pack => "data",
        FileKind::Damage => "damage",
    }
}

/// Of the directory of its kind.
fn below(kind: FileKind, name: &str) -> String {
    match second_level(kind, name) {
        Some(prefix) => format!("{prefix}/{name}"),
        None => name.to_owned(),
    }
}

fn second_level(kind: FileKind, name: &str) -> Option<&str> {
    name.get(..2).filter(|_| kind == FileKind::Pack)
}

fn prefixes() -> impl Iterator<Item = String> {
    (0..=255u8).map(|prefix| format!("{prefix:02x}"))
}

fn open_directory(at: impl AsFd, path: impl rustix::path::Arg + Clone) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(outlast_kit::calls::openat(at, path, flags, Mode::empty())?)
}

fn make_directory(at: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    match outlast_kit::calls::mkdirat(at, name, PRIVATE) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Names in a folder of ours, and anybody else's among them; 256 folders have the packs. Some listings never end.
const MOST_LISTED: usize = 8 << 20;

/// Every name in a directory but those that are not UTF-8, which are none of ours.
fn each_name(directory: BorrowedFd<'_>, mut take: impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
    for (number, entry) in Dir::read_from(directory)?.enumerate() {
        if number >= MOST_LISTED {
            let text = format!(
                "a folder of it lists more than {MOST_LISTED} names: its file system lists without end, or somebody else fills it"
            );
            return Err(io::Error::other(text));
        }
        let entry = entry?;
        match entry.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => take(name)?,
        }
    }
    Ok(())
}
