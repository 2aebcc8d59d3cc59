//! What the blocking threads of an item tell the stream's owner.

use outlast_proto::v1::{Chunk, FileEnd, FileException, JobError};

use super::batch::Batch;
use super::slab::Plain;

/// SHA-256 of a plain chunk.
pub(super) type ChunkId = [u8; 32];

/// One thing that happened. All of them are bounded by the budgets that were taken for them.
pub(super) enum Event {
    /// The item has failed: its root, its file system, or the host.
    Failed(JobError),
    /// What the look at an item's root at its end has shown.
    Judged(Option<JobError>),
    /// Something about a path that is worth a line in the job's details.
    Remark(String, String),
    /// A further part of the walk.
    Walked(Batch),
    /// The walk is complete.
    WalkEnded {
        /// Files and directories that the patterns have left out; a directory counts as one.
        excluded: u64,
    },
    /// A long file is being read; said before its first chunk is hashed.
    Begun(Begun),
    /// A chunk was read, cut and hashed.
    Hashed(Hashed),
    /// A file was read to its end, or given up.
    FileRead(Box<FileRead>),
    /// Several at once.
    Several(Vec<Event>),
    /// Needed chunks are ready to be sent.
    Packed(Packed),
}

/// Where the reading of a long file begins.
pub(super) struct Begun {
    pub(super) node: u64,
    pub(super) offset: u64,
    /// It was not young then.
    pub(super) is_settled: bool,
}

/// The `index`th chunk that was read of file `node`.
pub(super) struct Hashed {
    pub(super) node: u64,
    pub(super) index: u32,
    pub(super) id: ChunkId,
    pub(super) data: Plain,
}

/// A file whose reading is over.
pub(super) struct FileRead {
    /// How many chunks it has; not all of them may be hashed yet.
    pub(super) chunks: u32,
    pub(super) end: FileEnd,
    pub(super) exception: Option<FileException>,
}

/// The chunks of one message.
pub(super) struct Packed {
    pub(super) chunks: Vec<Chunk>,
    /// Their plain length, as taken from the budget.
    pub(super) plain: usize,
}
