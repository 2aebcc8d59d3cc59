//! Sessions of agents with the leader: who is here, what they report, what they are owed.

mod admission;
mod key;
mod marks;
mod questions;
mod registry;
mod serve;
mod service;

pub(crate) use questions::Asked;
pub(crate) use registry::Registry;
pub(crate) use service::SessionService;
