//! The durable journal: what happened to this agent's attempts, synced before anything is acted on or sent.
//!
//! [`Journal`] is the handle everybody uses; `worker` owns the files and gathers what waits into one sync; `store` is
//! the synchronous log made of segments; `format` the bytes on disk. What the records mean is the core's `Ledger`, what is left out when they become too
//! many its `Fold`.
//! Nothing here decides what happens to an attempt.

mod error;
mod format;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod handle;
mod segment;
mod store;
mod worker;

#[cfg(test)]
mod tests;

pub(crate) use error::JournalError;
pub(crate) use handle::Journal;

pub(crate) use outlast_media_core::{NewEvent, NewRecord, Standing};
