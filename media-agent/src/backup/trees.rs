//! The repository as the tree builder sees it.
//!
//! One for builders, which store trees, one for readers. No decisions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use outlast_repository::{BlobId, BlobKind, Repository, RepositoryError, Tree, Writer};

use crate::tree_builder::Trees;

/// Reads from the repository, writes through the attempt's writer.
pub(super) struct WriterTrees<'a> {
    pub(super) repository: &'a Repository,
    pub(super) writer: &'a Writer,
    /// Bytes the trees take in the storage unit.
    pub(super) stored: Arc<AtomicU64>,
}

impl Trees for WriterTrees<'_> {
    fn load(&self, id: &BlobId) -> Result<Tree, RepositoryError> {
        self.repository.load_tree(id)
    }

    fn has_chunk(&self, id: &BlobId) -> bool {
        self.writer.contains(BlobKind::Data, id)
    }

    fn save(&self, tree: &Tree) -> Result<BlobId, RepositoryError> {
        let (id, added) = self.writer.add_tree(tree)?;
        self.stored.fetch_add(added.stored_bytes, Ordering::Relaxed);
        Ok(id)
    }
}

/// For walking through snapshots without an attempt.
pub(crate) struct ReadOnlyTrees<'a>(pub(crate) &'a Repository);

impl Trees for ReadOnlyTrees<'_> {
    fn load(&self, id: &BlobId) -> Result<Tree, RepositoryError> {
        self.0.load_tree(id)
    }

    fn has_chunk(&self, id: &BlobId) -> bool {
        self.0.contains(BlobKind::Data, id)
    }

    fn save(&self, tree: &Tree) -> Result<BlobId, RepositoryError> {
        let id = BlobId::of(&tree.encode());
        Err(RepositoryError::MissingBlob {
            kind: BlobKind::Tree,
            id,
            location: self.0.location().to_owned(),
        })
    }
}
