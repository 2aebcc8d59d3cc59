//! Follows one item's walk in pre-order and emits its trees bottom-up.
//!
//! A directory is stored as soon as it was left and none of its files waits for content, and what stands before the first
//! that waits is written at once, so memory holds the files under way and what follows them, not whole directories. Every rule of the walk is checked here; see the module's head.

mod content;
mod partial;

use std::collections::{BTreeMap, HashMap, HashSet};

use outlast_proto::v1;
use outlast_proto::words::Counters;
use outlast_proto::words::limits::{MOST_LEVELS, MOST_WAITING, MOST_WANTED};
use outlast_repository::{BlobId, Node, NodeKind, RepositoryError};

use super::beside::{Before, Beginning, Beside, Carried, beginning};
use super::compare::Trust;
use super::directory::{Directory, DirectoryKey, Memory, Place, Refused};
use super::nodes::{check_name, directory_above, node_of_message, show_bytes};
use super::path::ItemPath;
use super::{BuildError, Trees, violation};

pub(crate) use partial::{Partial, UnderWay};

/// What the parent's directories beside the open ones take of the memory; those further out are read again when the walk returns.
const MOST_IN_PARENTS: usize = 32 << 20;

/// What became of an item's walk.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Built {
    /// The root tree of the snapshot.
    Tree(BlobId),
    /// The item is one file and it could not be read.
    Nothing,
}

/// A wanted file whose content is on its way.
#[derive(Debug)]
struct WantedFile {
    node: Node,
    place: Option<Place>,
    chunks: Vec<BlobId>,
    bytes: u64,
    /// What it counts of the memory, without its chunks.
    cost: usize,
    /// It has more chunks than a file may have.
    is_too_long: bool,
    /// Of its content, from the checkpoint, until its client says whether it goes on there.
    beginning: Option<Beginning>,
    /// It was not young when its reading began.
    is_settled: bool,
    /// Bytes that are the checkpoint's.
    carried: u64,
}

#[derive(Debug)]
enum Root {
    Awaited,
    /// Its walk or its content is not complete.
    UnderWay,
    Whole(Option<Box<Node>>),
}

pub(crate) struct TreeBuilder<T> {
    trees: T,
    path: ItemPath,
    /// What the item's root was.
    before: Before,
    /// How far the parent snapshot is trusted.
    trust: Trust,
    /// The same of the checkpoint, and files of which it is not; where its walk was.
    checkpoint: Option<(Trust, HashSet<String>)>,
    checkpoint_position: Option<Vec<u8>>,
    /// Files of which it has the beginning.
    begun: HashMap<Vec<u8>, UnderWay>,
    root: Root,
    next_number: u64,
    open: Vec<DirectoryKey>,
    directories: BTreeMap<DirectoryKey, Directory>,
    next_key: u64,
    wanted: BTreeMap<u64, WantedFile>,
    /// The file of the latest offer; earlier ones take none any more.
    offering: u64,
    ended_through: Option<u64>,
    /// Of files that are complete; `bytes_read` also of those under way.
    counters: Counters,
    /// Offered bytes of files under way.
    under_way: u64,
    memory: Memory,
    /// Of wanted files, without their chunks.
    wanted_cost: usize,
    /// Of the parent's directories; those of the first of the open ones are folded.
    in_parents: usize,
    folded: usize,
    /// What could not be kept, until somebody asks.
    exceptions: Vec<v1::FileException>,
}

impl<T: Trees> TreeBuilder<T> {
    /// A builder for the item at `path`; `parent` is what was there in the parent snapshot.
    pub(crate) fn new(trees: T, path: ItemPath, parent: Option<Node>) -> Self {
        Self {
            trees,
            path,
            before: Before {
                parent,
                ..Before::default()
            },
            trust: Trust::Marked,
            checkpoint: None,
            checkpoint_position: None,
            begun: HashMap::new(),
            root: Root::Awaited,
            next_number: 0,
            open: Vec::new(),
            directories: BTreeMap::new(),
            next_key: 0,
            wanted: BTreeMap::new(),
            offering: 0,
            ended_through: None,
            counters: Counters::default(),
            under_way: 0,
            memory: Memory::default(),
            wanted_cost: 0,
            in_parents: 0,
            folded: 0,
            exceptions: Vec::new(),
        }
    }

