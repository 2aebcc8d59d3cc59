//! Sessions of agents with the leader: who is here, what they report, what they are owed.

mod admission;
mod agent_clock;
mod events;
mod marks;
mod questions;
mod registry;
mod serve;
mod service;
mod ticket;
mod turns;

pub use events::parse as parse_event;
pub(crate) use questions::Asked;
pub(crate) use registry::Registry;
pub(crate) use service::SessionService;
pub use ticket::issue as issue_ticket;
