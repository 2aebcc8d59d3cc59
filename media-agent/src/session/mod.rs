//! The session with the leader: journal events and presence go up, orders and questions come down.
//!
//! `serve` is one session from welcome to end, `delivery` the journal's way up, `orders` what comes down, `list_files` and
//! `repository`, `snapshots` and `check` the questions there are. The kit opens sessions; attempts run without one.

mod check;
mod delivery;
mod list_files;
mod orders;
mod repository;
mod serve;
mod snapshots;

pub(crate) use serve::SessionServer;
