//! What a layer can change of a mirrored folder: every operation passes it. Its defaults change nothing.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, OFlags, RenameFlags, Stat, StatVfs};
use rustix::io::Errno;

use crate::nodes::Node;

/// Asked before and told after each operation, by many threads at once.
pub trait Layer: Send + Sync + 'static {
    /// The name that the backing folder has for what is asked for by `name`.
    fn name<'a>(&self, parent: &Node, name: &'a OsStr) -> Cow<'a, OsStr> {
        let _ = parent;
        Cow::Borrowed(name)
    }

    /// An error is the operation's result; nothing is done then. May block: so does the operation.
    fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
        let _ = call;
        Ok(())
    }

    /// What came of it, also when [`Layer::before`] had refused it.
    fn after(&self, call: &Call<'_>, result: Result<(), Errno>) {
        let _ = (call, result);
    }

    /// What is said of a node; `stat` is what the backing folder says.
    fn attributes(&self, node: &Node, stat: &mut Stat) {
        let _ = (node, stat);
    }

    /// What a listing has, in its order: `.` and `..` first, the rest as the backing folder lists it.
    fn listing(&self, node: &Node, entries: &mut Vec<Entry>) {
        let _ = (node, entries);
    }

    /// What a listing has at `place` where [`Layer::listing`] has left nothing: the list ends if that is nothing, too.
    fn further(&self, node: &Node, place: u64) -> Option<Entry> {
        let _ = (node, place);
        None
    }

    /// What is said of the room there is; `space` is what the backing file system says.
    fn space(&self, space: &mut StatVfs) {
        let _ = space;
    }

    /// The mount is to go: operations that are held up have to end.
    fn ending(&self) {}
}

/// Changes nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Passthrough;

impl Layer for Passthrough {}

/// So that a test keeps its own handle.
impl<L: Layer> Layer for Arc<L> {
    fn name<'a>(&self, parent: &Node, name: &'a OsStr) -> Cow<'a, OsStr> {
        (**self).name(parent, name)
    }

    fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
        (**self).before(call)
    }

    fn after(&self, call: &Call<'_>, result: Result<(), Errno>) {
        (**self).after(call, result);
    }

    fn attributes(&self, node: &Node, stat: &mut Stat) {
        (**self).attributes(node, stat);
    }

    fn listing(&self, node: &Node, entries: &mut Vec<Entry>) {
        (**self).listing(node, entries);
    }

    fn further(&self, node: &Node, place: u64) -> Option<Entry> {
        (**self).further(node, place)
    }

    fn space(&self, space: &mut StatVfs) {
        (**self).space(space);
    }

    fn ending(&self) {
        (**self).ending();
    }
}

/// A line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub inode: u64,
    pub kind: FileType,
    pub name: OsString,
}

/// What is to be set; times in seconds and nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Changes {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub accessed: Option<Time>,
    pub modified: Option<Time>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    Now,
    At(i64, u32),
}

/// An operation as the kernel asks for it. What an open file does is told by its node: the kernel and not the process
/// decides when an operation is made.
#[derive(Debug, Clone, Copy)]
pub enum Call<'a> {
    Lookup {
        parent: &'a Node,
        name: &'a OsStr,
    },
    Getattr {
        node: &'a Node,
    },
    Setattr {
        node: &'a Node,
        changes: &'a Changes,
    },
    Readlink {
        node: &'a Node,
    },
    Mknod {
        parent: &'a Node,
        name: &'a OsStr,
        mode: u32,
    },
    Mkdir {
        parent: &'a Node,
        name: &'a OsStr,
    },
    Symlink {
        parent: &'a Node,
        name: &'a OsStr,
        target: &'a Path,
    },
    Link {
        node: &'a Node,
        parent: &'a Node,
        name: &'a OsStr,
    },
    Unlink {
        parent: &'a Node,
        name: &'a OsStr,
    },
    Rmdir {
        parent: &'a Node,
        name: &'a OsStr,
    },
    Rename {
        parent: &'a Node,
        name: &'a OsStr,
        new_parent: &'a Node,
        new_name: &'a OsStr,
        flags: RenameFlags,
    },
    Create {
        parent: &'a Node,
        name: &'a OsStr,
        flags: OFlags,
    },
    /// Truncation comes before it, as a [`Call::Setattr`].
    Open {
        node: &'a Node,
        flags: OFlags,
    },
    Read {
        node: &'a Node,
        offset: u64,
        length: u32,
    },
    Write {
        node: &'a Node,
        offset: u64,
        data: &'a [u8],
        /// The file was opened with `O_SYNC` or `O_DSYNC`.
        synced: bool,
    },
    /// Each `close`.
    Flush {
        node: &'a Node,
        /// The file was opened for writing.
        writes: bool,
    },
    /// The last `close`.
    Release {
        node: &'a Node,
    },
    Fsync {
        node: &'a Node,
        data_only: bool,
    },
    Opendir {
        node: &'a Node,
    },
    Readdir {
        node: &'a Node,
        offset: u64,
    },
    Releasedir {
        node: &'a Node,
    },
    Fsyncdir {
        node: &'a Node,
    },
    Statfs {
        node: &'a Node,
    },
    Setxattr {
        node: &'a Node,
        attribute: &'a OsStr,
        value: &'a [u8],
    },
    Getxattr {
        node: &'a Node,
        attribute: &'a OsStr,
    },
    Listxattr {
        node: &'a Node,
    },
    Removexattr {
        node: &'a Node,
        attribute: &'a OsStr,
    },
    Fallocate {
        node: &'a Node,
        mode: u32,
        offset: u64,
        length: u64,
    },
    Lseek {
        node: &'a Node,
        offset: i64,
        whence: i32,
    },
    CopyFileRange {
        from: &'a Node,
        node: &'a Node,
        offset: u64,
        length: u64,
    },
}

