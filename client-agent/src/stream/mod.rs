//! The conversation with a media agent over one stream after another (F-10): breaks are not the business of backup and
//! restore.
//!
//! [`line`] numbers, keeps and repeats messages and connects again; [`link`] is one stream; [`protocol`] the two kinds of
//! streams. What the messages mean lives in `backup` and `restore`, which hold the other end of the [`Wire`].

mod line;
mod link;
mod protocol;

pub(crate) use line::{Line, Wire};
pub(crate) use protocol::{BackupProtocol, RestoreProtocol};
