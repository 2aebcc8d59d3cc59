//! An agent as `agent list` and `agent show` print it.

use jiff::Timestamp;
use outlast_proto::{v1, words};
use serde::Serialize;

use super::ThresholdDocument;
use crate::wire::{text, time, word};

/// The fields of CLI.md, "agent list", and what only the leader knows.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AgentDocument {
    pub(crate) name: String,
    pub(crate) kind: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) admin: Option<String>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) last_seen: Option<Timestamp>,
    pub(crate) version: Option<String>,
    pub(crate) host_id: Option<String>,
    pub(crate) pool: Option<String>,
    pub(crate) active_jobs: u32,
    pub(crate) connected: Option<bool>,
    pub(crate) storage_unit: Option<String>,
    /// Null: it stores nothing.
    pub(crate) storage: Option<StorageOfAgent>,
    pub(crate) turns_taken: Option<Timestamp>,
    /// In force for it; null: of a client agent, or a primary of before does not say it.
    pub(crate) failover_after: Option<ThresholdDocument>,
    pub(crate) stalled_after: Option<ThresholdDocument>,
    pub(crate) no_communication_after: Option<ThresholdDocument>,
    /// While it is drained: what becomes of the jobs there.
    pub(crate) leaving: Vec<LeavingDocument>,
}

/// What becomes of a job on a media agent that is drained.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LeavingDocument {
    pub(crate) job: String,
    pub(crate) moves: bool,
    pub(crate) why: Option<String>,
}

fn threshold(said: Option<&v1::Threshold>) -> Option<ThresholdDocument> {
    said.map(|said| ThresholdDocument::of(Some(said)))
}

/// Where a media agent stores.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StorageOfAgent {
    pub(crate) unit: String,
    pub(crate) state: Option<String>,
    pub(crate) free_bytes: Option<u64>,
}

impl From<&v1::Agent> for AgentDocument {
    fn from(agent: &v1::Agent) -> Self {
        Self {
            name: agent.name.clone(),
            kind: word::<words::AgentKind>(agent.kind),
            state: word::<words::AgentState>(agent.state),
            admin: word::<words::AgentAdmin>(agent.admin),
            since: time(agent.since.as_ref()),
            last_seen: time(agent.last_seen.as_ref()),
            version: text(&agent.version),
            host_id: text(&agent.host_id),
            pool: text(&agent.pool),
            active_jobs: agent.active_jobs,
            connected: agent.connected,
            storage_unit: text(&agent.storage_unit),
            storage: text(&agent.storage_unit).map(|unit| StorageOfAgent {
                unit,
                state: word::<words::UnitState>(agent.storage_state),
                free_bytes: agent.storage_free_bytes,
            }),
            turns_taken: time(agent.turns_taken.as_ref()),
            failover_after: threshold(agent.failover_after.as_ref()),
            stalled_after: threshold(agent.stalled_after.as_ref()),
            no_communication_after: threshold(agent.no_communication_after.as_ref()),
            leaving: agent.leaving.iter().map(LeavingDocument::from).collect(),
        }
    }
}

impl From<&v1::LeavingJob> for LeavingDocument {
    fn from(leaving: &v1::LeavingJob) -> Self {
        Self {
            job: leaving.job.clone(),
            moves: leaving.moves,
            why: text(&leaving.why),
        }
    }
}

/// What `agent remove` did.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RemovedDocument {
    pub(crate) name: String,
    pub(crate) removed: bool,
    /// That go on in another attempt.
    pub(crate) jobs: Vec<String>,
}
