//! What a client agent decides, without what it does: no files, no network, no clock, no tasks.
//!
//! [`Book`] says which attempts may run on this host (F-04a), [`Attempts`] which ones this process runs. Called by
//! `outlast-client-agent`, which does what is decided here, and by the simulation.

mod attempts;
mod book;

pub use attempts::{Attempts, Start, State};
pub use book::{Book, Record, Refusal};
