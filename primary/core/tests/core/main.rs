//! Ring 1: the brain as tables. Names carry the SPEC id of the row they stand for.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod client_loss;
mod contact;
#[cfg(debug_assertions)]
mod dispatch_cost;
mod dispatching;
mod drain;
mod durations;
mod exceptions;
mod failover;
mod follow_up;
mod identity;
mod journals;
mod migration;
mod persistence;
mod precedence;
mod random_walk;
mod recovered;
mod removal;
mod resilience;
mod resume;
mod rules;
mod selection;
mod set_back;
mod statuses;
mod steward;
mod storage;
mod submissions;
mod supersede;
mod thresholds;
mod touched;
mod versions;
mod world;
