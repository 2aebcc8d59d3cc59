//! Where a repository's files are: a small interface, so that the same code works on directories and object stores.
//! Nothing here knows what the files contain. Called by `repository`, `writer`, `lock`.

mod atomic_file;
mod local;

use std::fmt;
use std::ops::Range;
use std::time::Duration;

pub use local::LocalStorage;
use outlast_direct_io::AlignedBuffer;

use crate::error::Result;

/// The kinds of files in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    Config,
    Key,
    Index,
    Snapshot,
    Lock,
    Pack,
}

/// The name of the one file of kind `Config`.
pub const CONFIG_NAME: &str = "config";

/// Keeps the files of one repository. Files are written once, whole, and never changed.
pub trait Storage: Send + Sync + fmt::Debug {
    /// Where it is, for messages.
    fn location(&self) -> &str;

    /// Makes the directories of an empty repository; refuses a place that holds anything else.
    fn create_layout(&self) -> Result<()>;

    /// Names and sizes of all files of a kind. Files being written are not among them.
    fn list(&self, kind: FileKind) -> Result<Vec<(String, u64)>>;

    /// A whole file. `RepositoryError::NotFound` if there is none of that name.
    fn read(&self, kind: FileKind, name: &str) -> Result<Vec<u8>>;

    /// The length of a file. `RepositoryError::NotFound` if there is none of that name.
    fn size(&self, kind: FileKind, name: &str) -> Result<u64>;

    /// Exactly the bytes of `range`, read into `buffer`, which is made larger if needed; gives where in it they lie.
    fn read_range(
        &self,
        kind: FileKind,
        name: &str,
        range: Range<u64>,
        buffer: &mut AlignedBuffer,
    ) -> Result<Range<usize>>;

    /// Writes a file that appears whole or not at all, and is durable when this returns. An existing `Config` is
    /// never replaced (`RepositoryError::AlreadyExists`); the other names are checksums, so replacing changes nothing.
    fn write(&self, kind: FileKind, name: &str, data: &[u8]) -> Result<()>;

    /// Removes a file. `RepositoryError::NotFound` if there is none of that name.
    fn remove(&self, kind: FileKind, name: &str) -> Result<()>;

    fn exists(&self, kind: FileKind, name: &str) -> Result<bool>;

    /// Removes what interrupted writes left behind, if it is older than `age`; gives the number of files.
    fn remove_stale_temporaries(&self, age: Duration) -> Result<usize>;
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileKind::Config => "configuration file",
            FileKind::Key => "key file",
            FileKind::Index => "index file",
            FileKind::Snapshot => "snapshot file",
            FileKind::Lock => "lock file",
            FileKind::Pack => "pack file",
        })
    }
}
