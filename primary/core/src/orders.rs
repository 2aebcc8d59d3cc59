//! What agents are owed, derived from the state on every connection and change (DESIGN 3). A lost or repeated order is harmless.

use outlast_proto::words::{AgentKind, AgentName, Attempt, JobId, JobNonce, JobState, StartId};

use crate::rows::{Fence, Job};
use crate::session::{ENDS_ONLY, MOVES};
use crate::state::ClusterState;

/// An order to an agent. The leader adds the signed ticket when it sends it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// To a client: take the attempt's ticket to disk and run it.
    Admit {
        /// Which job.
        job: JobId,
        /// Which attempt.
        attempt: Attempt,
        /// Of the media agent's process: a new one knows nothing of a stream to the old one, so this is a new order.
        media_start: StartId,
    },
    /// To a media agent: make ready for the attempt.
    Start {
        /// Which job.
        job: JobId,
        /// Which attempt.
        attempt: Attempt,
    },
    /// To a media agent: nothing of the job up to this attempt has a right any more (F-04).
    Fence {
        /// Which job.
        job: JobId,
        /// Its nonce.
        nonce: JobNonce,
        /// This attempt and lower ones.
        through: Attempt,
        /// What it left can be removed. Before, the next attempt may be about to take it over.
        is_settled: bool,
    },
    /// To a media agent: end the attempt, as canceled.
    Cancel {
        /// Which job.
        job: JobId,
        /// Which attempt.
        attempt: Attempt,
    },
    /// To a media agent: make a checkpoint and end, its job goes on elsewhere (C-08b).
    Leave {
        /// Which job.
        job: JobId,
        /// Which attempt.
        attempt: Attempt,
    },
}

/// Everything `agent` is owed now.
#[must_use]
pub fn owed_to(state: &ClusterState, agent: &AgentName) -> Vec<Order> {
    let Some(kind) = state.agent(agent).map(|row| row.kind) else {
        return Vec::new();
    };
    let running = state
        .running_on(agent)
        .filter_map(|job| order_for(state, job, kind));
    running.chain(fences(state, agent)).collect()
}

fn fences(state: &ClusterState, agent: &AgentName) -> impl Iterator<Item = Order> {
    let speaks = state.agent(agent).map_or(0, |row| row.speaks);
    let fences = state.fences_of(agent).map(|(job, fence)| Order::Fence {
        job,
        nonce: fence.nonce,
        through: fence.through,
        is_settled: !is_to_be_surveyed(state, job, fence),
    });
    // One that does not understand that something is only to be ended removes it, too.
    fences.filter(move |order| speaks >= ENDS_ONLY || matches!(order, Order::Fence { is_settled: true, .. }))
}

/// Whether the next attempt has yet to look what the fenced ones left.
fn is_to_be_surveyed(state: &ClusterState, job: JobId, fence: &Fence) -> bool {
    let is_same = state.job(job).is_some_and(|row| row.nonce == fence.nonce);
    is_same && state.open_of(job).any(|open| open.attempt <= fence.through)
}

fn order_for(state: &ClusterState, job: &Job, kind: AgentKind) -> Option<Order> {
    let running = state.running_of(job)?;
    let media_speaks = state.agent(&running.media_agent).map_or(0, |row| row.speaks);
    let is_leaving = running.moves() && media_speaks >= MOVES;
    let is_stopping = job.state == JobState::Stopping;
    let (job, attempt) = (job.id, running.attempt);
    match kind {
        // Its client learns it from its media agent.
        _ if is_stopping => (kind == AgentKind::MediaAgent).then_some(Order::Cancel { job, attempt }),
        // It is over there.
        _ if running.loss.is_some() => None,
        AgentKind::MediaAgent if is_leaving => Some(Order::Leave { job, attempt }),
        AgentKind::ClientAgent if is_leaving => None,
        // A marked attempt is running between client and media agent: neither needs to be told again.
        _ if running.marked => None,
        AgentKind::ClientAgent => Some(Order::Admit {
            job,
            attempt,
            media_start: state.agent(&running.media_agent)?.start_id.clone(),
        }),
        AgentKind::MediaAgent => running.client_admitted.then_some(Order::Start { job, attempt }),
    }
}
