//! One directory on its way to being a tree: entries come in order, some of them wait for their content. What stands
//! before the first that waits is written at once, so that only those behind it are in memory.
//!
//! Only bookkeeping; `builder` decides when it is whole.

use std::collections::VecDeque;

use outlast_proto::words::limits::MOST_WAITING;
use outlast_repository::{Node, RepositoryError, TreeEncoder, TreeRoom};

use super::beside::Beside;

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
    pub(super) beside: Beside,
    tree: TreeEncoder,
    /// What is counted of its memory; asking the tree for a copy makes it take more.
    counted: usize,
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

/// Attributes of one entry beyond this have less room than names: a file is worth more than the attributes of its neighbours.
const MANY_ATTRIBUTES: usize = 1 << 10;

/// An entry that is not, or not whole, in the tree of its directory, though nothing is wrong with it.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) node: Node,
    pub(super) reason: &'static str,
    /// Without its attributes.
    pub(super) is_kept: bool,
}

const TOO_MANY_WAIT: &str = "it is left out: the media agent holds more than 64 MiB of files and their lists of chunks that wait for \
                             the content of a file before them";
const TREE_FULL: &str = "it is left out: the list of its directory has reached the 1 GiB that it may have, or together with those of the \
                         directories above it the 80 MiB that the media agent takes for them when compressed; spread it over more directories";
const ATTRIBUTES_FULL: &str = "its extended attributes are left out: with them the list of its directory would pass three quarters of the 1 GiB that \
                               it may have, or of the 80 MiB that the media agent takes for it and those of the directories above it when \
                               compressed; spread the files over more directories";

impl Directory {
    pub(super) fn new(
        node: Node,
        place: Option<Place>,
        beside: Beside,
        tree: TreeEncoder,
        memory: &mut Memory,
    ) -> Self {
        let mut directory = Self {
            node,
            place,
            beside,
            tree,
            counted: 0,
            last_name: Vec::new(),
            entries: VecDeque::new(),
            written: 0,
            left: false,
        };
        directory.count(memory);
        directory
    }

    /// Counts what its tree takes of the memory now.
    fn count(&mut self, memory: &mut Memory) {
        let now = self.tree.memory();
        memory.written = memory.written - self.counted + now;
        self.counted = now;
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
                    node,
                    reason: TOO_MANY_WAIT,
                    is_kept: false,
                });
                Entry::LeftOut
            }
            Some((cost, node)) => {
                memory.waiting += cost;
                Entry::Whole(Box::new(node), cost)
            }
        };
        let others = memory.written - self.counted;
        while let Some(entry) = self.entries.pop_front_if(|entry| !matches!(entry, Entry::Waits)) {
            self.written += 1;
            let Entry::Whole(node, cost) = entry else { continue };
            memory.waiting -= cost;
            let (is_kept, reason) = match push(&mut self.tree, &node, others)? {
                Pushed::Whole => continue,
                Pushed::WithoutAttributes => (true, ATTRIBUTES_FULL),
                Pushed::Not => (false, TREE_FULL),
            };
            refused.push(Refused {
                node: *node,
                reason,
                is_kept,
            });
        }
        self.count(memory);
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
            // What there is no room for is missing in a checkpoint without a word: the directory's own tree will say so.
            match entry {
                Entry::Whole(node, _) => {
                    push(&mut tree, node, 0)?;
                }
                Entry::Waits => {
                    if let Some(node) = waiting(place) {
                        push(&mut tree, &node, 0)?;
                    }
                }
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
        self.beside.close();
    }

    pub(super) fn is_whole(&self) -> bool {
        self.left && self.entries.is_empty()
    }

    pub(super) fn into_tree(self, memory: &mut Memory) -> (Node, Option<Place>, TreeEncoder) {
        memory.written -= self.counted;
        (self.node, self.place, self.tree)
    }
}

/// How much of an entry got into the tree.
enum Pushed {
    Whole,
    WithoutAttributes,
    Not,
}

/// Adds an entry as far as there is room; `others` is what other trees take of the memory.
fn push(tree: &mut TreeEncoder, node: &Node, others: usize) -> Result<Pushed, RepositoryError> {
    let all = TreeRoom::in_memory(MOST_IN_TREES.saturating_sub(others));
    let attributes = node.extended_attributes.iter();
    let attributes: usize = attributes.map(|one| one.name.len() + one.value.len()).sum();
    let room = if attributes > MANY_ATTRIBUTES {
        TreeRoom {
            text: all.text / 4 * 3,
            memory: all.memory.saturating_sub(MOST_IN_TREES / 4),
        }
    } else {
        all
    };
    if tree.try_push(node, room)? {
        return Ok(Pushed::Whole);
    }
    if attributes > 0 {
        let bare = Node {
            extended_attributes: Vec::new(),
            ..node.clone()
        };
        if tree.try_push(&bare, all)? {
            return Ok(Pushed::WithoutAttributes);
        }
    }
    Ok(Pushed::Not)
}
