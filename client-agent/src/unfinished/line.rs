//! The lines of a restore's file, and what a directory was or is to be.

use outlast_proto::v1::Node;
use outlast_proto::words::JobKey;
use prost::Message as _;
use rustix::fs::{FileType, Stat};

use crate::host::birth::{Identity, Sameness};

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
    /// When that was made whose number this is; none in files of before, and where the file system does not tell.
    #[prost(message, optional, tag = "11")]
    pub(super) born: Option<Born>,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct Born {
    #[prost(sint64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(uint32, tag = "2")]
    pub(super) nanos: u32,
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
    pub(super) identity: Identity,
    pub(super) job: JobKey,
    pub(super) recorded: Option<Recorded>,
}

/// A directory of somebody's that was opened for the time, and the mode it had.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opened {
    pub(super) identity: Identity,
    pub(super) mode: u32,
}

impl Made {
    /// Whether the directory that is there now is it. One number and nothing else is known: if it looks as it was made, or as it is to be.
    pub(super) fn is(&self, now: &Identity, there: &Stat) -> Option<bool> {
        match self.identity.compare(now) {
            Sameness::Same => Some(true),
            Sameness::OfOneNumber => {
                let is_as_recorded = |recorded: &Recorded| recorded.is_seen_in(there);
                Some(is_as_made(there) || self.recorded.as_ref().is_some_and(is_as_recorded))
            }
            Sameness::NotKnown => None,
            Sameness::Other => Some(false),
        }
    }
}

impl Opened {
    /// Whether the directory that is there now is it, with the mode that it was given for the time.
    pub(super) fn is(&self, now: &Identity, there: &Stat) -> bool {
        let is_open = there.st_mode & 0o777 == (self.mode | 0o700) & 0o777;
        is_open && matches!(self.identity.compare(now), Sameness::Same | Sameness::OfOneNumber)
    }
}

impl Recorded {
    /// Whether a directory has this already; no file system keeps times in more than 2 s.
    fn is_seen_in(&self, there: &Stat) -> bool {
        FileType::from_raw_mode(there.st_mode) == FileType::Directory
            && there.st_mode & 0o777 == self.mode & 0o777
            && there.st_mtime.abs_diff(self.seconds) <= 2
    }

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
            recorded: made.recorded,
            ..Self::of(&made.identity)
        }
    }

    pub(super) fn of_opened(path: Vec<u8>, opened: &Opened) -> Self {
        Self {
            opened: Some(path),
            mode: opened.mode,
            ..Self::of(&opened.identity)
        }
    }

    pub(super) fn identity(&self) -> Identity {
        Identity {
            device: self.device,
            inode: self.inode,
            born: self.born.map(|born| (born.seconds, born.nanos)),
        }
    }

    fn of(identity: &Identity) -> Self {
        Self {
            device: identity.device,
            inode: identity.inode,
            born: identity.born.map(|(seconds, nanos)| Born { seconds, nanos }),
            ..Self::default()
        }
    }
}

/// A file's first line, and one for each directory of its job that is not described.
pub(super) fn lines<'a>(
    to: &[u8],
    made: impl Iterator<Item = (&'a Vec<u8>, &'a Made)>,
    makes: impl Iterator<Item = &'a Vec<u8>>,
) -> impl Iterator<Item = Line> {
    let first = Line {
        to: Some(to.to_vec()),
        ..Line::default()
    };
    std::iter::once(first)
        .chain(makes.map(|path| Line::of_makes(path.clone())))
        .chain(made.map(|(path, made)| Line::of_made(path.clone(), made)))
}

pub(super) fn encoded(lines: impl Iterator<Item = Line>) -> Vec<u8> {
    lines
        .flat_map(|line| line.encode_length_delimited_to_vec())
        .collect()
}

/// Whether a directory is as restores make them, before they describe them.
pub(crate) fn is_as_made(there: &Stat) -> bool {
    FileType::from_raw_mode(there.st_mode) == FileType::Directory
        && there.st_mode & 0o777 == 0o700
        && there.st_uid == rustix::process::geteuid().as_raw()
}
