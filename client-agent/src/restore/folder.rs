//! A directory that is entered: made, or taken as it is there and opened for the time where its mode keeps out who restores.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use outlast_kit::calls::{accessat, chmodat, chownat, mkdirat, openat, statat, unlinkat};
use outlast_kit::data_folder::user_of;
use outlast_proto::v1::Node;
use outlast_proto::words::limits::MOST_PATH;
use outlast_proto::words::{Overwrite, StatusCode};
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::faults::{Reach, reach, words};
use super::place::{Place, found, has_time, place, replaces, time_of};
use super::queue::Target;
use super::settle::Settling;
use super::step::Care;
use crate::host::birth::Identity;
use crate::host::paths::{by_descriptor, join};
use crate::unfinished::{Ledger, is_as_made};

/// A directory in which things are restored.
#[derive(Clone, Default)]
pub(super) struct Entered {
    pub(super) path: Arc<[u8]>,
    pub(super) care: Care,
    /// Nothing can be made in it, and why.
    pub(super) refuses: Option<Errno>,
}

/// Makes the directory `node` in the one at `parent`, or takes the one that is there; `None` if nothing below it is restored.
pub(super) fn enter(
    target: &mut Target,
    parent: &[u8],
    node: &Node,
    overwrite: Overwrite,
) -> Option<Entered> {
    let Target { beneath, settling } = target;
    let path: Arc<[u8]> = join(parent, &node.name).into();
    if path.len() > MOST_PATH {
        let reason = "its path is too long".to_owned();
        settling
            .account
            .failed(&path, StatusCode::TARGET_NOT_WRITABLE, reason);
        return None;
    }
    let looked = beneath.folder(parent).and_then(|folder| {
        let there = found(&folder, &node.name)?;
        Ok((folder, there))
    });
    let (folder, there) = match looked {
        Ok(looked) => looked,
        Err(error) => {
            settling.failed(&path, "its place cannot be examined", error);
            return None;
        }
    };
    if let Some(there) = there
        .as_ref()
        .filter(|there| settling.filled.contains(parent, there))
    {
        let reason = settling.filled.reason(&folder, &node.name, there);
        settling
            .account
            .in_the_way(&path, format!("{reason}; nothing below it is restored"));
        return None;
    }
    if there.is_some()
        && let Some(whom) = path_only(&folder, &node.name).ok().and_then(user_of)
    {
        let reason = format!(
            "it is the data folder of the {whom} that runs on this host; nothing in it is restored: stop that one first, or restore to another place"
        );
        settling.account.in_the_way(&path, reason);
        return None;
    }
    let (care, there) = match (place(there.as_ref(), node, true, overwrite), there) {
        (Place::Folder, Some(there)) => (take(settling, &path, (&folder, &there), node, overwrite), there),
        (Place::InTheWay(what), _) => {
            settling.account.in_the_way(&path, what.to_owned());
            return None;
        }
        (Place::Keep, _) => {
            settling.account.kept();
            return None;
        }
        (place, _) => match make(settling, (&path, parent), &folder, node, place == Place::Replace) {
            Ok(made) => {
                settling.unsynced.note(parent, &folder);
                made
            }
            Err(error) => {
                settling.failed(&path, "the directory could not be made", error);
                return None;
            }
        },
    };
    settling.filled.note(&Arc::from(parent), &there);
    let refuses = if care.is_made {
        None
    } else {
        refusal(settling, &path, &folder, node)
    };
    Some(Entered { path, care, refuses })
}

fn make(
    settling: &mut Settling,
    (path, parent): (&[u8], &[u8]),
    folder: &OwnedFd,
    node: &Node,
    replaces: bool,
) -> Result<(Care, Stat), Errno> {
    settling.ledger.makes(path, parent);
    if replaces {
        unlinkat(folder, node.name.as_ref(), AtFlags::empty())?;
    }
    mkdirat(folder, node.name.as_ref(), Mode::RWXU)?;
    settling.ledger.insert(path, folder, node);
    let there = statat(folder, node.name.as_ref(), AtFlags::SYMLINK_NOFOLLOW)?;
    // The default access list of the one above it may have taken from its owner what is needed.
    if !Mode::from_raw_mode(there.st_mode).contains(Mode::RWXU) {
        let made = path_only(folder, &node.name)?;
        if access(&made) == Err(Errno::ACCESS) {
            chmodat(CWD, by_descriptor(&made), Mode::RWXU, AtFlags::empty())?;
        }
    }
    let care = Care {
        is_described: true,
        is_made: true,
        ..Care::default()
    };
    Ok((care, there))
}

