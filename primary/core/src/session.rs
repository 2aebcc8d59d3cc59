//! What a leader decides in its session with an agent: whether the agent is known just so, whether its journal can go on, which
//! orders are still to be said, what is acknowledged; what its clock is off by, whose turn it is, what its
//! messages mean. Called by `primary/src/sessions` and by the simulation.

pub mod agent_clock;
pub mod events;
mod order_message;
pub mod ticket;
pub mod turns;
pub mod witness;

pub use order_message::order_message;

use std::collections::BTreeSet;

use outlast_proto::words::{AgentName, AttemptId, JobState};

use crate::entry::AgentHello;
use crate::orders::{Order, owed_to};
use crate::reply::{Refusal, Reply};
use crate::rows::{Agent, Job, JournalCursor};
use crate::state::ClusterState;

/// What an agent's hello may say that it speaks, each with all before. From here on: a fence may only end, and is acknowledged; a job's attempts
/// before are surveyed.
pub const ENDS_ONLY: u32 = 1;
/// A media agent goes on from the checkpoint of an earlier attempt.
pub const RESUMES: u32 = 2;
/// A media agent whose attempt loses its client says so, and leaves it to the primary what follows.
pub const INTERRUPTED_CAUSES: u32 = 3;
/// A media agent makes a checkpoint at once and ends when it is told (C-08b).
pub const MOVES: u32 = 4;

/// Whether the state says of the agent what it says of itself: there is nothing to propose.
#[must_use]
pub fn is_registered(state: &ClusterState, hello: &AgentHello) -> bool {
    let same = |agent: &Agent| {
        let media = match (&agent.media, &hello.media) {
            (None, None) => true,
            (Some(known), Some(new)) => {
                let unit = state.storage_unit(&new.storage_unit);
                known.journal.id == new.journal_id
                    && known.pool == new.pool
                    && known.storage_unit == new.storage_unit
                    && known.data_addresses == new.data_addresses
                    && unit
                        .is_some_and(|u| new.repository_id.is_none() || u.repository_id == new.repository_id)
            }
            _ => false,
        };
        media
            && agent.kind == hello.kind
            && agent.start_id == hello.start_id
            && agent.version == hello.version
            && agent.host_id == hello.host_id
            && agent.fibre_transport == hello.fibre_transport
            && (agent.speaks == hello.speaks || !state.splits_jobs())
    };
    state.agent(&hello.name).is_some_and(same)
}

/// Whether a journal whose oldest event is `first` and whose newest is `last` lacks what was acknowledged, or what comes next: a
/// rolled-back or emptied disk.
#[must_use]
pub fn is_behind(cursor: &JournalCursor, first: u64, last: u64) -> bool {
    last < cursor.acknowledged || first > cursor.acknowledged + 1
}

/// The attempts of this agent that may still run.
pub fn open_attempts(state: &ClusterState, agent: &AgentName) -> impl Iterator<Item = AttemptId> {
    state.running_on(agent).filter_map(Job::running_id)
}

/// What a client's process is told again: attempts that are marked and that it does not know of, while their media agents wait for its
/// stream (`is_awaited`). It has lost their tickets with its disk. With them it shows itself to the media agents, which end what waits
/// for another process (F-09). While a stream is open there is another process, and this one may be a copy (C-09).
pub fn lost_by(
    state: &ClusterState,
    client: &AgentName,
    known: &BTreeSet<AttemptId>,
    is_awaited: impl Fn(AttemptId) -> bool,
) -> Vec<(AttemptId, Order)> {
    let lost = state.running_on(client).filter_map(|job| {
        let running = state
            .running_of(job)
            .filter(|running| running.marked && running.loss.is_none())?;
        let id = job.running_id()?;
        let is_lost = job.client == *client
            && job.state != JobState::Stopping
            && !known.contains(&id)
            && is_awaited(id);
        let order = Order::Admit {
            job: job.id,
            attempt: running.attempt,
            media_start: state.agent(&running.media_agent)?.start_id.clone(),
        };
        is_lost.then_some((id, order))
    });
    lost.collect()
}

/// The acknowledgement that follows from the reply to committed events. There is none before the commit.
///
/// # Errors
/// The refusal that ends the session; none, if the reply is to another command.
pub fn acknowledgement(reply: Reply) -> Result<u64, Option<Refusal>> {
    match reply {
        Reply::Recorded { acknowledged } => Ok(acknowledged),
        Reply::Refused(refusal) => Err(Some(refusal)),
        _ => Err(None),
    }
}

/// The orders said in one session; each is said once.
#[derive(Clone, Debug, Default)]
pub struct Said {
    orders: BTreeSet<Order>,
}

impl Said {
    /// What is owed now and was not said yet. What is not owed any more may come to be owed, and said, again.
    pub fn due(&mut self, state: &ClusterState, agent: &AgentName) -> Vec<Order> {
        let owed: BTreeSet<_> = owed_to(state, agent).into_iter().collect();
        self.orders.retain(|order| owed.contains(order));
        owed.into_iter()
            .filter(|order| !self.orders.contains(order))
            .collect()
    }

    /// This order was said.
    pub fn say(&mut self, order: Order) {
        self.orders.insert(order);
    }
}
