//! The media agent: receives backup data, writes it to a storage unit, and keeps the durable journal of what happened.
//!
//! The way of a backup through this house: the leader's order comes in through `session`, the client's stream through
//! `data`; both go to the manager in `attempts`, which starts one task per attempt. That task prepares the `storage` unit,
//! writes "marked" to the `journal` and lets the engine in `backup` or `restore` work; `tree_builder` makes trees of the
//! client's walk. What was journalled goes up through `session` and is acknowledged.
//!
//! Nothing here decides about jobs: that is the primary's. The repository format is `outlast-repository`'s.

mod attempts;
mod backup;
mod cluster;
mod config;
mod contact;
mod context;
mod data;
mod data_dir;
mod error;
mod fault;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod journal;
mod known_chunks;
mod password_file;
mod restore;
mod run;
mod session;
mod stamps;
mod storage;
mod tickets;
mod tree_builder;

pub use config::{Config, StorageConfig};
pub use context::Timing;
pub use error::RunError;
pub use run::{Agent, run, start, start_with};
