//! The storage unit: opened when it can be reached, locked while an attempt works on it.
//!
//! `unit` opens, `lock` locks, `survey` finds what attempts left, `fence` removes what superseded ones left. Everything
//! here blocks; callers bring threads. What goes into a snapshot is `backup`'s.

mod fence;
mod lock;
mod survey;
mod tags;
mod unit;

pub(crate) use fence::remove_snapshots;
pub(crate) use lock::AttemptLock;
pub(crate) use survey::{FinishedItem, finished_items};
pub(crate) use tags::{SnapshotOwner, SnapshotTags, owner_of};
pub(crate) use unit::{StorageUnit, keeps_agent_down};
