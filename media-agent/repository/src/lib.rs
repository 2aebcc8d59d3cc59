//! Reads and writes repositories in the restic format, version 2, so that plain restic can check and restore
//! everything: packs, index, trees, snapshots, locks. Synchronous; callers bring their own threads.
//!
//! Not here: what to back up, when, and for whom (the media agent), networks, and maintenance (check, forget, prune).
//!
//! Invariant: order on the way to disk is pack, index, snapshot; each is durable before the next refers to it.
//! Invariant: no file is changed after it was published under its name.

mod compress;
mod crypto;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod id;
mod index;
mod lock;
mod object;
mod pack;
mod password;
mod repository;
mod snapshot;
mod storage;
mod time;
mod tree;
mod writer;

pub use compress::{MAX_BLOB, MAX_CHUNK, verify_compressed};
pub use error::{Damage, ObjectKind, REPAIR_INDEX, RepositoryError, Result};
pub use id::{BlobId, BlobKind, IndexId, InvalidId, LockId, PackId, SnapshotId, sha256_of_ids};
pub use index::{Flawed, IndexLoad};
pub use lock::{LockGuard, LockHolder, LockInfo, LockOptions};
pub use outlast_direct_io::AlignedBuffer;
pub use pack::PackedBlob;
pub use password::Password;
pub use repository::{BlobReader, Hold, IndexLook, InitOptions, Repository, SnapshotList, TreesReader};
pub use snapshot::{Snapshot, SnapshotSummary};
pub use storage::{CONFIG_NAME, FileKind, Found, LocalStorage, Place, Recognise, Storage};
pub use time::{InvalidTime, Timestamp};
pub use tree::{
    ExtendedAttribute, Node, NodeKind, Tree, TreeEncoder, TreeReader, TreeRoom, go_mode_from_st_mode,
    st_mode_from_go_mode,
};
pub use writer::{Added, Anew, Flushed, Writer, WriterOptions};
