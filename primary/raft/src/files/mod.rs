//! The small files of the data directory: the lock, the identity, and how a file is replaced durably. Neither the log
//! nor the rows. Called by [`node`](crate::node) at start, and by [`log`](mod@crate::log) before a node's first promise.

mod durable;
mod identity;
mod lock;

pub(crate) use durable::replace;
pub(crate) use identity::{Identity, Stage};
pub(crate) use lock::DirLock;
