//! The lines of a restore's file, and what a directory was or is to be.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use outlast_proto::v1::Node;
use outlast_proto::words::JobKey;
use prost::Message as _;
use rustix::fs::{AtFlags, FileType, Stat, statat};
use rustix::io::Errno;

/// One fact. Directories that were made or opened have absolute paths, those of temporary names paths below `TO`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Line {
    /// First: where to.
    #[prost(bytes = "vec", optional, tag = "1")]
    pub(super) to: Option<Vec<u8>>,
    /// A directory was made...
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(super) made: Option<Vec<u8>>,
    /// ...which is this one.
    #[prost(uint64, tag = "3")]
    pub(super) device: u64,
    #[prost(uint64, tag = "4")]
    pub(super) inode: u64,
    /// It has its metadata now.
    #[prost(bytes = "vec", optional, tag = "5")]
    pub(super) described: Option<Vec<u8>>,
    /// Temporary names are made in this directory.
    #[prost(bytes = "vec", optional, tag = "6")]
    pub(super) working: Option<Vec<u8>>,
    /// What the directory that was made is to be; none in files of before.
    #[prost(message, optional, tag = "7")]
    pub(super) recorded: Option<Recorded>,
    /// A directory that was there, which is this one, lets us write for the time...
    #[prost(bytes = "vec", optional, tag = "8")]
    pub(super) opened: Option<Vec<u8>>,
    /// ...and had this mode.
    #[prost(uint32, tag = "9")]
    pub(super) mode: u32,
    /// A directory is about to be made, in one that was not. Synced: what is found there after a power cut may be ours.
    #[prost(bytes = "vec", optional, tag = "10")]
    pub(super) makes: Option<Vec<u8>>,
}

/// What is recorded of a directory, as far as it is put right without the restore that made it.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct Recorded {
    #[prost(uint32, tag = "1")]
    pub(super) mode: u32,
    #[prost(uint32, tag = "2")]
    pub(super) uid: u32,
    #[prost(uint32, tag = "3")]
    pub(super) gid: u32,
    #[prost(sint64, tag = "4")]
    pub(super) seconds: i64,
    #[prost(uint32, tag = "5")]
    pub(super) nanos: u32,
}

/// A directory that was made and not described yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    pub(super) identity: (u64, u64),
    pub(super) job: JobKey,
    pub(super) recorded: Option<Recorded>,
}

impl Recorded {
    pub(super) fn of(node: &Node) -> Self {
        let modified = node.modified.unwrap_or_default();
        Self {
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            seconds: modified.seconds,
            nanos: modified.nanos,
        }
    }

    /// As a node that has no more than this.
    pub(super) fn node(&self) -> Node {
        let (mode, uid, gid) = (self.mode, self.uid, self.gid);
        let modified = Some(outlast_proto::v1::FileTime {
            seconds: self.seconds,
            nanos: self.nanos,
        });
        Node {
            mode,
            uid,
            gid,
            modified,
            ..Node::default()
        }
    }
}

impl Line {
    pub(super) fn of_makes(path: Vec<u8>) -> Self {
        Self {
            makes: Some(path),
            ..Self::default()
        }
    }

    pub(super) fn of_made(path: Vec<u8>, made: &Made) -> Self {
        Self {
            made: Some(path),
            device: made.identity.0,
            inode: made.identity.1,
            recorded: made.recorded,
            ..Self::default()
        }
    }

    pub(super) fn of_opened(path: Vec<u8>, there: &Stat) -> Self {
        Self {
            opened: Some(path),
            device: there.st_dev,
            inode: there.st_ino,
            mode: there.st_mode & 0o7777,
            ..Self::default()
        }
    }
}

/// A file's first line, and one for each directory of the job that is not described.
pub(super) fn lines<'a>(
    job: JobKey,
    to: &'a [u8],
    made: &'a HashMap<Vec<u8>, Made>,
    makes: &'a HashMap<Vec<u8>, JobKey>,
) -> impl Iterator<Item = Line> + 'a {
    let first = Line {
        to: Some(to.to_vec()),
        ..Line::default()
    };
    let of_job = made.iter().filter(move |(_, made)| made.job == job);
    let begun = makes.iter().filter(move |(_, by)| **by == job);
    std::iter::once(first)
        .chain(begun.map(|(path, _)| Line::of_makes(path.clone())))
        .chain(of_job.map(|(path, made)| Line::of_made(path.clone(), made)))
}

pub(super) fn encoded(lines: impl Iterator<Item = Line>) -> Vec<u8> {
    lines
        .flat_map(|line| line.encode_length_delimited_to_vec())
        .collect()
}

/// Whether a directory is as restores make them, before they describe them.
pub(super) fn is_as_made(there: &Stat) -> bool {
    FileType::from_raw_mode(there.st_mode) == FileType::Directory
        && there.st_mode & 0o777 == 0o700
        && there.st_uid == rustix::process::geteuid().as_raw()
}

/// Which inode `name` in `folder` is.
pub(super) fn identity(folder: &OwnedFd, name: &[u8]) -> Result<(u64, u64), Errno> {
    statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| (stat.st_dev, stat.st_ino))
}
