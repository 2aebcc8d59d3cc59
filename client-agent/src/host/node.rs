//! What lstat says, as the `Node` of the protocol; and what of it tells that a file has changed.

use outlast_proto::v1::{FileTime, Node, NodeType};
use rustix::fs::{FileType, Stat};

use super::owners::Owners;

/// The permission bits with setuid, setgid and sticky.
pub(crate) const PERMISSIONS: u32 = 0o7777;

/// What differs when a file's content may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) size: u64,
    modified: (i64, u32),
    changed: (i64, u32),
    inode: u64,
    device: u64,
}

impl Seen {
    /// Seconds and nanoseconds.
    pub(crate) fn modified(&self) -> (i64, u32) {
        self.modified
    }

    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            size: size(stat),
            modified: (stat.st_mtime, nanos(stat.st_mtime_nsec)),
            changed: (stat.st_ctime, nanos(stat.st_ctime_nsec)),
            inode: stat.st_ino,
            device: stat.st_dev,
        }
    }
}

/// The node of a stat, without number, link target and extended attributes. Of what is no directory, [`super::identity`] knows the device.
pub(crate) fn node(name: &[u8], stat: &Stat, owners: &Owners) -> Node {
    let kind = kind(stat);
    let is_device = matches!(kind, NodeType::CharacterDevice | NodeType::BlockDevice);
    Node {
        name: name.to_vec().into(),
        r#type: kind.into(),
        mode: stat.st_mode & PERMISSIONS,
        uid: stat.st_uid,
        gid: stat.st_gid,
        user: owners.user(stat.st_uid),
        group: owners.group(stat.st_gid),
        size: if kind == NodeType::File { size(stat) } else { 0 },
        modified: Some(time(stat.st_mtime, stat.st_mtime_nsec)),
        accessed: Some(time(stat.st_atime, stat.st_atime_nsec)),
        changed: Some(time(stat.st_ctime, stat.st_ctime_nsec)),
        inode: stat.st_ino,
        device_id: stat.st_dev,
        links: widened(stat.st_nlink),
        device: if is_device { stat.st_rdev } else { 0 },
        has_holes: kind == NodeType::File && takes_less_than_its_size(stat),
        ..Node::default()
    }
}

/// Whether there are holes in a file: less room is allocated than its content would fill, whatever the length of a block. What
/// else the file system keeps for it (a list of extents, attributes) or has allocated ahead may outweigh a few blocks of holes.
fn takes_less_than_its_size(stat: &Stat) -> bool {
    let allocated = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
    allocated < size(stat)
}

/// The type of a stat; unspecified for what this version does not know.
pub(crate) fn kind(stat: &Stat) -> NodeType {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => NodeType::File,
        FileType::Directory => NodeType::Directory,
        FileType::Symlink => NodeType::Symlink,
        FileType::Fifo => NodeType::Fifo,
        FileType::Socket => NodeType::Socket,
        FileType::CharacterDevice => NodeType::CharacterDevice,
        FileType::BlockDevice => NodeType::BlockDevice,
        FileType::Unknown => NodeType::Unspecified,
    }
}

/// The number's width differs between machines.
fn widened(number: impl Into<u64>) -> u64 {
    number.into()
}

fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

fn time(seconds: i64, nsec: impl TryInto<u32>) -> FileTime {
    FileTime {
        seconds,
        nanos: nanos(nsec),
    }
}

fn nanos(nsec: impl TryInto<u32>) -> u32 {
    nsec.try_into().unwrap_or(0)
}
