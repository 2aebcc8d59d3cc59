//! What is done last for a node. Data only: `tree` and `queue` make steps in the order of the walk, `settle` takes them.

use std::sync::Arc;

use outlast_proto::v1::Node;

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
}
