//! Owner, extended attributes, mode and times, in the order in which they do not undo one another: a change of owner
//! clears setuid and capabilities, so it comes first; times come last.
//!
//! Everything goes through descriptors of what we made ourselves, so that nobody can put something else in its place.

use std::os::fd::OwnedFd;

use outlast_kit::calls::{chmodat, chownat, fchmod, fchown, fremovexattr, fstat, futimens, utimensat};
use outlast_proto::v1::{FileTime, Node, NodeType};
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, removexattr, setxattr,
};
use rustix::io::Errno;

use super::place::time_of;

use crate::host::node::PERMISSIONS;
use crate::host::paths::by_descriptor;
use crate::host::xattrs;

/// setuid and setgid: worth nothing, or dangerous, under another owner.
const SET_ID: u32 = 0o6000;
/// uid and gid that mean "do not change".
const NOBODY: u32 = u32::MAX;

/// Something of a node's metadata that could not be set.
#[derive(Debug)]
pub(super) struct Problem {
    /// In words.
    pub(super) what: String,
    /// What it has in common with others.
    pub(super) kind: String,
    pub(super) error: Option<Errno>,
}

/// Gives an open file or directory its metadata. Returns what could not be set.
pub(super) fn of_open(file: &OwnedFd, node: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mode = owned(node, &mut problems, |uid, gid| fchown(file, uid, gid));
    let removed = xattrs::remove_others(xattrs::names_of_open(file), &node.xattrs, |name| {
        fremovexattr(file, name)
    });
    note(&mut problems, "attributes it is not to have", removed);
    for attribute in xattrs::own(&node.xattrs) {
        let set = xattrs::set_open(file, attribute);
        note_attribute(&mut problems, attribute, set);
    }
    note(&mut problems, "its mode", fchmod(file, mode));
    match times(node) {
        Some(times) => note(&mut problems, "its times", futimens(file, &times)),
        None => problems.push(impossible_times()),
    }
    problems
}

/// As [`of_open`], without extended attributes: those that are there stay.
pub(super) fn without_attributes(file: &OwnedFd, node: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mode = owned(node, &mut problems, |uid, gid| fchown(file, uid, gid));
    note(&mut problems, "its mode", fchmod(file, mode));
    if let Some(times) = times(node) {
        note(&mut problems, "its times", futimens(file, &times));
    }
    problems
}

/// Gives a directory back the time of modification that it had, if it has another one now.
pub(super) fn time_again(folder: &OwnedFd, time: FileTime) -> Vec<Problem> {
    let mut problems = Vec::new();
    let has_it = fstat(folder).is_ok_and(|there| time_of(&there) == time);
    if let Some(last_modification) = timespec(time).filter(|_| !has_it) {
        let last_access = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        };
        let times = Timestamps {
            last_access,
            last_modification,
        };
        note(&mut problems, "its times", futimens(folder, &times));
    }
    problems
}

/// Changes the names in a directory that may have been left, and has its times then.
pub(super) fn keeping_time<T>(
    folder: &OwnedFd,
    change: impl FnOnce() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let before = fstat(folder)?;
    let changed = change();
    // Who may change names in somebody else's directory may not set its time: then it is that of the change.
    drop(time_again(folder, time_of(&before)));
    changed
}

/// What a file of ours would not have, where `there` is one that stays and counts as equal: in this it is another than the node's.
/// What only who restores decides, as groups for somebody who is not root, is not looked at.
pub(super) fn other_than_set(node: &Node, there: &Stat) -> Option<&'static str> {
    let user = rustix::process::geteuid();
    let (is_owner, is_group) = match user.is_root() {
        true => (
            node.uid == NOBODY || node.uid == there.st_uid,
            node.gid == NOBODY || node.gid == there.st_gid,
        ),
        false => (user.as_raw() == there.st_uid, true),
    };
    if !is_owner || !is_group {
        return Some("another owner");
    }
    let is_owned = (node.uid, node.gid) == (there.st_uid, there.st_gid);
    let counts = if is_owned {
        PERMISSIONS
    } else {
        PERMISSIONS & !SET_ID
    };
    let has_mode = node.r#type() == NodeType::Symlink || (node.mode ^ there.st_mode) & counts == 0;
    (!has_mode).then_some("another mode")
}

