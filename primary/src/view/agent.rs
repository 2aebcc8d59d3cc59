//! Agents and pools as messages.

use outlast_core::ClusterState;
use outlast_core::drain;
use outlast_core::rows::{Agent, Drained, Pool};
use outlast_core::thresholds::{InForce, Threshold};
use outlast_proto::v1;
use outlast_proto::words::{AgentAdmin, AgentName, AgentState, PoolName, Timestamp};

use crate::sessions::Registry;

/// An agent; `registry` is that of the leader, none when another node answers.
pub(crate) fn message(
    state: &ClusterState,
    registry: Option<&Registry>,
    (name, agent): (&AgentName, &Agent),
    now: Timestamp,
) -> v1::Agent {
    let media = agent.media.as_ref();
    let last_seen = registry.and_then(|registry| registry.last_seen(name));
    v1::Agent {
        name: name.to_string(),
        kind: agent.kind.to_wire(),
        state: match agent.admin {
            AgentAdmin::Disabled => AgentState::Disabled.to_wire(),
            _ => agent.state.to_wire(),
        },
        admin: agent.admin.to_wire(),
        since: Some(agent.since.into()),
        last_seen: last_seen.map(Into::into),
        version: agent.version.clone(),
        host_id: agent.host_id.clone(),
        pool: media.map(|media| media.pool.to_string()).unwrap_or_default(),
        active_jobs: u32::try_from(state.running_on(name).count()).unwrap_or(u32::MAX),
        connected: registry.map(|registry| registry.is_connected(name)),
        storage_unit: media
            .map(|media| media.storage_unit.to_string())
            .unwrap_or_default(),
        storage_state: media
            .and_then(|media| state.storage_unit(&media.storage_unit))
            .map(|unit| unit.state.to_wire())
            .unwrap_or_default(),
        storage_free_bytes: registry.and_then(|registry| registry.storage_of(name)?.free),
        leaving: match agent.admin {
            AgentAdmin::Draining => leaving(state, registry, name),
            AgentAdmin::Enabled | AgentAdmin::Disabled => Vec::new(),
        },
        turns_taken: registry
            .and_then(|registry| registry.turns_taken(name, now))
            .map(Into::into),
        failover_after: media.map(|_| threshold(state.threshold(Threshold::FailoverAfter, name))),
        stalled_after: Some(threshold(state.threshold(Threshold::StalledAfter, name))),
        no_communication_after: Some(threshold(state.threshold(Threshold::NoCommunicationAfter, name))),
    }
}

/// With the level that says it.
pub(crate) fn threshold(in_force: InForce) -> v1::Threshold {
    v1::Threshold {
        seconds: in_force.value.0,
        from: in_force.from.word().to_owned(),
    }
}

/// What becomes of the jobs that run on a media agent that is drained: as it was decided, or as the leader will decide it.
fn leaving(state: &ClusterState, registry: Option<&Registry>, name: &AgentName) -> Vec<v1::LeavingJob> {
    let presence = registry.map(Registry::presence);
    let jobs = state.running_on(name);
    let on_it = jobs.filter_map(|job| Some((job, state.running_of(job)?)));
    let decided = on_it.filter_map(|(job, open)| {
        let decided = open.drained.clone();
        let decided = decided.or_else(|| Some(drain::decide(state, presence.as_ref()?, job, open)))?;
        let why = match &decided {
            Drained::Moves => String::new(),
            Drained::Stays { why } => why.clone(),
        };
        (open.media_agent == *name).then(|| v1::LeavingJob {
            job: job.id.to_string(),
            moves: decided == Drained::Moves,
            why,
        })
    });
    decided.collect()
}

/// A pool.
pub(crate) fn pool(state: &ClusterState, name: &PoolName, pool: &Pool) -> v1::Pool {
    let [failover, stalled, lost] =
        Threshold::ALL.map(|which| threshold(state.threshold_of_pool(which, name)));
    v1::Pool {
        name: name.to_string(),
        media_agents: pool.media_agents.iter().map(ToString::to_string).collect(),
        method: pool.method.to_wire(),
        failover: pool.fails_over(),
        failover_after_seconds: failover.seconds,
        stalled_after_seconds: stalled.seconds,
        no_communication_after_seconds: lost.seconds,
        failover_after_from: failover.from,
        stalled_after_from: stalled.from,
        no_communication_after_from: lost.from,
    }
}
