//! What stands beside the walk: the checkpoint that it goes on from, and the parent snapshot. The checkpoint is asked first.
//!
//! Says which content a file need not be read again for; how a file is known again is `compare`'s. Used by `builder` and `directory`.

use std::collections::{HashMap, HashSet};

use outlast_proto::words::limits::MOST_CHUNKS;
use outlast_repository::{BlobId, Node, NodeKind, RepositoryError};

use super::compare::{ParentCursor, Trust, unchanged_content};
use super::{Trees, UnderWay};

/// What a checkpoint has of the item.
#[derive(Debug)]
pub(crate) struct Carried {
    /// The item's root.
    pub(crate) root: Node,
    pub(crate) trust: Trust,
    /// Files that are read again whatever they look like, by their absolute paths as they are shown: something was wrong with them.
    pub(crate) again: HashSet<String>,
    /// Where its walk was, relative to the item, if it had read anything.
    pub(crate) position: Option<Vec<u8>>,
    /// Files of which it has the beginning, by their paths relative to the item; only settled ones.
    pub(crate) begun: HashMap<Vec<u8>, UnderWay>,
}

/// The beginning of a file.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) chunks: Vec<BlobId>,
    pub(super) bytes: u64,
}

/// The beginning of the file `now`, if `stored` in the tree of a checkpoint is that of the same file, as `begun` says what it was, and is still
/// there.
pub(super) fn beginning(trees: &impl Trees, stored: Node, begun: &UnderWay, now: &Node) -> Option<Beginning> {
    let stat = |node: &Node| (node.size, node.mtime, node.ctime, node.inode, node.device_id);
    let is_same = stored.kind == NodeKind::File
        && begun.is_settled
        && stat(&begun.node) == stat(now)
        && stored.size == begun.bytes
        && (1..now.size).contains(&begun.bytes);
    let chunks = stored.content.filter(|chunks| {
        is_same && chunks.len() < MOST_CHUNKS && chunks.iter().all(|id| trees.has_chunk(id))
    })?;
    Some(Beginning {
        chunks,
        bytes: begun.bytes,
    })
}

/// What an entry was before.
#[derive(Debug, Default)]
pub(super) struct Before {
    pub(super) checkpoint: Option<Node>,
    pub(super) parent: Option<Node>,
}

/// The content of a file that is not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) content: Vec<BlobId>,
    /// The attempt before has read it.
    pub(super) is_carried: bool,
}

impl Before {
    /// The content of the file `now`, if it is known. `checkpoint` is the trust in that; none: not in this file.
    pub(super) fn content(
        &self,
        trees: &impl Trees,
        (checkpoint, parent): (Option<Trust>, Trust),
        now: &Node,
    ) -> Option<Known> {
        let known = |is_carried| move |content| Known { content, is_carried };
        let carried =
            checkpoint.and_then(|trust| unchanged_content(trees, trust, self.checkpoint.as_ref(), now));
        carried
            .map(known(true))
            .or_else(|| unchanged_content(trees, parent, self.parent.as_ref(), now).map(known(false)))
    }
}

/// The entries of a directory in both, read in step with the walk.
#[derive(Debug)]
pub(super) struct Beside {
    checkpoint: ParentCursor,
    parent: ParentCursor,
}

impl Beside {
    pub(super) fn enter(trees: &impl Trees, before: &Before) -> Result<Self, RepositoryError> {
        Ok(Self {
            checkpoint: ParentCursor::enter(trees, before.checkpoint.as_ref())?,
            parent: ParentCursor::enter(trees, before.parent.as_ref())?,
        })
    }

    /// What the entry of that name was; names come in rising order.
    pub(super) fn take(&mut self, trees: &impl Trees, name: &[u8]) -> Result<Before, RepositoryError> {
        Ok(Before {
            checkpoint: self.checkpoint.take(trees, name)?,
            parent: self.parent.take(trees, name)?,
        })
    }

    /// What it takes of the memory, about.
    pub(super) fn memory(&self) -> usize {
        self.checkpoint.memory() + self.parent.memory()
    }

    /// Lets go of everything that can be read again.
    pub(super) fn fold(&mut self) {
        self.checkpoint.fold();
        self.parent.fold();
    }

    /// No further entry is asked for.
    pub(super) fn close(&mut self) {
        self.checkpoint.close();
        self.parent.close();
    }
}
