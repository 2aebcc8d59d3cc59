//! What is done on the backing folder for each operation. Knows neither layers nor FUSE's answers; called by `serve`.

use std::ffi::{OsStr, OsString};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Uid, XattrFlags, chmodat, chownat, ftruncate, linkat,
    mknodat, openat, utimensat,
};
use rustix::io::Errno;

use crate::answer;
use crate::layer::{Changes, Entry};
use crate::nodes::Node;

/// Of the flags of an open file, those that are for the kernel alone: it says where an append goes, buffers need not be
/// aligned here, and a link is never followed.
const FOR_THE_KERNEL: OFlags = OFlags::APPEND
    .union(OFlags::DIRECT)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::TRUNC)
    .union(OFlags::NOCTTY);

pub(crate) fn open(node: &Node, flags: OFlags) -> Result<OwnedFd, Errno> {
    node.open(flags.difference(FOR_THE_KERNEL))
}

pub(crate) fn create(parent: &Node, name: &OsStr, flags: OFlags, mode: u32) -> Result<OwnedFd, Errno> {
    let flags = flags.difference(FOR_THE_KERNEL) | (flags & OFlags::EXCL);
    let flags = flags | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::from_raw_mode(mode))
}

pub(crate) fn mknod(parent: &Node, name: &OsStr, mode: u32, device: u32) -> Result<(), Errno> {
    let device = answer::device_from_kernel(device);
    mknodat(
        parent,
        name,
        FileType::from_raw_mode(mode),
        Mode::from_raw_mode(mode),
        device,
    )
}

pub(crate) fn link(node: &Node, parent: &Node, name: &OsStr) -> Result<(), Errno> {
    linkat(node, "", parent, name, AtFlags::EMPTY_PATH)
}

/// All that is asked for, in an order in which nothing undoes what was set before it.
pub(crate) fn change(node: &Node, file: Option<BorrowedFd<'_>>, changes: &Changes) -> Result<(), Errno> {
    if changes.uid.is_some() || changes.gid.is_some() {
        let (uid, gid) = (changes.uid.map(Uid::from_raw), changes.gid.map(Gid::from_raw));
        chownat(
            node,
            "",
            uid,
            gid,
            AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW,
        )?;
    }
    if let Some(size) = changes.size {
        match file {
            Some(file) => ftruncate(file, size)?,
            None => ftruncate(node.open(OFlags::WRONLY)?, size)?,
        }
    }
    if let Some(mode) = changes.mode {
        chmodat(CWD, node.proc_path(), Mode::from_raw_mode(mode), AtFlags::empty())?;
    }
    if let Some(times) = answer::timestamps(changes) {
        utimensat(node, "", &times, AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

pub(crate) fn listing(folder: &OwnedFd) -> Result<Vec<Entry>, Errno> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        entries.push(Entry {
            inode: entry.ino(),
            kind: entry.file_type(),
            name: OsString::from_vec(entry.file_name().to_bytes().to_vec()),
        });
    }
    // Some file systems give them later, and what a layer is told starts with them.
    entries.sort_by_key(|entry| match entry.name.as_encoded_bytes() {
        b"." => 0,
        b".." => 1,
        _ => 2,
    });
    Ok(entries)
}

/// Fewer than asked for at the end of the file only.
pub(crate) fn read(file: &OwnedFd, offset: u64, length: u32) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; usize::try_from(length).map_err(|_| Errno::INVAL)?];
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::pread(file, &mut buffer[filled..], offset + filled as u64)? {
            0 => break,
            more => filled += more,
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

/// An error after the first bytes is told by the next write.
pub(crate) fn write(file: &OwnedFd, offset: u64, data: &[u8]) -> Result<u32, Errno> {
    let mut written = 0;
    while written < data.len() {
        match rustix::io::pwrite(file, &data[written..], offset + written as u64) {
            Ok(0) => return Err(Errno::IO),
            Ok(more) => written += more,
            Err(_) if written > 0 => break,
            Err(error) => return Err(error),
        }
    }
    u32::try_from(written).map_err(|_| Errno::IO)
}

pub(crate) fn set_attribute(node: &Node, name: &OsStr, value: &[u8], flags: i32) -> Result<(), Errno> {
    let flags = XattrFlags::from_bits_retain(flags.cast_unsigned());
    rustix::fs::setxattr(node.proc_path(), name, value, flags)
}

/// A value or a list of names whose length is not known before.
pub(crate) fn attribute(
    read: impl Fn(&Path, &mut [u8]) -> Result<usize, Errno>,
    node: &Node,
) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 64 << 10];
    let length = read(&node.proc_path(), &mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}
