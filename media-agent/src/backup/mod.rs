//! The engine of a backup: items one after the other over the stream (docs/protocol.md "Backup stream").
//!
//! Runs on a blocking thread of its own. `engine` does the steps that the core's `Backup` asks for; `item` is a walk through an item, `chunks` verifies and stores, `checkpoint` writes down how far it has come (`mark` is the format), `resume` finds where to go on, `commit` writes the snapshot, `adopt` takes over what is there already, `damage` tells of what is missing or damaged. How the attempt is
//! admitted and ended is `attempts`'.

pub(crate) mod adopt;
mod checkpoint;
mod chunks;
mod commit;
mod damage;
mod engine;
mod item;
mod mark;
mod resume;
mod silence;
mod trees;

pub(crate) use damage::DamageTold;
pub(crate) use engine::{BackupWork, Base, run};
pub(crate) use silence::Silences;
