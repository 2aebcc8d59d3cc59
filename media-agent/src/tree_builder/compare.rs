//! The parent snapshot beside the walk: the entry of the same name, and whether a file is still the same.
//!
//! Reads trees as the walk enters directories; decides nothing about content that is offered. Used by `builder`.

use std::cmp::Ordering;

use outlast_proto::words::limits::MOST_CHUNKS;
use outlast_repository::{BlobId, Node, NodeKind, RepositoryError, Timestamp, Tree, TreeReader};

use super::Trees;
use super::nodes::is_meant;
use super::path::ItemPath;

/// Which files of a parent may count as unchanged at all (S-14c).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// All: those that could yet change without a new ctime have one in it that no file has (`not_to_be_trusted`).
    Marked,
    /// Of a client that did not say when it read what: those that changed before this moment.
    Before(Timestamp),
}

impl Trust {
    fn covers(self, parent: &Node) -> bool {
        let Self::Before(moment) = self else { return true };
        // Where a file system has no ctime the time of modification is all there is.
        let has_none = parent.ctime == Timestamp::default();
        let changed = if has_none { parent.mtime } else { parent.ctime };
        changed < moment
    }
}

/// In place of the ctime of a file that was read too soon after it: the next backup finds another one, and reads the file again.
pub(super) fn not_to_be_trusted(ctime: Timestamp) -> Timestamp {
    match ctime.nanos.checked_sub(1) {
        Some(nanos) => Timestamp::new(ctime.secs, nanos),
        None => Timestamp::new(ctime.secs.saturating_sub(1), 999_999_999),
    }
}

/// The entries of the parent's directory, read in step with the walk: both are sorted. One that is folded holds none of them, and
/// reads them again when it is asked.
#[derive(Debug)]
pub(super) struct ParentCursor {
    subtree: Option<BlobId>,
    /// None while it is folded.
    nodes: Option<Entries>,
    /// The first entry that was not asked for.
    next: Option<Node>,
}

/// Entries up to the first that cannot be read.
#[derive(Debug)]
struct Entries(TreeReader);

impl Iterator for Entries {
    type Item = Node;

    fn next(&mut self) -> Option<Node> {
        match self.0.next()? {
            Ok(node) => Some(node),
            Err(error) => {
                tracing::warn!(%error, "a tree of the parent snapshot cannot be read further; its files are read again");
                None
            }
        }
    }
}

impl ParentCursor {
    /// Beside the directory that `parent` was.
    pub(super) fn enter(trees: &impl Trees, parent: Option<&Node>) -> Result<Self, RepositoryError> {
        let mut cursor = Self {
            subtree: parent.and_then(|node| node.subtree),
            nodes: None,
            next: None,
        };
        cursor.unfold(trees)?;
        Ok(cursor)
    }

    /// The parent's entry of that name; names come in rising order.
    pub(super) fn take(&mut self, trees: &impl Trees, name: &[u8]) -> Result<Option<Node>, RepositoryError> {
        let mut next = self.next.take();
        let nodes = self.unfold(trees)?;
        loop {
            let Some(node) = next.or_else(|| nodes.next()) else {
                return Ok(None);
            };
            match node.name.as_slice().cmp(name) {
                Ordering::Less => next = None,
                Ordering::Equal => return Ok(Some(node)),
                Ordering::Greater => {
                    self.next = Some(node);
                    return Ok(None);
                }
            }
        }
    }

    /// What it takes of the memory, about.
    pub(super) fn memory(&self) -> usize {
        let entries = self.nodes.as_ref().map_or(0, |nodes| nodes.0.memory());
        entries + self.next.as_ref().map_or(0, Node::memory)
    }

    /// Lets go of everything that can be read again.
    pub(super) fn fold(&mut self) {
        (self.nodes, self.next) = (None, None);
    }

    /// No further entry is asked for.
    pub(super) fn close(&mut self) {
        self.fold();
        self.subtree = None;
    }

    fn unfold(&mut self, trees: &impl Trees) -> Result<&mut Entries, RepositoryError> {
        if self.nodes.is_none() {
            self.nodes = Some(match &self.subtree {
                Some(subtree) => open(|id| trees.open(id), subtree)?,
                None => Entries(Tree::default().into()),
            });
        }
        Ok(self.nodes.as_mut().expect("it was just set"))
    }
}

/// The content of the parent's file, if the file is the same and all of it is still stored.
pub(super) fn unchanged_content(
    trees: &impl Trees,
    trust: Trust,
    parent: Option<&Node>,
    now: &Node,
) -> Option<Vec<BlobId>> {
    let parent = parent?;
    let same = parent.kind == NodeKind::File
        && parent.size == now.size
        && parent.mtime == now.mtime
        && parent.ctime == now.ctime
        && parent.inode == now.inode
        && trust.covers(parent);
    let content = parent.content.as_ref().filter(|content| {
        same && content.len() <= MOST_CHUNKS && content.iter().all(|id| trees.has_chunk(id))
    });
    content.cloned()
}

/// What lies at `path` in the snapshot whose root tree is `root`. The root itself for `/`. `tree` opens trees.
pub(crate) fn find_in_parent(
    tree: impl Fn(&BlobId) -> Result<TreeReader, RepositoryError>,
    root: &BlobId,
    path: &ItemPath,
) -> Result<Option<Node>, RepositoryError> {
    let mut found = Node {
        kind: NodeKind::Dir,
        subtree: Some(*root),
        ..Node::default()
    };
    for part in path.parts() {
        let Some(subtree) = found.subtree else {
            return Ok(None);
        };
        let Some(next) = named(open(&tree, &subtree)?, part) else {
            return Ok(None);
        };
        found = next;
    }
    Ok(Some(found))
}

/// The entry of that name, or else the first that is shown so.
fn named(mut entries: Entries, name: &[u8]) -> Option<Node> {
    let mut shown = None;
    let same = entries.find(|node| {
        if shown.is_none() && node.name != name && is_meant(&node.name, name) {
            shown = Some(node.clone());
        }
        node.name == name
    });
    same.or(shown)
}

/// A damaged tree of an old snapshot is no reason not to back up: then everything in it counts as changed.
fn open(
    tree: impl Fn(&BlobId) -> Result<TreeReader, RepositoryError>,
    id: &BlobId,
) -> Result<Entries, RepositoryError> {
    match tree(id) {
        Err(error @ (RepositoryError::Damaged { .. } | RepositoryError::MissingBlob { .. })) => {
            tracing::warn!(%error, "a tree of the parent snapshot cannot be read; its files are read again");
            Ok(Entries(Tree::default().into()))
        }
        other => other.map(Entries),
    }
}
