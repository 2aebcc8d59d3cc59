//! One entry of a directory.
//! How it is written is in `encode` and `decode`. Built by whoever backs up, read by whoever restores.

use crate::id::BlobId;
use crate::time::Timestamp;

/// What `device` says of a regular file that had holes when it was backed up. Otherwise it is 0 there, as restic writes it.
///
/// Restic reads `device` of device files only and keeps it when it rewrites trees (docs/adr/0005). Other values mean nothing.
const HAS_HOLES: u64 = 1;

/// A file, directory or other entry, with everything needed to restore it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// Any bytes except `/` and NUL.
    pub name: Vec<u8>,
    pub kind: NodeKind,
    /// Go `os.FileMode` bits; see `go_mode_from_st_mode`.
    pub mode: u32,
    pub mtime: Timestamp,
    pub atime: Timestamp,
    pub ctime: Timestamp,
    pub uid: u32,
    pub gid: u32,
    /// Empty if unknown.
    pub user: String,
    /// Empty if unknown.
    pub group: String,
    pub inode: u64,
    /// The device the entry was on.
    pub device_id: u64,
    pub size: u64,
    pub links: u64,
    /// Of symbolic links. Any bytes; restic before 0.17 restores only those that are UTF-8 faithfully.
    pub linktarget: Option<Vec<u8>>,
    pub extended_attributes: Vec<ExtendedAttribute>,
    /// The device that the entry is, for device files; of a file, see `has_holes`.
    pub device: u64,
    /// The chunks of a file, in order; empty for an empty file, none for all other kinds.
    pub content: Option<Vec<BlobId>>,
    /// The tree of a directory.
    pub subtree: Option<BlobId>,
}

impl Node {
    /// Whether it is a file that took less room than its size. Not known of those that restic backed up.
    pub fn has_holes(&self) -> bool {
        self.kind == NodeKind::File && self.device == HAS_HOLES
    }

    /// What it takes of the memory, about.
    #[must_use]
    pub fn memory(&self) -> usize {
        let xattrs = self.extended_attributes.iter();
        std::mem::size_of::<Node>()
            + self.name.len()
            + self.user.len()
            + self.group.len()
            + self.linktarget.as_ref().map_or(0, Vec::len)
            + xattrs
                .map(|xattr| std::mem::size_of::<ExtendedAttribute>() + xattr.name.len() + xattr.value.len())
                .sum::<usize>()
            + self
                .content
                .as_ref()
                .map_or(0, |ids| std::mem::size_of_val(ids.as_slice()))
    }

    /// Notes of a file whether it has holes.
    pub fn set_has_holes(&mut self, has_holes: bool) {
        debug_assert_eq!(
            self.kind,
            NodeKind::File,
            "a device's number would be overwritten"
        );
        self.device = if has_holes { HAS_HOLES } else { 0 };
    }
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum NodeKind {
    #[default]
    File,
    Dir,
    Symlink,
    /// A block device.
    Dev,
    CharDev,
    Fifo,
    Socket,
    /// Something else, written by another program.
    Irregular,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExtendedAttribute {
    pub name: String,
    pub value: Vec<u8>,
}

impl NodeKind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            NodeKind::File => "file",
            NodeKind::Dir => "dir",
            NodeKind::Symlink => "symlink",
            NodeKind::Dev => "dev",
            NodeKind::CharDev => "chardev",
            NodeKind::Fifo => "fifo",
            NodeKind::Socket => "socket",
            NodeKind::Irregular => "irregular",
        }
    }

    pub(super) fn parse(text: &str) -> NodeKind {
        use NodeKind::{CharDev, Dev, Dir, Fifo, File, Irregular, Socket, Symlink};
        let known = [File, Dir, Symlink, Dev, CharDev, Fifo, Socket];
        known
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .unwrap_or(Irregular)
    }
}
