//! The Raft log on disk: votes and entries, durable before they count. The `raft-log` crate keeps the files; this room
//! gives it the formats, tells a torn tail from damage, and speaks openraft's storage traits. Applied state does not
//! live here. [`node`](crate::node) opens it, openraft uses it.

mod durable;
mod flushed;
mod mark;
mod open;
mod reader;
mod record;
mod store;

pub(crate) use mark::Mark;
pub(crate) use open::{LogFault, open};
pub(crate) use store::LogStore;
