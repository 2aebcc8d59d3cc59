//! Where a walk goes: a backup sends what it finds, a dry run lists it. What is taken and what is not, the walk alone decides.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use outlast_patterns::Patterns;
use outlast_proto::v1::{FileException, Node, NodeType};

use super::budget::Stopping;
use super::root::Root;
use crate::host::node::Seen;

/// A regular file that has content or may have some, and where it is.
pub(super) struct Met<'a> {
    pub(super) node: Node,
    pub(super) folder: &'a OwnedFd,
    /// Its path, relative to the item's base.
    pub(super) folder_path: &'a Arc<[u8]>,
    pub(super) name: Vec<u8>,
    pub(super) seen: Seen,
}

/// Why something is not in a backup that nobody has to be told of: it is as it should be.
#[derive(Clone, Copy)]
pub(super) enum LeftOut<'a> {
    /// By one of these.
    Excluded(&'a Patterns),
    /// What is in the directory, which itself is kept.
    NoFiles,
}

/// Takes the walk of one item: each node, and what follows it, in order.
pub(super) trait Sink {
    /// The item was opened.
    fn begin(&mut self, _root: &Root) {}

    /// A directory whose entries follow.
    fn enter(&mut self, node: Node) -> Result<(), Stopping>;

    /// The end of the directory entered last.
    fn leave(&mut self) -> Result<(), Stopping>;

    /// Anything that has no content to be asked for.
    fn other(&mut self, node: Node) -> Result<(), Stopping>;

    /// A regular file that has content or may have some.
    fn file(&mut self, met: Met<'_>) -> Result<(), Stopping>;

    /// Something that cannot be backed up as it should.
    fn exception(&mut self, exception: FileException) -> Result<(), Stopping>;

    /// Something that is left out on purpose. Its path is relative to the item's base.
    fn left_out(&mut self, _relative: &[u8], _kind: NodeType, _why: LeftOut<'_>) -> Result<(), Stopping> {
        Ok(())
    }

    /// The walk is over.
    fn flush(&mut self) -> Result<(), Stopping>;
}
