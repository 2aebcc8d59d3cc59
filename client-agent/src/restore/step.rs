//! What is done last for a node. Data only: `tree` and `queue` make steps in the order of the walk, `settle` takes them.

use std::sync::Arc;

use outlast_proto::v1::{FileTime, Node};

use rustix::fs::Stat;

use super::content::Writing;

/// One node's last step.
pub(super) enum Step {
    /// Complete under its temporary name.
    File {
        folder: Arc<[u8]>,
        node: Node,
        writing: Writing,
    },
    /// To be made: it has no content.
    Create { folder: Arc<[u8]>, node: Node },
    /// Another name of a node that came earlier.
    Link { folder: Arc<[u8]>, node: Node },
    /// What is at its place stays, and is equal; in what it is none of its other names all the same.
    Keep {
        folder: Arc<[u8]>,
        node: Node,
        there: Stat,
        apart: Option<&'static str>,
    },
    /// A directory is left.
    Leave(Leave),
}

/// A directory that was entered, and what becomes of it when it is left.
pub(super) struct Leave {
    pub(super) path: Arc<[u8]>,
    pub(super) node: Box<Node>,
    pub(super) care: Care,
}

/// Whose a directory is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Care {
    /// It gets the restored metadata.
    pub(super) is_described: bool,
    /// This job made it: it is described on every way out.
    pub(super) is_made: bool,
    /// The mode that it had before it was opened for the time.
    pub(super) mode_before: Option<u32>,
    /// The time of modification that it had, which is the one it is to have: what is made in it changes it.
    pub(super) time_before: Option<FileTime>,
}

impl Care {
    /// Whether there is anything to be done when the directory is left.
    pub(super) fn is_needed(&self) -> bool {
        self.is_described || self.mode_before.is_some() || self.time_before.is_some()
    }
}
