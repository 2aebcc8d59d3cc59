//! Where things are restored: below `TO`, and what is there already.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use outlast_proto::v1::{FileTime, JobError, Node};
use outlast_proto::words::{Overwrite, StatusCode};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;

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

/// Opens `TO`, making it if need be. Links in `TO` itself are the administrator's own.
pub(super) fn open_target(to: &str) -> Result<Arc<OwnedFd>, JobError> {
    let fault = |error: std::io::Error| JobError {
        code: StatusCode::NO_SUCH_PATH.0.into(),
        text: format!("cannot restore to {to}: {error}"),
    };
    std::fs::create_dir_all(Path::new(to)).map_err(fault)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let target = openat(CWD, to, flags, Mode::empty()).map_err(|error| fault(error.into()))?;
    Ok(Arc::new(target))
}

/// Looks at the place of `node` in `folder`.
pub(super) fn look(
    folder: &OwnedFd,
    node: &Node,
    is_folder: bool,
    overwrite: Overwrite,
) -> Result<Place, Errno> {
    let found = match statat(folder, node.name.as_ref(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(Place::Free),
        Err(error) => return Err(error),
    };
    let found_folder = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
    let replaces = replaces(node.modified.as_ref(), &found, overwrite);
    Ok(match (is_folder, found_folder) {
        (true, true) => Place::Folder,
        (false, true) => Place::InTheWay("a directory is in the way"),
        // What leads to the wanted path may be a link of the administrator's own: it is neither followed nor removed.
        (true, false) if !replaces || node.on_the_way => {
            Place::InTheWay("something that is no directory is in the way")
        }
        (_, false) if replaces => Place::Replace,
        (false, false) | (true, false) => Place::Keep,
    })
}

/// Whether a node modified at `modified` takes the place of what was found.
pub(super) fn replaces(modified: Option<&FileTime>, found: &Stat, overwrite: Overwrite) -> bool {
    match overwrite {
        Overwrite::Never => false,
        Overwrite::Always => true,
        Overwrite::IfNewer => modified.is_some_and(|modified| {
            let there = (found.st_mtime, u32::try_from(found.st_mtime_nsec).unwrap_or(0));
            (modified.seconds, modified.nanos) > there
        }),
    }
}
