//! The brain of the primary: replicated state and the decisions about it. Pure.
//!
//! [`ClusterState::apply`] turns committed entries into state; [`dispatch`] looks at state and proposes entries; [`orders`] says what
//! agents are owed, [`recovery`] when a job begins again, [`contact`] and [`clocks`] what is made of agents that say nothing and of members whose time is another,
//! [`durations`] which waiting times fit together. No I/O, no clock, no randomness: what varies, the entry carries. Called by `primary` and by simulations.

pub mod actions;
pub mod apply;
pub mod clocks;
pub mod contact;
pub mod dispatch;
pub mod drain;
pub mod durations;
mod eligibility;
pub mod entry;
pub mod event;
mod indexes;
pub mod invariants;
mod joined;
mod of_jobs;
pub mod orders;
pub mod recovery;
pub mod reply;
mod restore_points;
pub mod rows;
pub mod rules;
pub mod session;
pub mod state;
pub mod steward;
pub mod table;
pub mod thresholds;
pub mod touched;
pub mod units;
pub mod without_effect;

pub use apply::CLUSTER_VERSION;
pub use entry::{AgentHello, Command, Entry};
pub use event::{EventKind, JobError, JournalEvent};
pub use reply::{Refusal, Reply};
pub use state::ClusterState;
