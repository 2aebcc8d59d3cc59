//! The conversation with a media agent over one stream after another (F-10): breaks are not the business of backup and
//! restore.
//!
//! The kit's pump moves the messages; [`line`] is its client's end and says what becomes of a break; [`dialer`] finds the next stream and gives up;
//! [`opening`] is one stream up to its first word. What the messages mean lives in `backup` and `restore`, which hold the user's end.

mod dialer;
mod line;
mod opening;

pub(crate) use line::{Line, Wire};