/// Gives the entry `name` of `folder`, opened as `path_only`, its metadata: a link, a fifo, a socket, a device.
pub(super) fn of_entry(
    folder: &OwnedFd,
    name: &[u8],
    path_only: &OwnedFd,
    node: &Node,
    is_link: bool,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mode = owned(node, &mut problems, |uid, gid| {
        chownat(path_only, "", uid, gid, AtFlags::EMPTY_PATH)
    });
    let itself = by_descriptor(path_only);
    if !is_link {
        let names = xattrs::names_of_path(&itself);
        let removed = xattrs::remove_others(names, &node.xattrs, |name| removexattr(itself.as_str(), name));
        note(&mut problems, "attributes it is not to have", removed);
    }
    for attribute in xattrs::own(&node.xattrs) {
        let set = if is_link {
            xattrs::set_entry(folder, name, attribute)
        } else {
            let (key, value) = (attribute.name.as_ref(), attribute.value.as_ref());
            setxattr(itself.as_str(), key, value, XattrFlags::empty())
        };
        note_attribute(&mut problems, attribute, set);
    }
    if !is_link {
        note(
            &mut problems,
            "its mode",
            chmodat(CWD, itself.as_str(), mode, AtFlags::empty()),
        );
    }
    match times(node) {
        Some(times) => {
            let set = utimensat(folder, name, &times, AtFlags::SYMLINK_NOFOLLOW);
            note(&mut problems, "its times", set);
        }
        None => problems.push(impossible_times()),
    }
    problems
}

/// Sets the owner if we may, and says which mode then is right.
fn owned(
    node: &Node,
    problems: &mut Vec<Problem>,
    chown: impl FnOnce(Option<Uid>, Option<Gid>) -> Result<(), Errno>,
) -> Mode {
    let user = rustix::process::geteuid();
    let is_owned = if user.is_root() {
        let [uid, gid] = [node.uid, node.gid].map(|number| (number != NOBODY).then_some(number));
        for (what, given) in [("owner", uid), ("group", gid)] {
            if given.is_none() {
                problems.push(impossible(format!(
                    "its {what}, {NOBODY}, is a number that no file can have"
                )));
            }
        }
        let set = chown(uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        let is_owned = set.is_ok() && uid.is_some() && gid.is_some();
        note(problems, "its owner", set);
        is_owned
    } else {
        user.as_raw() == node.uid && rustix::process::getegid().as_raw() == node.gid
    };
    let permissions = node.mode & PERMISSIONS;
    Mode::from_raw_mode(if is_owned {
        permissions
    } else {
        permissions & !SET_ID
    })
}

/// Access and modification time, if the kernel takes them.
fn times(node: &Node) -> Option<Timestamps> {
    let modified = node.modified.unwrap_or_default();
    Some(Timestamps {
        last_access: timespec(node.accessed.unwrap_or(modified))?,
        last_modification: timespec(modified)?,
    })
}

fn timespec(time: FileTime) -> Option<Timespec> {
    // Larger numbers mean "now" and "leave it" to the kernel.
    (time.nanos < 1_000_000_000).then(|| Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanos.into(),
    })
}

fn note(problems: &mut Vec<Problem>, what: &str, set: Result<(), Errno>) {
    if let Err(error) = set {
        problems.push(Problem {
            what: format!("{what} could not be set"),
            kind: what.to_owned(),
            error: Some(error),
        });
    }
}

fn impossible_times() -> Problem {
    impossible("its times are impossible".to_owned())
}

/// What nothing can be given, wherever it is restored.
fn impossible(what: String) -> Problem {
    Problem {
        what,
        kind: String::new(),
        error: None,
    }
}

fn note_attribute(
    problems: &mut Vec<Problem>,
    attribute: &outlast_proto::v1::ExtendedAttribute,
    set: Result<(), Errno>,
) {
    if let Err(error) = set {
        let name = crate::host::paths::shown(&attribute.name);
        problems.push(Problem {
            what: format!("its attribute {name} could not be set"),
            // Access lists, what programs keep, what guards keep: a file system has all of a kind, or none.
            kind: name.split('.').next().unwrap_or_default().to_owned(),
            error: Some(error),
        });
    }
}
