//! One directory on its way to being a tree: entries come in order, some of them wait for their content. What stands
//! before the first that waits is written at once, so that only those behind it are in memory.
//!
//! Only bookkeeping; `builder` decides when it is whole.

use std::collections::VecDeque;

use outlast_proto::words::limits::MOST_WAITING;
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
    /// With what it counts of the memory.
    Whole(Box<Node>, usize),
    LeftOut,
}

/// What the trees of all directories that are in memory take of it.
const MOST_IN_TREES: usize = 80 << 20;

/// What the directories of an item take of the memory, each as far as it grows with its entries.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Entries that wait behind one whose content is on its way.
    waiting: usize,
    /// Of trees.
    written: usize,
}

/// An entry that is not in the tree of its directory, though nothing is wrong with it.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) name: Vec<u8>,
    pub(super) reason: &'static str,
}

const TOO_MANY_WAIT: &str = "it is left out: the media agent holds more than 64 MiB of files and their lists of chunks that wait for \
                             the content of a file before them";
const TREE_FULL: &str = "it is left out: the list of its directory has reached the 1 GiB that it may have, or together with those of the \
                         directories above it the 80 MiB that the media agent takes for them when compressed; spread it over more directories";

impl Directory {
    pub(super) fn new(
        node: Node,
        place: Option<Place>,
        parent: ParentCursor,
        tree: TreeEncoder,
        memory: &mut Memory,
    ) -> Self {
        memory.written += tree.memory();
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

    /// The entry at `place` is whole, or left out. What there is no room for is left out, too.
    pub(super) fn fill(
        &mut self,
        place: Place,
        node: Option<Node>,
        memory: &mut Memory,
    ) -> Result<Vec<Refused>, RepositoryError> {
        let mut refused = Vec::new();
        let index = place.slot - self.written;
        self.entries[index] = match node.map(|node| (node.memory(), node)) {
            None => Entry::LeftOut,
            Some((_, node)) if index == 0 => Entry::Whole(Box::new(node), 0),
            Some((cost, node)) if memory.waiting + cost > MOST_WAITING => {
                refused.push(Refused {
                    name: node.name,
                    reason: TOO_MANY_WAIT,
                });
                Entry::LeftOut
            }
            Some((cost, node)) => {
                memory.waiting += cost;
                Entry::Whole(Box::new(node), cost)
            }
        };
        memory.written -= self.tree.memory();
        while let Some(entry) = self.entries.pop_front_if(|entry| !matches!(entry, Entry::Waits)) {
            self.written += 1;
            let Entry::Whole(node, cost) = entry else { continue };
            memory.waiting -= cost;
            let room = MOST_IN_TREES.saturating_sub(memory.written);
            if !self.tree.try_push(&node, room)? {
                refused.push(Refused {
                    name: node.name,
                    reason: TREE_FULL,
                });
            }
        }
        memory.written += self.tree.memory();
        Ok(refused)
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
                Entry::Whole(node, _) => push_if_room(&mut tree, node)?,
                Entry::Waits => waiting(place).map_or(Ok(()), |node| push_if_room(&mut tree, &node))?,
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
        self.parent.close();
    }

    pub(super) fn is_whole(&self) -> bool {
        self.left && self.entries.is_empty()
    }

    pub(super) fn into_tree(self, memory: &mut Memory) -> (Node, Option<Place>, TreeEncoder) {
        memory.written -= self.tree.memory();
        (self.node, self.place, self.tree)
    }
}

/// In the tree of a checkpoint, what there is no room for is missing without a word: the directory's own tree will say so.
fn push_if_room(tree: &mut TreeEncoder, node: &Node) -> Result<(), RepositoryError> {
    tree.try_push(node, MOST_IN_TREES).map(drop)
}
