//! Collects the chunks that snapshots reach; a tree that several of them share is read once.
//!
//! Knows nothing of clients and caches. Called by `store`.

use std::collections::HashSet;

use outlast_repository::{BlobId, Repository, RepositoryError, TreesReader};

use super::set::{ChunkSet, Short, short};
use super::store::LoadError;

pub(super) struct Reach<'a> {
    trees: TreesReader,
    is_halted: &'a dyn Fn() -> bool,
    /// Trees that were read, with everything below them.
    seen: HashSet<Short>,
    /// Whether every tree so far could be read.
    is_whole: bool,
}

impl<'a> Reach<'a> {
    pub(super) fn new(repository: &Repository, is_halted: &'a dyn Fn() -> bool) -> Self {
        Self {
            trees: repository.trees(),
            is_halted,
            seen: HashSet::new(),
            is_whole: true,
        }
    }

    /// What the tree `root` reaches is in the set already.
    pub(super) fn take_as_read(&mut self, root: &BlobId) {
        self.seen.insert(short(root));
    }

    /// Adds what the tree `root` reaches; whether that was all of it. Damage costs the client time, no more: what is
    /// not found here is sent again.
    pub(super) fn add(&mut self, root: BlobId, set: &mut ChunkSet) -> Result<bool, LoadError> {
        let mut waiting = vec![root];
        while let Some(id) = waiting.pop() {
            if !self.seen.insert(short(&id)) {
                continue;
            }
            if (self.is_halted)() {
                return Err(LoadError::Halted);
            }
            let tree = match self.trees.stream(&id) {
                Ok(tree) => tree,
                Err(error @ (RepositoryError::Damaged { .. } | RepositoryError::MissingBlob { .. })) => {
                    tracing::warn!(%error, "a tree cannot be read; the chunks below it are sent again");
                    self.is_whole = false;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            for node in tree {
                match node {
                    Ok(node) => {
                        node.content.iter().flatten().for_each(|chunk| set.insert(chunk));
                        waiting.extend(node.subtree);
                    }
                    Err(error) => {
                        tracing::warn!(tree = %id, %error, "a tree cannot be read further; the chunks of the rest are sent again");
                        self.is_whole = false;
                    }
                }
            }
        }
        // Which later snapshots share an unreadable tree is not known, so none counts as whole from here on.
        Ok(self.is_whole)
    }
}
