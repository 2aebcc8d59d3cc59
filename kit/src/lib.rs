//! What all daemons share: identity and TLS, time, tasks, shutdown, configuration, logs, the way to the leader.
//!
//! Nothing here knows what a job is. Used by `primary`, `media-agent`, `client-agent` and the binary.

pub mod authority;
pub mod calls;
pub mod clock;
pub mod config;
pub mod data_folder;
pub mod errors;
pub mod files;
pub mod host;
pub mod human;
pub mod identity;
pub mod leader;
pub mod listen;
pub mod local;
pub mod memory;
pub mod recollection;
pub mod resume;
pub mod session;
pub mod shutdown;
pub mod stream;
pub mod tasks;
pub mod telemetry;
pub mod tls;
