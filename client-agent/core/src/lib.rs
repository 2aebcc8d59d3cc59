//! What a client agent decides, without what it does: no files, no network, no clock, no tasks.
//!
//! [`Client`] is the one machine: its book says which attempts may run on this host (F-04a), its list which ones this process runs.
//! [`Patience`] says how long an attempt looks for its media agent. Called by `outlast-client-agent`, which does what is decided here, and by
//! the simulation.

mod attempts;
mod book;
mod client;
mod patience;

pub use attempts::{Start, State};
pub use book::{Record, Refusal};
pub use client::{Client, Welcomed};
pub use patience::{GaveUp, Patience};
