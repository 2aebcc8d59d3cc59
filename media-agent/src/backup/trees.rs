//! The repository as the tree builder sees it.
//!
//! No decisions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use outlast_repository::{BlobId, BlobKind, RepositoryError, TreeEncoder, TreeReader, TreesReader, Writer};

use crate::tree_builder::Trees;

/// Reads from the repository, writes through the attempt's writer.
pub(super) struct WriterTrees<'a> {
    /// Those of the parent snapshot.
    pub(super) reader: TreesReader,
    pub(super) writer: &'a Writer,
    /// Bytes the trees take in the storage unit.
    pub(super) stored: Arc<AtomicU64>,
}

impl Trees for WriterTrees<'_> {
    fn open(&self, id: &BlobId) -> Result<TreeReader, RepositoryError> {
        self.reader.stream(id)
    }

    fn has_chunk(&self, id: &BlobId) -> bool {
        self.writer.contains(BlobKind::Data, id)
    }

    fn new_tree(&self) -> TreeEncoder {
        self.writer.new_tree()
    }

    fn save(&self, tree: TreeEncoder) -> Result<BlobId, RepositoryError> {
        let (id, added) = self.writer.add_encoded_tree(tree)?;
        self.stored.fetch_add(added.stored_bytes, Ordering::Relaxed);
        Ok(id)
    }
}
