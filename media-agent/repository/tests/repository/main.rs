//! The tests of the crate as its users see it, with restic as the judge. One binary, one module per concern.

#![allow(
    clippy::unwrap_used,
    reason = "clippy sees test functions but not what they call"
)]

mod closing;
mod concurrency;
mod crash;
mod damage;
mod distrust;
mod faults;
mod full_storage;
mod init;
mod known_snapshots;
mod long_trees;
mod place;
mod power;
mod read_restic;
mod reader;
mod restic_reads;
mod successors;
mod support;
mod unnamed;
