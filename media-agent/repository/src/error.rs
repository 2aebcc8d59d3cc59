//! The one error type of this crate, with a sentence for the administrator in every variant.
//! No recovery decisions here: callers match on the variant. Used by every file of the crate and by its callers.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::id::{BlobId, BlobKind, SnapshotId};
use crate::lock::LockHolder;
use crate::storage::{FileKind, Found};

/// How people make the index anew by hand.
pub const REPAIR_INDEX: &str = "`restic repair index` (`restic rebuild-index` before restic 0.16)";

/// Result of every fallible call of this crate.
pub type Result<T, E = RepositoryError> = std::result::Result<T, E>;

/// Why an operation on a repository failed. Cheap to clone: a poisoned writer hands the same error to every caller.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    #[error("{location} is not a repository: {found}")]
    NotARepository { location: String, found: Found },
    #[error("{location} does not hold repository {} any more: {found}. Nothing was written to what is there",
        expected.get(..8).unwrap_or(expected))]
    Replaced {
        location: String,
        /// Its id.
        expected: String,
        found: Found,
    },
    #[error("{location} holds a repository already; open it instead of initialising it")]
    AlreadyExists { location: String },
    #[error(
        "{location} cannot become a repository because it already contains {entry:?}; choose an empty directory"
    )]
    ForeignContent { location: String, entry: String },
    #[error(
        "the password does not open the repository in {location}; check the password of this storage unit"
    )]
    WrongPassword { location: String },
    #[error(
        "the repository in {location} has format version {version}, this program knows version 2; \
         update this program"
    )]
    NewerVersion { location: String, version: u64 },
    #[error(
        "the repository in {location} has format version {version}, this program needs version 2; \
         upgrade it with `restic migrate upgrade_repo_v2`"
    )]
    OlderVersion { location: String, version: u64 },
    #[error("{kind} {name} in {location} is damaged: {damage}; {}", kind.advice())]
    Damaged {
        kind: ObjectKind,
        name: String,
        location: String,
        damage: Damage,
    },
    #[error("{kind} {name} does not exist in {location}; it was removed or never written there")]
    NotFound {
        kind: FileKind,
        name: String,
        location: String,
    },
    #[error(
        "{kind} {id} is in no index of {location}: an index file or a pack is lost or damaged; the next backup there, or {repair}, \
         makes the index anew from the packs that are left, and `restic check` names what is lost for good",
        repair = REPAIR_INDEX
    )]
    MissingBlob {
        kind: BlobKind,
        id: BlobId,
        location: String,
    },
    #[error("no snapshot in {location} has an id that begins with {prefix:?}; list the snapshots")]
    NoSuchSnapshot { location: String, prefix: String },
    #[error(
        "snapshot {id} is not in {location} any more, and more than one was made from it: {}; restore the right one of them with restic",
        by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    SeveralSuccessors {
        location: String,
        id: SnapshotId,
        by: Vec<SnapshotId>,
    },
    #[error("more than one snapshot in {location} has an id that begins with {prefix:?}; give more digits")]
    AmbiguousSnapshot { location: String, prefix: String },
    #[error("the storage is full, {path} could not be written ({source}); free space or raise the quota")]
    StorageFull { path: String, source: Arc<io::Error> },
    #[error("no permission for {path} ({source}); give it to the user the media agent runs as")]
    PermissionDenied { path: String, source: Arc<io::Error> },
    #[error(
        "{path} cannot be written, its file system is read-only ({source}); the system log says why if nobody mounted it so; \
         mount it writable again. What is stored there can be restored meanwhile"
    )]
    ReadOnly { path: String, source: Arc<io::Error> },
    #[error("{path} does not answer ({source}); check the mount, the file server and the network to it")]
    Away { path: String, source: Arc<io::Error> },
    #[error("{path} could not be accessed: {source}; check the disk, the mount and the system log")]
    Io { path: String, source: Arc<io::Error> },
    #[error(
        "{location} is locked: there is {by}; wait for it to end, or if that process is gone remove the lock with `restic unlock --remove-all`"
    )]
    Locked { location: String, by: Arc<LockHolder> },
    #[error(
        "the lock of {hostname} on {location} is gone or was not refreshed in time, so another process \
         may have changed the repository; start again"
    )]
    LockLost { location: String, hostname: String },
    #[error("{kind} {id} was refused: {damage}; whoever sent it is faulty")]
    Refused {
        kind: BlobKind,
        id: BlobId,
        damage: Damage,
    },
    #[error("a thread that writes to {location} ended unexpectedly; start again and report the log")]
    WriterDied { location: String },
    #[error("the operating system gave no random numbers ({reason}); check the kernel log")]
    NoRandomness { reason: String },
    #[error("the compressor failed on {length} bytes ({reason}); check the free memory of this host")]
    Compression { length: usize, reason: String },
}

/// What kind of object is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    File(FileKind),
    Blob(BlobKind),
}