impl<'a> Call<'a> {
    /// The operation's name in small letters: `lookup`, `copy_file_range`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Lookup { .. } => "lookup",
            Self::Getattr { .. } => "getattr",
            Self::Setattr { .. } => "setattr",
            Self::Readlink { .. } => "readlink",
            Self::Mknod { .. } => "mknod",
            Self::Mkdir { .. } => "mkdir",
            Self::Symlink { .. } => "symlink",
            Self::Link { .. } => "link",
            Self::Unlink { .. } => "unlink",
            Self::Rmdir { .. } => "rmdir",
            Self::Rename { .. } => "rename",
            Self::Create { .. } => "create",
            Self::Open { .. } => "open",
            Self::Read { .. } => "read",
            Self::Write { .. } => "write",
            Self::Flush { .. } => "flush",
            Self::Release { .. } => "release",
            Self::Fsync { .. } => "fsync",
            Self::Opendir { .. } => "opendir",
            Self::Readdir { .. } => "readdir",
            Self::Releasedir { .. } => "releasedir",
            Self::Fsyncdir { .. } => "fsyncdir",
            Self::Statfs { .. } => "statfs",
            Self::Setxattr { .. } => "setxattr",
            Self::Getxattr { .. } => "getxattr",
            Self::Listxattr { .. } => "listxattr",
            Self::Removexattr { .. } => "removexattr",
            Self::Fallocate { .. } => "fallocate",
            Self::Lseek { .. } => "lseek",
            Self::CopyFileRange { .. } => "copy_file_range",
        }
    }

    /// The node it is made on, or the folder and the name in it.
    pub fn place(&self) -> (&'a Node, Option<&'a OsStr>) {
        match *self {
            Self::Lookup { parent, name }
            | Self::Mknod { parent, name, .. }
            | Self::Mkdir { parent, name }
            | Self::Symlink { parent, name, .. }
            | Self::Link { parent, name, .. }
            | Self::Unlink { parent, name }
            | Self::Rmdir { parent, name }
            | Self::Rename { parent, name, .. }
            | Self::Create { parent, name, .. } => (parent, Some(name)),
            Self::Getattr { node }
            | Self::Setattr { node, .. }
            | Self::Readlink { node }
            | Self::Open { node, .. }
            | Self::Read { node, .. }
            | Self::Write { node, .. }
            | Self::Flush { node, .. }
            | Self::Release { node }
            | Self::Fsync { node, .. }
            | Self::Opendir { node }
            | Self::Readdir { node, .. }
            | Self::Releasedir { node }
            | Self::Fsyncdir { node }
            | Self::Statfs { node }
            | Self::Setxattr { node, .. }
            | Self::Getxattr { node, .. }
            | Self::Listxattr { node }
            | Self::Removexattr { node, .. }
            | Self::Fallocate { node, .. }
            | Self::Lseek { node, .. }
            | Self::CopyFileRange { node, .. } => (node, None),
        }
    }

    /// Where that is in the backing folder.
    pub fn path(&self) -> Result<PathBuf, Errno> {
        match self.place() {
            (parent, Some(name)) => Ok(parent.path()?.join(name)),
            (node, None) => node.path(),
        }
    }
    /// The same below the backing folder.
    pub fn below(&self) -> Result<PathBuf, Errno> {
        match self.place() {
            (parent, Some(name)) => Ok(parent.below()?.join(name)),
            (node, None) => node.below(),
        }
    }
}
