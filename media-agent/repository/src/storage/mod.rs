//! Where a repository's files are: a small interface, so that the same code works on directories and object stores.
//! Nothing here knows what the files contain. Called by `repository`, `writer`, `lock`.

mod atomic_file;
mod found;
mod local;
mod root;

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use found::Found;
pub use local::LocalStorage;
use outlast_direct_io::AlignedBuffer;

use crate::error::{RepositoryError, Result};

/// The kinds of files in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    Config,
    Key,
    Index,
    Snapshot,
    Lock,
    Pack,
    /// What was found damaged. Ours alone: restic looks at no other directories than its own.
    Damage,
}

/// The name of the one file of kind `Config`.
pub const CONFIG_NAME: &str = "config";

/// Keeps the files of one repository. Files are written once, whole, and never changed.
pub trait Storage: Send + Sync + fmt::Debug {
    /// Where it is, for messages.
    fn location(&self) -> &str;

    /// Makes the directories of an empty repository; refuses a place that holds anything else.
    fn create_layout(&self) -> Result<()>;

    /// Names and sizes of all files of a kind. Files being written are not among them. What is listed is durable when this returns,
    /// whoever wrote it, but for locks: so what relies on it may be promised.
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

    /// The folder of a pack that is not there, if that folder is on another file system than the rest: then what is missing may
    /// lie below it.
    fn mounted_over(&self, _pack: &str) -> Result<Option<PathBuf>> {
        Ok(None)
    }

    /// Removes a file. `RepositoryError::NotFound` if there is none of that name.
    fn remove(&self, kind: FileKind, name: &str) -> Result<()>;

    fn exists(&self, kind: FileKind, name: &str) -> Result<bool>;

    /// When a file was written. `RepositoryError::NotFound` if there is none of that name.
    fn modified(&self, kind: FileKind, name: &str) -> Result<SystemTime>;

    /// Removes what interrupted writes left behind, if it is older than `age`; gives the number of files.
    fn remove_stale_temporaries(&self, age: Duration) -> Result<usize>;

    /// What is there where no configuration is.
    fn found(&self) -> Result<Found>;

    /// From now on nothing is read or written unless `identity` recognises what is there; none: whatever is there is taken.
    fn bind(&self, identity: Option<Arc<dyn Recognise>>);

    /// Takes hold of what is there now, if it is what it should be: what is put in its place before [`Storage::release`] gets
    /// nothing of what is written. Calls are counted.
    fn hold(&self) -> Result<()>;

    /// Ends one [`Storage::hold`].
    fn release(&self);

    /// Whether the location still holds what was bound, and leads to what is held. The same repository mounted anew, or a copy, is
    /// good for the next [`Storage::hold`], but not for work that has written something already: that may not be in there.
    fn prove(&self) -> Result<()>;
}

/// A location as it is found, for whoever is to say whether it is the right one.
pub trait Place {
    /// As [`Storage::read`].
    fn read(&self, kind: FileKind, name: &str) -> Result<Vec<u8>>;

    /// As [`Storage::list`].
    fn list(&self, kind: FileKind) -> Result<Vec<(String, u64)>>;

    /// As [`Storage::found`].
    fn found(&self) -> Result<Found>;
}

/// Knows one repository from all others.
pub trait Recognise: Send + Sync + fmt::Debug {
    /// `RepositoryError::Replaced` if this is not it.
    fn recognise(&self, place: &dyn Place) -> Result<()>;

    /// The error that says what is there in its stead.
    fn replaced(&self, found: Found) -> RepositoryError;
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
            FileKind::Damage => "list of damage",
        })
    }
}
