//! One node of the primary: it replicates decisions, and while it leads, makes them.
//!
//! `brain` proposes and reads; `reconcilers` drives what looks at the state; `leader` has what only the leader does; `sessions` talks to agents; `api` to people and programs;
//! `view` shapes answers. Decisions themselves are in `primary/core`, replication in `primary/raft`. Called by the binary.

mod api;
mod brain;
mod config;
mod introduction;
mod leader;
mod live;
mod machine;
mod node;
mod reconcilers;
mod rejoin;
mod sessions;
mod timing;
mod view;
mod wakes;

pub use config::{Config, ConfigProblem, MemberConfig};
pub use node::{Nature, RunError, run, run_with};