/// One an earlier attempt made is ours; another is overwritten as files are: never, always, or if the restored one is newer.
fn take(
    settling: &mut Settling,
    path: &[u8],
    (folder, there): (&OwnedFd, &Stat),
    node: &Node,
    overwrite: Overwrite,
) -> Care {
    let is_made = settling.ledger.contains(path, folder, &node.name);
    let is_described = is_made || (!node.on_the_way && replaces(node.modified.as_ref(), there, overwrite));
    let grain = settling.root.known_grain(there).unwrap_or(1);
    let keeps_time = !is_described && has_time(node, there, grain);
    let opened = path_only(folder, &node.name);
    if is_made {
        settling.ledger.takes(path, folder, node);
        if let Ok(opened) = &opened {
            as_made(opened);
        }
    }
    let mode_before = opened
        .ok()
        .and_then(|opened| open_for_the_time(&mut settling.ledger, path, &opened));
    Care {
        is_described,
        is_made,
        mode_before,
        time_before: keeps_time.then(|| time_of(there)),
    }
}

/// Where nothing tells when a directory was made, the next process knows ours by its looks: those of one that is not described yet.
fn as_made(path_only: &OwnedFd) {
    let Ok((identity, there)) = Identity::of_open(path_only) else {
        return;
    };
    if identity.born.is_some() || is_as_made(&there) {
        return;
    }
    // Without success it is not known again after a kill, and gets no metadata.
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let _ = chownat(path_only, "", Some(user), Some(group), AtFlags::EMPTY_PATH);
    let _ = chmodat(CWD, by_descriptor(path_only), Mode::RWXU, AtFlags::empty());
}

/// Lets its owner, who restores, write in a directory whose mode does not; the mode it had then.
pub(super) fn open_for_the_time(ledger: &mut Ledger, path: &[u8], path_only: &OwnedFd) -> Option<u32> {
    if access(path_only) != Err(Errno::ACCESS) {
        return None;
    }
    let (identity, there) = Identity::of_open(path_only).ok()?;
    if there.st_uid != rustix::process::geteuid().as_raw() {
        return None;
    }
    let mode = Mode::from_raw_mode(there.st_mode & 0o7777);
    ledger.opens(path, identity, mode.as_raw_mode());
    let opened = chmodat(CWD, by_descriptor(path_only), mode | Mode::RWXU, AtFlags::empty());
    // Without success what is restored into it says why it cannot be.
    opened.ok().map(|()| mode.as_raw_mode())
}

/// Why nothing can be made in the directory `node` of `folder`; the target is tested if it may be that.
fn refusal(settling: &mut Settling, path: &[u8], folder: &OwnedFd, node: &Node) -> Option<Errno> {
    let error = path_only(folder, &node.name)
        .and_then(|there| access(&there))
        .err()?;
    if reach(error) == Reach::Doubtful && settling.root.is_unfit() {
        let reason = format!("the directory cannot be written: {}", words(error));
        settling
            .account
            .ends(path, StatusCode::TARGET_NOT_WRITABLE, &reason);
    }
    Some(error)
}

/// The directory `name` of `folder`, also if its mode keeps us out.
fn path_only(folder: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(folder, name, flags, Mode::empty())
}

/// Whether things can be listed, made and reached in a directory.
fn access(path_only: &OwnedFd) -> Result<(), Errno> {
    let all = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    match accessat(CWD, by_descriptor(path_only), all, AtFlags::EACCESS) {
        // Systems that cannot tell let the first write tell.
        Err(Errno::NOSYS | Errno::INVAL) => Ok(()),
        access => access,
    }
}
