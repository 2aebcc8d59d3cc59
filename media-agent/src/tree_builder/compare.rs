//! The parent snapshot beside the walk: the entry of the same name, and whether a file is still the same.
//!
//! Reads trees as the walk enters directories; decides nothing about content that is offered. Used by `builder`.

use outlast_repository::{BlobId, Node, NodeKind, RepositoryError, Tree};

use super::Trees;
use super::nodes::is_meant;
use super::path::ItemPath;

/// The entries of the parent's directory, passed over in step with the walk: both are sorted.
#[derive(Debug)]
pub(super) struct ParentCursor {
    nodes: std::iter::Peekable<std::vec::IntoIter<Node>>,
}

impl ParentCursor {
    /// Beside the directory that `parent` was.
    pub(super) fn enter(trees: &impl Trees, parent: Option<&Node>) -> Result<Self, RepositoryError> {
        let nodes = match parent.and_then(|node| node.subtree) {
            Some(subtree) => load(trees, &subtree)?.nodes,
            None => Vec::new(),
        };
        Ok(Self {
            nodes: nodes.into_iter().peekable(),
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

/// What lies at `path` in the snapshot whose root tree is `root`. The root itself for `/`.
pub(crate) fn find_in_parent(
    trees: &impl Trees,
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
        let mut nodes = load(trees, &subtree)?.nodes;
        let same = nodes.iter().position(|node| node.name == *part);
        let Some(at) = same.or_else(|| nodes.iter().position(|node| is_meant(&node.name, part))) else {
            return Ok(None);
        };
        found = nodes.swap_remove(at);
    }
    Ok(Some(found))
}

/// A damaged tree of an old snapshot is no reason not to back up: then everything in it counts as changed.
fn load(trees: &impl Trees, id: &BlobId) -> Result<Tree, RepositoryError> {
    match trees.load(id) {
        Err(error @ (RepositoryError::Damaged { .. } | RepositoryError::MissingBlob { .. })) => {
            tracing::warn!(%error, "a tree of the parent snapshot cannot be read; its files are read again");
            Ok(Tree::default())
        }
        other => other,
    }
}
