//! Applied state: the machine, its rows in sled, and snapshots of them. Whatever is here can be rebuilt from the log
//! and a snapshot, and is at start if need be (docs/adr/0007), which is why sled (no real fsync, panics on damage) may hold
//! it and the log may not.
//! [`node`](crate::node) opens it, openraft drives it, [`net`](crate::net) moves snapshots.

mod build;
mod check;
mod core;
mod frozen;
mod kept;
mod open;
mod rows;
mod snapshot;
mod store;
mod terms;

#[cfg(test)]
mod suite;

pub(crate) use check::Check;
pub(crate) use core::Core;
pub(crate) use kept::Kept;
pub(crate) use open::{OpenFault, open};
pub(crate) use rows::{Rows, RowsFault};
pub(crate) use snapshot::{Head, SnapshotFile};
pub(crate) use store::{StateStore, blocking};
