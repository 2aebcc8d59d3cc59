//! Builds the trees of one item from the client's walk, deciding on the way which files' content is wanted.
//!
//! `builder` follows the walk (`builder::content` takes what is offered, `builder::partial` is what a checkpoint keeps of it), `directory` keeps one directory until it is whole, `compare` looks beside the walk into
//! the parent snapshot and `beside` into the checkpoint before it, `nodes` translates entries, `path` is where the item lies. No network, no journal; the
//! repository is reached through [`Trees`] only. Driven by `backup::item`; tests drive it with trees in memory.

mod beside;
mod builder;
mod compare;
mod directory;
mod nodes;
mod path;

#[cfg(test)]
mod tests;

pub(crate) use beside::Carried;
pub(crate) use builder::{Built, Partial, TreeBuilder, UnderWay};
pub(crate) use compare::{Trust, find_in_parent};
pub(crate) use nodes::{check_name, is_meant, node_from_tree, show_bytes};
pub(crate) use path::ItemPath;

use outlast_repository::{BlobId, RepositoryError, TreeEncoder, TreeReader};

/// What the builder needs of a repository.
pub(crate) trait Trees {
    /// A tree of the parent snapshot.
    fn open(&self, id: &BlobId) -> Result<TreeReader, RepositoryError>;
    /// Whether a chunk is stored or being stored.
    fn has_chunk(&self, id: &BlobId) -> bool;
    /// A tree to be written entry by entry.
    fn new_tree(&self) -> TreeEncoder;
    /// Stores a finished directory.
    fn save(&self, tree: TreeEncoder) -> Result<BlobId, RepositoryError>;
}

/// The walk cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// The client broke the protocol.
    #[error("the client broke the protocol: {0}")]
    Violation(String),
    /// The repository failed.
    #[error(transparent)]
    Storage(#[from] RepositoryError),
}

pub(crate) fn violation<T>(text: impl Into<String>) -> Result<T, BuildError> {
    Err(BuildError::Violation(text.into()))
}
