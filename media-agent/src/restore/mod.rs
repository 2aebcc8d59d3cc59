//! The engine of a restore: entries down, verdicts up, content down (docs/protocol.md "Restore stream").
//!
//! `walk` goes through the snapshot's trees, `content` reads ahead, `send` sends it, `engine` keeps both in step with the client. Runs on
//! a blocking thread. Where files go on the host is the client's business.

mod content;
mod engine;
mod repeats;
mod send;
mod walk;

pub(crate) use engine::{RestoreWork, run};
