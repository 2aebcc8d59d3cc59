//! The client agent: the process on a protected host that reads (backup) and writes (restore) the host's data.
//!
//! Here live the host's side of the session with the leader ([`agent`]), the durable tickets, and both directions of the
//! conversation with a media agent ([`backup`], [`restore`]), carried by one [`stream`] after another. What is stored, and what became of an attempt, is the media agent's business.
//! Called by the binary; tests call [`attempt`] with a connection of their own.

pub mod admission;
mod agent;
pub mod attempt;
mod attempts;
mod backup;
mod config;
mod connect;
mod dry_runs;
mod host;
mod lock;
mod places;
mod progress;
mod restore;
mod session;
mod stream;
mod threads;
mod tickets;
mod unfinished;

pub use agent::{RunError, run};
pub use config::{Config, ConfigError};
pub use progress::Progress;
