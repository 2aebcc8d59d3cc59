//! One conversation over one data stream after another (F-10): the same at both ends, for backup and restore.
//!
//! [`Protocol`] names the messages of the two kinds; [`Conversation`] keeps the rules, without streams and clock; [`Pump`] moves the
//! messages. Where a new stream comes from, who gives up and when, and what messages mean is for each end's own line
//! (`client-agent/src/stream`, `media-agent/src/attempts/line.rs`). What is numbered and kept is in [`crate::resume`].

mod conversation;
mod protocol;
mod pump;

pub use conversation::{Conversation, Terms};
pub use protocol::{
    BackupProtocol, Body, DownBody, First, Frame, FromClient, FromMediaAgent, Protocol, RestoreProtocol,
    UpBody,
};
pub use pump::{Event, Link, Pump, User};
