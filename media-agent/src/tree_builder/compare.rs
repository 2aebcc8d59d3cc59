//! The parent snapshot beside the walk: the entry of the same name, and whether a file is still the same.
//!
//! Reads trees as the walk enters directories; decides nothing about content that is offered. Used by `builder`.

use outlast_repository::{BlobId, Node, NodeKind, RepositoryError, Tree, TreeReader};

use super::Trees;
use super::nodes::is_meant;
use super::path::ItemPath;

/// The entries of the parent's directory, read in step with the walk: both are sorted.
#[derive(Debug)]
pub(super) struct ParentCursor {
    nodes: std::iter::Peekable<Entries>,
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
        let nodes = match parent.and_then(|node| node.subtree) {
            Some(subtree) => open(|id| trees.open(id), &subtree)?,
            None => Entries(Tree::default().into()),
        };
        Ok(Self {
            nodes: nodes.peekable(),
        })
    }

    /// The parent's entry of that name; names come in rising order.
    pub(super) fn take(&mut self, name: &[u8]) -> Option<Node> {
        while self.nodes.next_if(|node| node.name.as_slice() < name).is_some() {}
        self.nodes.next_if(|node| node.name.as_slice() == name)
    }
}

/// The content of the parent's file, if the file is the same and all of it is still stored.
pub(super) fn unchanged_content(trees: &impl Trees, parent: Option<Node>, now: &Node) -> Option<Vec<BlobId>> {
    let parent = parent?;
    let same = parent.kind == NodeKind::File
        && parent.size == now.size
        && parent.mtime == now.mtime
        && parent.ctime == now.ctime
        && parent.inode == now.inode;
    parent
        .content
        .filter(|content| same && content.iter().all(|id| trees.has_chunk(id)))
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
