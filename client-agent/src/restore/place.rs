//! What is there already where a node is to be restored, and whether that is the same.

use std::os::fd::OwnedFd;

use outlast_kit::calls::{readlinkat, statat};
use outlast_proto::v1::{FileTime, Node, NodeType};
use outlast_proto::words::Overwrite;
use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use super::target::nanos;

/// What a node meets at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing is there.
    Free,
    /// Something is there and will be replaced.
    Replace,
    /// What is there stays; nothing is wrong with that.
    Keep,
    /// A directory, for a node that is one.
    Folder,
    /// What is there stays, and the node cannot be restored.
    InTheWay(&'static str),
}

/// What is at the place of that name.
pub(super) fn found(folder: &OwnedFd, name: &[u8]) -> Result<Option<Stat>, Errno> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a node does where `found` is.
pub(super) fn place(found: Option<&Stat>, node: &Node, is_folder: bool, overwrite: Overwrite) -> Place {
    let Some(found) = found else { return Place::Free };
    let found_folder = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
    let replaces = replaces(node.modified.as_ref(), found, overwrite);
    match (is_folder, found_folder) {
        (true, true) => Place::Folder,
        (false, true) => Place::InTheWay("a directory is in the way"),
        // What leads to the wanted path may be a link of the administrator's own: it is neither followed nor removed.
        (true, false) if !replaces || node.on_the_way => {
            Place::InTheWay("something that is no directory is in the way")
        }
        (_, false) if replaces => Place::Replace,
        (false, false) | (true, false) => Place::Keep,
    }
}

/// Whether a node modified at `modified` takes the place of what was found.
pub(super) fn replaces(modified: Option<&FileTime>, found: &Stat, overwrite: Overwrite) -> bool {
    match overwrite {
        Overwrite::Never => false,
        Overwrite::Always => true,
        Overwrite::IfNewer => modified.is_some_and(|modified| {
            let there = time_of(found);
            (modified.seconds, modified.nanos) > (there.seconds, there.nanos)
        }),
    }
}

/// Whether what was found, which is no directory, differs from the node in what it contains, as far as its description tells. Times
/// count as far as the target keeps them: in `grain` nanoseconds.
pub(super) fn differs(folder: &OwnedFd, node: &Node, found: &Stat, grain: i128) -> bool {
    match (node.r#type(), FileType::from_raw_mode(found.st_mode)) {
        (NodeType::File, FileType::RegularFile) => {
            node.size != found.st_size.unsigned_abs() || !has_time(node, found, grain)
        }
        (NodeType::Symlink, FileType::Symlink) => {
            let target = readlinkat(folder, node.name.as_ref(), Vec::new());
            !target.is_ok_and(|target| target.as_bytes() == node.link_target)
        }
        (NodeType::CharacterDevice, FileType::CharacterDevice)
        | (NodeType::BlockDevice, FileType::BlockDevice) => node.device != found.st_rdev,
        (NodeType::Fifo, FileType::Fifo) | (NodeType::Socket, FileType::Socket) => false,
        _ => true,
    }
}

/// Whether what was found has the node's time of modification, as far as the target keeps it: in `grain` nanoseconds.
pub(super) fn has_time(node: &Node, found: &Stat, grain: i128) -> bool {
    let modified = node.modified.unwrap_or_default();
    let there = nanos(found.st_mtime, found.st_mtime_nsec);
    let far = (nanos(modified.seconds, modified.nanos.into()) - there).abs();
    far == 0 || (far < grain && there % grain == 0)
}

pub(super) fn time_of(found: &Stat) -> FileTime {
    FileTime {
        seconds: found.st_mtime,
        nanos: u32::try_from(found.st_mtime_nsec).unwrap_or(0),
    }
}