    /// The same, with a parent of which only some files may count as unchanged.
    pub(crate) fn trusting(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    /// The same, going on from a checkpoint. What it has counts before what the parent has.
    pub(crate) fn going_on(mut self, from: Carried) -> Self {
        let Carried {
            root,
            trust,
            again,
            position,
            begun,
        } = from;
        self.begun = begun;
        self.checkpoint_position = position;
        self.before.checkpoint = Some(root);
        self.checkpoint = Some((trust, again));
        self
    }

    /// What could not be kept since the last time.
    pub(crate) fn take_exceptions(&mut self) -> Vec<v1::FileException> {
        std::mem::take(&mut self.exceptions)
    }

    #[cfg(test)]
    pub(crate) fn directories_in_memory(&self) -> usize {
        self.directories.len()
    }

    #[cfg(test)]
    pub(crate) fn parents_in_memory(&self) -> usize {
        let beside = self
            .directories
            .values()
            .map(|directory| directory.beside.memory());
        assert_eq!(beside.sum::<usize>(), self.in_parents);
        self.in_parents
    }

    #[cfg(test)]
    pub(crate) fn entries_in_memory(&self) -> usize {
        self.directories.values().map(Directory::entries_in_memory).sum()
    }

    /// Files, directories, bytes and bytes read so far.
    pub(crate) fn counters(&self) -> Counters {
        Counters {
            bytes: self.counters.bytes + self.under_way,
            ..self.counters
        }
    }

    /// The number of the newest node.
    pub(crate) fn through(&self) -> u64 {
        self.next_number.saturating_sub(1)
    }

    /// Takes the next step of the walk; the number of a file whose content is wanted.
    pub(crate) fn entry(&mut self, entry: &v1::Entry) -> Result<Option<u64>, BuildError> {
        match &entry.kind {
            Some(v1::entry::Kind::Enter(node)) => self.enter(node).map(|()| None),
            Some(v1::entry::Kind::Leave(_)) => self.leave().map(|()| None),
            Some(v1::entry::Kind::Node(node)) => self.node(node),
            None => violation("an entry is empty"),
        }
    }

    fn enter(&mut self, message: &v1::Node) -> Result<(), BuildError> {
        let (node, place, before) = self.begin_node(message)?;
        if node.kind != NodeKind::Dir {
            return violation(format!("node {} is entered but no directory", message.number));
        }
        if self.open.len() >= MOST_LEVELS {
            return violation(format!("directories are nested more than {MOST_LEVELS} deep"));
        }
        let beside = Beside::enter(&self.trees, &before)?;
        self.in_parents += beside.memory();
        let key = DirectoryKey(self.next_key);
        self.next_key += 1;
        self.counters.directories += 1;
        let directory = Directory::new(node, place, beside, self.trees.new_tree(), &mut self.memory);
        self.directories.insert(key, directory);
        self.open.push(key);
        self.fold_parents();
        Ok(())
    }

    /// Lets go of what lies beside the outer directories, when it is much.
    fn fold_parents(&mut self) {
        while self.in_parents > MOST_IN_PARENTS && self.folded + 1 < self.open.len() {
            if let Some(directory) = self.directories.get_mut(&self.open[self.folded]) {
                self.in_parents -= directory.beside.memory();
                directory.beside.fold();
            }
            self.folded += 1;
        }
    }

    fn leave(&mut self) -> Result<(), BuildError> {
        let Some(key) = self.open.pop() else {
            return violation("a directory is left but none is open");
        };
        self.folded = self.folded.min(self.open.len());
        let directory = self.directory(key)?;
        let beside = directory.beside.memory();
        directory.leave();
        self.in_parents -= beside;
        self.settle(key)
    }

    fn node(&mut self, message: &v1::Node) -> Result<Option<u64>, BuildError> {
        let (mut node, place, before) = self.begin_node(message)?;
        match node.kind {
            NodeKind::Dir => return violation(format!("directory {} is not entered", message.number)),
            NodeKind::File if node.size > 0 => {
                let trust = (self.trust_in_checkpoint(place, &node.name), self.trust);
                match before.content(&self.trees, trust, &node) {
                    Some(known) => {
                        if known.is_carried {
                            self.counters.bytes_carried_over += node.size;
                        }
                        node.content = Some(known.content);
                    }
                    None => return self.want(message.number, (node, before.checkpoint), place),
                }
            }
            _ => {}
        }
        self.counters.files += 1;
        self.counters.bytes += node.size;
        self.put(place, Some(node))?;
        Ok(None)
    }

    /// None for a file with which something was wrong when the checkpoint was made.
    fn trust_in_checkpoint(&self, place: Option<Place>, name: &[u8]) -> Option<Trust> {
        let (trust, again) = self.checkpoint.as_ref()?;
        let is_trusted = again.is_empty() || !again.contains(&self.shown(place, name));
        is_trusted.then_some(*trust)
    }

    fn want(
        &mut self,
        number: u64,
        (node, stored): (Node, Option<Node>),
        place: Option<Place>,
    ) -> Result<Option<u64>, BuildError> {
        if self.wanted.len() >= MOST_WANTED {
            return violation(format!("more than {MOST_WANTED} wanted files are under way"));
        }
        let cost = node.memory();
        if self.wanted_cost + cost > MOST_WAITING {
            // No client does that who keeps to what it may run ahead; one of before there was that limit may have to.
            let reason = "it is left out: files that wait for their content take more than 64 MiB of the media agent's memory";
            self.left_out(place, &node.name, reason);
            self.put(place, None)?;
            return Ok(None);
        }
        self.wanted_cost += cost;
        let beginning = stored.and_then(|stored| self.beginning(place, stored, &node));
        let file = WantedFile {
            node,
            place,
            chunks: Vec::new(),
            bytes: 0,
            cost,
            is_too_long: false,
            beginning,
            is_settled: false,
            carried: 0,
        };
        self.wanted.insert(number, file);
        Ok(Some(number))
    }

    /// What the checkpoint has of a file that it has not all of.
    fn beginning(&self, place: Option<Place>, stored: Node, now: &Node) -> Option<Beginning> {
        if self.begun.is_empty() || self.trust_in_checkpoint(place, &now.name) != Some(Trust::Marked) {
            return None;
        }
        let begun = self.begun.get(&self.path_of(place, &now.name))?;
        beginning(&self.trees, stored, begun, now)
    }

    /// Where the client may go on in a wanted file; from then on it may. None: at its beginning.
    pub(crate) fn goes_on_at(&self, number: u64) -> Option<u64> {
        let file = self.wanted.get(&number)?;
        file.beginning.as_ref().map(|beginning| beginning.bytes)
    }

    /// Something is not in the restore point, and somebody is told why.
    fn left_out(&mut self, place: Option<Place>, name: &[u8], reason: &str) {
        self.exceptions.push(v1::FileException {
            path: self.shown(place, name),
            reason: reason.to_owned(),
        });
    }

    /// The absolute path of an entry, for a person.
    fn shown(&self, place: Option<Place>, name: &[u8]) -> String {
        let relative = self.path_of(place, name);
        let parts = self.path.parts().iter().map(Vec::as_slice);
        let below = (!relative.is_empty()).then_some(relative.as_slice());
        let parts: Vec<_> = parts.chain(below).collect();
        let mut path = show_bytes(&parts.join(&b'/'));
        path.insert(0, '/');
        path
    }

    /// What every node goes through: number, name, order, place, and what it was before.
    fn begin_node(&mut self, message: &v1::Node) -> Result<(Node, Option<Place>, Before), BuildError> {
        if message.number != self.next_number {
            return violation(format!(
                "node {} follows where {} was due",
                message.number, self.next_number
            ));
        }
        let node = node_of_message(message)?;
        let (place, before) = match self.open.last().copied() {
            Some(key) => {
                check_name(&node.name)?;
                let directory = (self.directories.get_mut(&key)).ok_or_else(no_directory)?;
                if !directory.in_order(&node.name) {
                    return violation(format!("node {} is not in the order of names", message.number));
                }
                let memory = directory.beside.memory();
                let before = directory.beside.take(&self.trees, &node.name)?;
                self.in_parents = self.in_parents - memory + directory.beside.memory();
                let place = directory.reserve(key, &node.name);
                self.folded = self.folded.min(self.open.len() - 1);
                self.fold_parents();
                (Some(place), before)
            }
            None => {
                self.begin_root(&node)?;
                (None, std::mem::take(&mut self.before))
            }
        };
        self.next_number += 1;
        Ok((node, place, before))
    }

    fn begin_root(&mut self, node: &Node) -> Result<(), BuildError> {
        if !matches!(self.root, Root::Awaited) {
            return violation("an entry follows after the item's root was left");
        }
        let fits = match self.path.name() {
            Some(name) => node.name == name,
            None => (node.name.is_empty() || node.name == b"/") && node.kind == NodeKind::Dir,
        };
        if !fits {
            return violation("the first entry is not the item's root");
        }
        self.root = Root::UnderWay;
        Ok(())
    }

    fn put(&mut self, place: Option<Place>, node: Option<Node>) -> Result<(), BuildError> {
        match place {
            None => {
                self.root = Root::Whole(node.map(Box::new));
                Ok(())
            }
            Some(place) => {
                self.fill(place, node)?;
                self.settle(place.directory)
            }
        }
    }

    /// Stores the directory if it is whole, and then perhaps those above it.
    fn settle(&mut self, mut key: DirectoryKey) -> Result<(), BuildError> {
        while self.directory(key)?.is_whole() {
            let Some(directory) = self.directories.remove(&key) else {
                break;
            };
            let (mut node, place, tree) = directory.into_tree(&mut self.memory);
            node.subtree = Some(self.trees.save(tree)?);
            match place {
                None => {
                    self.root = Root::Whole(Some(Box::new(node)));
                    break;
                }
                Some(place) => {
                    self.fill(place, Some(node))?;
                    key = place.directory;
                }
            }
        }
        Ok(())
    }

    /// An entry of a directory is whole, or left out.
    fn fill(&mut self, place: Place, node: Option<Node>) -> Result<(), BuildError> {
        let directory = (self.directories.get_mut(&place.directory)).ok_or_else(no_directory)?;
        for refused in directory.fill(place, node, &mut self.memory)? {
            let Refused {
                node,
                reason,
                is_kept,
            } = refused;
            self.left_out(Some(place), &node.name, reason);
            match node.kind {
                _ if is_kept => {}
                NodeKind::Dir => self.counters.directories -= 1,
                _ => {
                    self.counters.files -= 1;
                    self.counters.bytes -= node.size;
                }
            }
        }
        Ok(())
    }

    fn directory(&mut self, key: DirectoryKey) -> Result<&mut Directory, BuildError> {
        self.directories.get_mut(&key).ok_or_else(no_directory)
    }

    /// The walk is over: adds the directories above the item.
    pub(crate) fn finish(self) -> Result<Built, BuildError> {
        if let Some(number) = self.wanted.keys().next() {
            return violation(format!("the item ends but file {number} does not"));
        }
        let root = match self.root {
            Root::Whole(Some(root)) => *root,
            Root::Whole(None) => return Ok(Built::Nothing),
            Root::Awaited | Root::UnderWay => return violation("the item ends in the middle of its walk"),
        };
        if let (None, Some(subtree)) = (self.path.name(), root.subtree) {
            return Ok(Built::Tree(subtree));
        }
        let time = root.mtime;
        let mut top = root;
        for name in self.path.above().iter().rev() {
            let subtree = save_alone(&self.trees, &top)?;
            top = directory_above(name, subtree, time);
        }
        Ok(Built::Tree(save_alone(&self.trees, &top)?))
    }
}

fn no_directory() -> BuildError {
    BuildError::Violation("an entry belongs to no open directory".into())
}

/// A directory with one entry.
fn save_alone(trees: &impl Trees, node: &Node) -> Result<BlobId, RepositoryError> {
    let mut tree = trees.new_tree();
    tree.push(node)?;
    trees.save(tree)
}
