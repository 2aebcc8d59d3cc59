//! Sessions of agents with the leader: who is here, what they report, what they are owed.

mod admission;
mod events;
mod registry;
mod serve;
mod service;
mod ticket;
mod turns;

pub(crate) use registry::Registry;
pub(crate) use service::SessionService;
