//! A replicated log of opaque commands.
//!
//! The only crate that names `openraft`, `raft-log` and `sled`: nothing of theirs appears in its public API. What a
//! command means is not known here; the [`Machine`] handed to [`RaftNode::start`] knows. `outlast-primary` is the
//! only caller.
//!
//! The way of one command: [`RaftNode::propose`] → openraft → `log` on this node and, through
//! `net`, on a majority → `state`, which asks the machine, writes the changed rows to sled and only then answers.
//!
//! What is on disk in the data directory: `lock`, `identity` (`files`), `mark` and `log/` (`log`),
//! `state/` and `snapshot/` (`state`).

#[cfg(test)]
extern crate self as outlast_raft;

mod error;
mod files;
mod format;
mod log;
mod machine;
mod net;
mod node;
mod options;
mod peer;
mod state;
mod term;
mod types;

pub use error::{InitializeError, LossKind, MembershipError, ProposeError, StartError};
pub use machine::{Applied, Machine, MachineError};
pub use net::RaftService;
pub use node::{Exclusion, Leadership, Member, RaftNode, RaftStatus, Role, StopReason};
pub use options::{Connect, ConnectError, MAX_COMMAND, RaftOptions, Timing};
pub use peer::{NodeId, Peer};
