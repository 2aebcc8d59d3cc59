//! The storage unit: opened when it can be reached, locked while an attempt works on it.
//!
//! `unit` opens, `lock` locks, `mount` says where a folder lies, `survey` finds what attempts left, `committed` what others put in the place of a restore point, `watch` looks whether it is there, `fence` removes what superseded ones left, `steward` what ended attempts left, `sound` looks for what
//! trees miss, `chores` does later what could not be removed, `checkpoints` knows
//! what is only for attempts to come. Everything
//! here blocks; callers bring threads. What goes into a snapshot is `backup`'s.

mod checkpoints;
mod chores;
mod committed;
mod fence;
mod lock;
mod mount;
mod sound;
mod steward;
mod survey;
mod tags;
mod unit;
mod watch;

pub(crate) use checkpoints::{
    CHECKPOINT_TIME, LeftCheckpoint, checkpoint_host, checkpoint_tags, checkpoints_left, remove_checkpoints,
};
pub(crate) use chores::{Chore, keep_tidy};
pub(crate) use committed::{Content, Found, find, follow};
pub(crate) use fence::remove_snapshots;
pub(crate) use lock::AttemptLock;
pub(crate) use mount::Mount;
pub(crate) use sound::{Lack, Looked, SoundTrees, show_lacks};
pub(crate) use steward::{removable, written_by};
pub(crate) use survey::{FinishedItem, finished_items};
pub(crate) use tags::{
    SnapshotOwner, SnapshotTags, YOUNG_MARKED, are_young_marked, is_checkpoint, owner_of, tags_of,
};
pub(crate) use unit::{StorageUnit, keeps_agent_down};
pub(crate) use watch::watch;
