//! The session with the leader: journal events and presence go up, orders and questions come down.
//!
//! `serve` is one session from welcome to end, `delivery` the journal's way up, `orders` what comes down, `list_files`
//! the one question there is. The kit opens sessions; attempts run without one.

mod delivery;
mod list_files;
mod orders;
mod serve;

pub(crate) use serve::SessionServer;
