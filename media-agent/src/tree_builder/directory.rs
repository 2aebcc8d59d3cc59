//! One directory on its way to being a tree: its entries, in order, some of which wait for their content.
//!
//! Only bookkeeping; `builder` decides when it is whole.

use outlast_repository::{Node, Tree};

use super::compare::ParentCursor;

/// Names a directory while it is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DirectoryKey(pub(super) u64);

/// Where a node goes when it is whole: an entry of a directory. The item's root has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) directory: DirectoryKey,
    slot: usize,
}

#[derive(Debug)]
pub(super) struct Directory {
    pub(super) node: Node,
    pub(super) place: Option<Place>,
    pub(super) parent: ParentCursor,
    last_name: Vec<u8>,
    entries: Vec<Option<Node>>,
    /// Entries that are not whole yet.
    waiting: usize,
    left: bool,
}

impl Directory {
    pub(super) fn new(node: Node, place: Option<Place>, parent: ParentCursor) -> Self {
        Self {
            node,
            place,
            parent,
            last_name: Vec::new(),
            entries: Vec::new(),
            waiting: 0,
            left: false,
        }
    }

    /// Whether an entry of this name may follow.
    pub(super) fn in_order(&self, name: &[u8]) -> bool {
        self.last_name.as_slice() < name
    }

    /// A place for the next entry.
    pub(super) fn reserve(&mut self, key: DirectoryKey, name: &[u8]) -> Place {
        name.clone_into(&mut self.last_name);
        self.entries.push(None);
        self.waiting += 1;
        Place {
            directory: key,
            slot: self.entries.len() - 1,
        }
    }

    /// The entry at `place` is whole, or left out.
    pub(super) fn fill(&mut self, place: Place, node: Option<Node>) {
        self.entries[place.slot] = node;
        self.waiting -= 1;
    }

    pub(super) fn leave(&mut self) {
        self.left = true;
    }

    pub(super) fn is_whole(&self) -> bool {
        self.left && self.waiting == 0
    }

    pub(super) fn into_tree(self) -> (Node, Option<Place>, Tree) {
        let nodes = self.entries.into_iter().flatten().collect();
        (self.node, self.place, Tree { nodes })
    }
}