/// In what way stored bytes are wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("its content does not match its name (SHA-256)")]
    HashMismatch,
    #[error("its signature is wrong")]
    NotAuthentic,
    #[error("it is too short ({length} bytes)")]
    TooShort { length: u64 },
    #[error("it is larger than the limit of {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("it does not decompress to the {expected} bytes it should have")]
    BadCompression { expected: u64 },
    #[error("its content cannot be understood ({reason})")]
    Malformed { reason: String },
    #[error("the file is missing")]
    Missing,
    #[error("the system cannot read it ({reason}) while it reads other files there; check the disk")]
    Unreadable { reason: String },
}

impl RepositoryError {
    /// Sorts an operating-system error by what an administrator has to do about it.
    pub fn from_io(path: &Path, source: io::Error) -> RepositoryError {
        use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let path = path.display().to_string();
        let (kind, is_away) = (source.kind(), is_away(&source));
        let source = Arc::new(source);
        match kind {
            StorageFull | QuotaExceeded => RepositoryError::StorageFull { path, source },
            ReadOnlyFilesystem => RepositoryError::ReadOnly { path, source },
            PermissionDenied => RepositoryError::PermissionDenied { path, source },
            _ if is_away => RepositoryError::Away { path, source },
            _ => RepositoryError::Io { path, source },
        }
    }

    /// Whether nothing is wrong but that this cannot be written there: what is there may be read.
    pub fn is_about_writing(&self) -> bool {
        matches!(
            self,
            RepositoryError::StorageFull { .. }
                | RepositoryError::ReadOnly { .. }
                | RepositoryError::PermissionDenied { .. }
        )
    }

    /// Whether the system said that it cannot read this: a bad sector, or all of a disk that fails.
    pub(crate) fn is_unreadable(&self) -> bool {
        use rustix::io::Errno;
        const UNREADABLE: [Errno; 4] = [Errno::IO, Errno::UCLEAN, Errno::BADMSG, Errno::NODATA];
        let RepositoryError::Io { source, .. } = self else {
            return false;
        };
        Errno::from_io_error(source).is_some_and(|errno| UNREADABLE.contains(&errno))
    }

    /// Whether a directory is not there that a file was to be written into.
    pub(crate) fn is_missing_directory(&self) -> bool {
        matches!(self, RepositoryError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the named object does not exist (it may have been removed between listing and reading).
    pub fn is_not_found(&self) -> bool {
        matches!(self, RepositoryError::NotFound { .. })
    }

    /// Whether the data is wrong or gone for good, rather than out of reach.
    pub fn is_loss(&self) -> bool {
        matches!(
            self,
            RepositoryError::Damaged { .. }
                | RepositoryError::MissingBlob { .. }
                | RepositoryError::NotFound { .. }
        )
    }

    pub(crate) fn damaged_file(
        location: &str,
        kind: FileKind,
        name: &str,
        damage: Damage,
    ) -> RepositoryError {
        RepositoryError::Damaged {
            kind: ObjectKind::File(kind),
            name: name.to_owned(),
            location: location.to_owned(),
            damage,
        }
    }

    pub(crate) fn damaged_blob(
        location: &str,
        kind: BlobKind,
        id: &BlobId,
        damage: Damage,
    ) -> RepositoryError {
        RepositoryError::Damaged {
            kind: ObjectKind::Blob(kind),
            name: id.to_string(),
            location: location.to_owned(),
            damage,
        }
    }
}

/// Whether an error says that a device or a file server is not there, rather than that something is wrong with it.
fn is_away(error: &io::Error) -> bool {
    use rustix::io::Errno;
    const AWAY: [Errno; 12] = [
        Errno::STALE,
        Errno::NODEV,
        Errno::NXIO,
        Errno::NOMEDIUM,
        Errno::NOTCONN,
        Errno::CONNREFUSED,
        Errno::CONNRESET,
        Errno::CONNABORTED,
        Errno::TIMEDOUT,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::SHUTDOWN,
    ];
    Errno::from_io_error(error).is_some_and(|errno| AWAY.contains(&errno))
}

impl Damage {
    pub(crate) fn malformed(reason: impl std::fmt::Display) -> Damage {
        Damage::Malformed {
            reason: reason.to_string(),
        }
    }
}

impl ObjectKind {
    fn advice(self) -> &'static str {
        match self {
            ObjectKind::File(FileKind::Config | FileKind::Key) => "bring this file back from a copy",
            ObjectKind::File(FileKind::Index) => {
                "it counts as absent, and the next backup makes its content anew from the packs; restic refuses to work until it is \
                 removed, or until `restic repair index` (`restic rebuild-index` before restic 0.16)"
            }
            ObjectKind::File(FileKind::Snapshot) => "this restore point is lost, remove the file",
            ObjectKind::File(FileKind::Damage) => {
                "remove the file; what it told is found again when it is read"
            }
            ObjectKind::File(FileKind::Lock) => "remove it if no process works on the repository",
            ObjectKind::File(FileKind::Pack) | ObjectKind::Blob(_) => {
                "it counts as absent from now on, and the next backup stores anew what it still finds at the source"
            }
        }
    }
}

impl std::fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ObjectKind::File(kind) => kind.fmt(f),
            ObjectKind::Blob(kind) => kind.fmt(f),
        }
    }
}
