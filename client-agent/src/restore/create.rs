//! Nodes without content: empty files, symbolic links, fifos, sockets, devices; made under a temporary name.

use std::os::fd::OwnedFd;

use outlast_kit::calls::{fstat, mknodat, openat, symlinkat, unlinkat};
use outlast_proto::v1::{Node, NodeType};
use outlast_proto::words::JobKey;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::content::{Writing, remove_leftover};
use super::metadata::{self, Problem};
use crate::unfinished::temporary_name;

/// Why nothing can be what `node` says, wherever it is made.
pub(super) fn impossible(node: &Node) -> Option<String> {
    let is_device = matches!(node.r#type(), NodeType::CharacterDevice | NodeType::BlockDevice);
    (is_device && node.device > u32::MAX.into()).then(|| {
        format!(
            "it cannot be made: the restore point says that it is the device {}, and {} is the highest number of one",
            node.device,
            u32::MAX
        )
    })
}

/// Makes `node` in `folder` under its temporary name, which is returned with what could not be set.
pub(super) fn create(
    folder: &std::sync::Arc<OwnedFd>,
    node: &Node,
    job: JobKey,
) -> Result<(Vec<u8>, Vec<Problem>), Errno> {
    let temporary = temporary_name(job, node.number);
    if node.r#type() == NodeType::File {
        let file = Writing::create(std::sync::Arc::clone(folder), temporary.clone())?;
        let problems = metadata::of_open(&file.file, node);
        file.close()?;
        return Ok((temporary, problems));
    }
    remove_leftover(folder, &temporary)?;
    make(folder, &temporary, node)?;
    match describe(folder, &temporary, node) {
        Ok(problems) => Ok((temporary, problems)),
        Err(error) => {
            // The first error is the one to report.
            let _ = unlinkat(folder, temporary.as_slice(), AtFlags::empty());
            Err(error)
        }
    }
}

fn make(folder: &OwnedFd, name: &[u8], node: &Node) -> Result<(), Errno> {
    let owner_only = Mode::RUSR | Mode::WUSR;
    match node.r#type() {
        NodeType::Symlink => symlinkat(node.link_target.as_ref(), folder, name),
        NodeType::Fifo => mknodat(folder, name, FileType::Fifo, owner_only, 0),
        NodeType::Socket => mknodat(folder, name, FileType::Socket, owner_only, 0),
        NodeType::CharacterDevice => {
            mknodat(folder, name, FileType::CharacterDevice, owner_only, node.device)
        }
        NodeType::BlockDevice => mknodat(folder, name, FileType::BlockDevice, owner_only, node.device),
        NodeType::Unspecified | NodeType::File | NodeType::Directory => Err(Errno::INVAL),
    }
}

fn describe(folder: &OwnedFd, name: &[u8], node: &Node) -> Result<Vec<Problem>, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat(folder, name, flags, Mode::empty())?;
    let is_link = node.r#type() == NodeType::Symlink;
    let is_ours = |stat: &Stat| {
        stat.st_nlink == 1 && (FileType::from_raw_mode(stat.st_mode) == FileType::Symlink) == is_link
    };
    if !is_ours(&fstat(&opened)?) {
        return Err(Errno::BUSY);
    }
    Ok(metadata::of_entry(folder, name, &opened, node, is_link))
}
