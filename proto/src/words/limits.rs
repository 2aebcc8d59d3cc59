//! What a client agent may say and a media agent takes: the one table of limits between the two.
//!
//! The client makes an exception of what is beyond them, named with its path, before it says a word of it (S-14d); the media agent
//! checks what it gets. Here are numbers only. `docs/file-systems.md` tells them to people.

/// Directories below one another.
pub const MOST_LEVELS: usize = 4096;
/// Bytes of the path of a directory.
pub const MOST_PATH: usize = 32 << 10;
/// Bytes of a name. No file system of Linux allows more than 255; those of others may.
pub const MOST_NAME: usize = 4096;
/// Names that a directory lists, those among them that come again: twice what the list of one can ever hold. Some listings never end.
pub const MOST_LISTED: usize = 8 << 20;
/// Bytes of one file's extended attributes, names and values: as much as four of the longest values.
pub const MOST_XATTRS: usize = 256 << 10;
/// Bytes of the name of a user or a group.
pub const MOST_OWNER: usize = 256;
/// Plain bytes of a chunk.
pub const MOST_CHUNK: usize = 8 << 20;
/// Chunks of one file: their list is in the memory of a media agent, and in the tree of the file's directory.
pub const MOST_CHUNKS: usize = 2 << 20;
/// Bytes of one file: a longer one would have too many chunks, however it is cut.
pub const MOST_FILE: u64 = MOST_CHUNK as u64 * MOST_CHUNKS as u64;
/// Wanted files without their end; a client keeps to a quarter of it.
pub const MOST_WANTED: usize = 65_536;
/// Bytes of an exception's path and reason as they are kept.
pub const MOST_EXCEPTION_PATH: usize = 8192;
/// See [`MOST_EXCEPTION_PATH`].
pub const MOST_EXCEPTION_REASON: usize = 1024;

/// What a node costs in memory beside the bytes of its message, about.
pub const NODE_COST: usize = 400;
/// Bytes of an id in a list of chunks.
pub const ID_COST: usize = 32;
/// How far a client's walk runs ahead of the file whose content is due: the sum of what its nodes cost.
pub const CLIENT_RUNS_AHEAD: usize = 16 << 20;
/// What a media agent holds of nodes that wait for a file before them. More than any client runs ahead, or did before there was a limit.
pub const MOST_WAITING: usize = 64 << 20;
