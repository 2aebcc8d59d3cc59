//! What the kernel knows of the mirror: a handle into the backing folder for each inode it has looked up and not forgotten.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat};
use rustix::io::Errno;

/// As FUSE has it.
pub(crate) const ROOT: u64 = 1;

/// An inode of the backing folder.
#[derive(Debug)]
pub struct Node {
    fd: OwnedFd,
    id: u64,
    kind: FileType,
    /// Where the backing folder is.
    root: Arc<Path>,
}

impl Node {
    /// Its inode number in the mirror: that of the backing folder, but for the root.
    pub fn id(&self) -> u64 {
        self.id
    }

    pub fn kind(&self) -> FileType {
        self.kind
    }

    pub fn is_root(&self) -> bool {
        self.id == ROOT
    }

    /// One path at which the backing folder has it, or had it: then it ends in ` (deleted)`.
    pub fn path(&self) -> Result<PathBuf, Errno> {
        let path = rustix::fs::readlinkat(CWD, self.proc_path(), Vec::new())?;
        Ok(PathBuf::from(OsString::from_vec(path.into_bytes())))
    }

    /// The same below the backing folder; empty for that one.
    pub fn below(&self) -> Result<PathBuf, Errno> {
        let path = self.path()?;
        let below = path.strip_prefix(&self.root).map_err(|_| Errno::NOENT)?;
        Ok(below.to_owned())
    }

    /// The inode itself, whatever became of its names: for calls that take a path and follow it.
    pub fn proc_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
    }

    /// What the backing folder says of it.
    pub fn stat(&self) -> Result<Stat, Errno> {
        fstat(&self.fd)
    }

    /// A handle for reading or writing, or for a listing.
    pub fn open(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        openat(CWD, self.proc_path(), flags | OFlags::CLOEXEC, Mode::empty())
    }
}

/// Of the kind `O_PATH`.
impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

pub(crate) struct Nodes {
    root: Arc<Path>,
    /// The file system of the backing folder; what is mounted below it has inode numbers of its own.
    device: u64,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    known: HashMap<u64, Known>,
    /// By device and inode number.
    ids: HashMap<(u64, u64), u64>,
    foreign: u64,
}

struct Known {
    node: Arc<Node>,
    inode: (u64, u64),
    lookups: u64,
}

/// Above all inode numbers that a file system gives.
const FOREIGN: u64 = 1 << 63;

impl Nodes {
    pub(crate) fn new(backing: &Path) -> Result<Self, Errno> {
        let fd = openat(
            CWD,
            backing,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let stat = fstat(&fd)?;
        let inode = (stat.st_dev, stat.st_ino);
        let kind = FileType::Directory;
        let root: Arc<Path> = backing.canonicalize().map_err(|_| Errno::NOENT)?.into();
        let node = Arc::new(Node {
            fd,
            id: ROOT,
            kind,
            root: root.clone(),
        });
        let mut table = Table::default();
        table.ids.insert(inode, ROOT);
        table.known.insert(
            ROOT,
            Known {
                node,
                inode,
                lookups: 1,
            },
        );
        Ok(Self {
            root,
            device: stat.st_dev,
            table: Mutex::new(table),
        })
    }

    /// What the kernel asks about it knows.
    pub(crate) fn get(&self, id: u64) -> Result<Arc<Node>, Errno> {
        let table = self.table.lock();
        table
            .known
            .get(&id)
            .map(|known| known.node.clone())
            .ok_or(Errno::STALE)
    }

    /// What has a name in a folder; the kernel knows it once more from now on.
    pub(crate) fn look_up(&self, parent: &Node, name: &OsStr) -> Result<Arc<Node>, Errno> {
        let fd = openat(
            parent,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let stat = fstat(&fd)?;
        let inode = (stat.st_dev, stat.st_ino);
        let mut table = self.table.lock();
        if let Some(id) = table.ids.get(&inode).copied() {
            let known = table
                .known
                .get_mut(&id)
                .expect("both tables have the same inodes");
            known.lookups += 1;
            return Ok(known.node.clone());
        }
        let id = if stat.st_dev == self.device && stat.st_ino != ROOT {
            stat.st_ino
        } else {
            table.foreign += 1;
            FOREIGN | table.foreign
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let root = self.root.clone();
        let node = Arc::new(Node { fd, id, kind, root });
        table.ids.insert(inode, id);
        table.known.insert(
            id,
            Known {
                node: node.clone(),
                inode,
                lookups: 1,
            },
        );
        Ok(node)
    }

    pub(crate) fn forget(&self, id: u64, times: u64) {
        let mut table = self.table.lock();
        let Some(known) = table.known.get_mut(&id) else {
            return;
        };
        known.lookups = known.lookups.saturating_sub(times);
        if known.lookups == 0 && id != ROOT {
            let inode = known.inode;
            table.ids.remove(&inode);
            table.known.remove(&id);
        }
    }
}
