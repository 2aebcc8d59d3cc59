//! One directory on its way to being a tree: entries come in order, some of them wait for their content. What stands
//! before the first that waits is written at once, so that only those behind it are in memory.
//!
//! Only bookkeeping; `builder` decides when it is whole.

use std::collections::VecDeque;

use outlast_repository::{Node, RepositoryError, TreeEncoder};

use super::compare::ParentCursor;

/// Names a directory while it is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DirectoryKey(pub(super) u64);

/// Where a node goes when it is whole: an entry of a directory. The item's root has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) directory: DirectoryKey,
    slot: usize,
}

#[derive(Debug)]
pub(super) struct Directory {
    pub(super) node: Node,
    pub(super) place: Option<Place>,
    pub(super) parent: ParentCursor,
    tree: TreeEncoder,
    last_name: Vec<u8>,
    /// From the first that waits on.
    entries: VecDeque<Entry>,
    /// How many were taken off the front of `entries`.
    written: usize,
    left: bool,
}

#[derive(Debug)]
enum Entry {
    Waits,
    Whole(Box<Node>),
    LeftOut,
}

impl Directory {
    pub(super) fn new(node: Node, place: Option<Place>, parent: ParentCursor, tree: TreeEncoder) -> Self {
        Self {
            node,
            place,
            parent,
            tree,
            last_name: Vec::new(),
            entries: VecDeque::new(),
            written: 0,
            left: false,
        }
    }

    /// Whether an entry of this name may follow.
    pub(super) fn in_order(&self, name: &[u8]) -> bool {
        self.last_name.as_slice() < name
    }

    /// Of the newest entry; empty if there is none.
    pub(super) fn last_name(&self) -> &[u8] {
        &self.last_name
    }

    /// A place for the next entry.
    pub(super) fn reserve(&mut self, key: DirectoryKey, name: &[u8]) -> Place {
        name.clone_into(&mut self.last_name);
        self.entries.push_back(Entry::Waits);
        Place {
            directory: key,
            slot: self.written + self.entries.len() - 1,
        }
    }

    /// The entry at `place` is whole, or left out.
    pub(super) fn fill(&mut self, place: Place, node: Option<Node>) -> Result<(), RepositoryError> {
        self.entries[place.slot - self.written] =
            node.map_or(Entry::LeftOut, |node| Entry::Whole(Box::new(node)));
        while let Some(entry) = self.entries.pop_front_if(|entry| !matches!(entry, Entry::Waits)) {
            self.written += 1;
            if let Entry::Whole(node) = entry {
                self.tree.push(&node)?;
            }
        }
        Ok(())
    }

    /// The tree as it is now; `waiting` has what is to stand for an entry that waits, if anything.
    pub(super) fn tree_so_far(
        &mut self,
        key: DirectoryKey,
        mut waiting: impl FnMut(Place) -> Option<Node>,
    ) -> Result<TreeEncoder, RepositoryError> {
        let mut tree = self.tree.copy()?;
        for (slot, entry) in (self.written..).zip(&self.entries) {
            let place = Place { directory: key, slot };
            match entry {
                Entry::Whole(node) => tree.push(node)?,
                Entry::Waits => waiting(place).map_or(Ok(()), |node| tree.push(&node))?,
                Entry::LeftOut => {}
            }
        }
        Ok(tree)
    }

    #[cfg(test)]
    pub(super) fn entries_in_memory(&self) -> usize {
        self.entries.len()
    }

    /// No further entry comes.
    pub(super) fn leave(&mut self) {
        self.left = true;
    }

    pub(super) fn is_whole(&self) -> bool {
        self.left && self.entries.is_empty()
    }

    pub(super) fn into_tree(self) -> (Node, Option<Place>, TreeEncoder) {
        (self.node, self.place, self.tree)
    }
}
