//! Applied state: the machine, its rows in sled, and snapshots of them. Whatever is here can be rebuilt from the log
//! and a snapshot, which is why sled (no real fsync, panics on damage) may hold it and the log may not.
//! [`node`](crate::node) opens it, openraft drives it, [`net`](crate::net) moves snapshots.

mod build;
mod check;
mod core;
mod frozen;
mod rows;
mod snapshot;
mod store;

#[cfg(test)]
mod suite;

pub(crate) use check::Check;
pub(crate) use core::Core;
pub(crate) use rows::{Rows, RowsFault};
pub(crate) use snapshot::{SnapshotDir, SnapshotFile};
pub(crate) use store::{StateStore, blocking};
