//! Which chunks a client may name instead of sending: those its own snapshots reach (DESIGN 4).
//!
//! A client that could name the hash of a foreign chunk and have it in its snapshot could restore it. So a chunk counts
//! as there only for the client whose snapshots reach it; what others have is sent and then found to be there.
//! `set` holds the ids, `reach` walks snapshots, `snapshots` knows whose each is, `cache` is the file that saves the
//! walk, `store` puts them together. Everything blocks. Used by `backup`, which adds what the client proves meanwhile.
//!
//! Memory, for each running backup: 16 bytes a chunk plus at most 10 for new ones; while it is loaded, merged or
//! written up to 40 for moments. For the agent: about 250 bytes a snapshot of the storage unit.

mod cache;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod own;
mod reach;
mod set;
mod snapshots;
mod store;

#[cfg(test)]
mod tests;

pub(crate) use own::OwnChunks;
pub(crate) use store::{KnownChunks, LoadError};
