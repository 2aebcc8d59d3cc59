//! The item as far as it has come, for a checkpoint: directories that are open end where the walk is, files that are being read
//! where their content is. The walk goes on as if nothing had been asked.

use std::collections::BTreeMap;

use outlast_repository::{BlobId, Node};

use super::{Root, TreeBuilder, WantedFile};
use crate::tree_builder::compare::not_to_be_trusted;
use crate::tree_builder::directory::Place;
use crate::tree_builder::{BuildError, Trees};

/// Paths of files that are under way, in bytes: many deep ones together would be more than all of the walk.
const MOST_PATHS: usize = 1 << 20;

/// What a checkpoint keeps of an item.
#[derive(Debug)]
pub(crate) struct Partial {
    /// The item's root. Its trees are stored, if not yet durable.
    pub(crate) root: Node,
    /// Files whose content is on its way, in the tree with the size that they have come to. Only the newest if there are very
    /// many: the others are all but read, and are read again.
    pub(crate) under_way: Vec<UnderWay>,
    /// Where the walk is, relative to the item.
    pub(crate) position: Vec<u8>,
}

/// A file of which the tree has only the beginning.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnderWay {
    /// Relative to the item.
    pub(crate) path: Vec<u8>,
    /// As the walk saw it.
    pub(crate) node: Node,
    /// Of its content in the tree.
    pub(crate) bytes: u64,
    /// It was not young when its reading began.
    pub(crate) is_settled: bool,
}

/// The content of a wanted file until now.
struct SoFar<'a> {
    chunks: &'a [BlobId],
    bytes: u64,
    is_settled: bool,
}

impl WantedFile {
    /// None: nothing yet. What a checkpoint has counts until the client says that it begins anew.
    fn so_far(&self) -> Option<SoFar<'_>> {
        let (chunks, bytes, is_settled) = match &self.beginning {
            Some(beginning) => (&beginning.chunks, beginning.bytes, true),
            None => (&self.chunks, self.bytes, self.is_settled),
        };
        (!chunks.is_empty()).then_some(SoFar {
            chunks,
            bytes,
            is_settled,
        })
    }
}

impl<T: Trees> TreeBuilder<T> {
    /// Stores the trees as they are now; nothing while there is no root yet, or once all of the item has come.
    ///
    /// Every chunk offered so far must be stored, or the tree refers to what may never come.
    pub(crate) fn partial(&mut self) -> Result<Option<Partial>, BuildError> {
        if !matches!(self.root, Root::UnderWay) {
            return Ok(None);
        }
        let under_way = self.files_under_way();
        let mut found: BTreeMap<Option<Place>, Node> = BTreeMap::new();
        for file in self.wanted.values() {
            let Some(so_far) = file.so_far() else { continue };
            let begun = Node {
                size: so_far.bytes,
                // Nobody has said yet that nothing changed while it was read, not even of one that is all there.
                ctime: not_to_be_trusted(file.node.ctime),
                content: Some(so_far.chunks.to_vec()),
                ..file.node.clone()
            };
            found.insert(file.place, begun);
        }
        // What is inside has a higher key than what it is in.
        let keys: Vec<_> = self.directories.keys().rev().copied().collect();
        for key in keys {
            let directory = self.directory(key)?;
            let tree = directory.tree_so_far(key, |place| found.remove(&Some(place)))?;
            let (mut node, place) = (directory.node.clone(), directory.place);
            node.subtree = Some(self.trees.save(tree)?);
            found.insert(place, node);
        }
        let partial = found.remove(&None).map(|root| Partial {
            root,
            under_way,
            position: self.position(),
        });
        Ok(partial)
    }

    /// Whether a checkpoint made now has all that the one has from which the walk goes on.
    pub(crate) fn has_passed_checkpoint(&self) -> bool {
        let Some(until) = self
            .checkpoint_position
            .as_ref()
            .filter(|_| !self.open.is_empty())
        else {
            return true;
        };
        let now = self.position();
        // The order of the walk is that of the names, part by part. A directory is where the walk is when it has left it, too; nothing is
        // when it has left the item.
        let [now, until] = [&now, until].map(|path| path.split(|byte| *byte == b'/').collect::<Vec<_>>());
        let is_inside = now.len() > until.len() && now.starts_with(&until);
        now >= until && !is_inside && until != [b""]
    }

    fn files_under_way(&self) -> Vec<UnderWay> {
        let mut room = MOST_PATHS;
        let mut newest_first = Vec::new();
        for file in self.wanted.values().rev() {
            let Some(begun) = file.so_far() else { continue };
            let path = self.path_of(file.place, &file.node.name);
            let Some(rest) = room.checked_sub(path.len()) else {
                break;
            };
            room = rest;
            newest_first.push(UnderWay {
                path,
                node: file.node.clone(),
                bytes: begun.bytes,
                is_settled: begun.is_settled,
            });
        }
        newest_first.reverse();
        newest_first
    }

    pub(super) fn path_of(&self, mut place: Option<Place>, name: &[u8]) -> Vec<u8> {
        let mut names = Vec::new();
        if place.is_some() {
            names.push(name);
        }
        while let Some(directory) = place.and_then(|place| self.directories.get(&place.directory)) {
            place = directory.place;
            if place.is_some() {
                names.push(&directory.node.name);
            }
        }
        names.reverse();
        names.join(&b'/')
    }

    fn position(&self) -> Vec<u8> {
        let open = self.open.iter().filter_map(|key| self.directories.get(key));
        let innermost = self.open.last().and_then(|key| self.directories.get(key));
        let mut names: Vec<&[u8]> = open
            .skip(1)
            .map(|directory| directory.node.name.as_slice())
            .collect();
        names.extend(innermost.map(|directory| directory.last_name()));
        names.join(&b'/')
    }
}
