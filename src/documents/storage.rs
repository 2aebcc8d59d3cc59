//! A storage unit as `storage list` prints it.

use jiff::Timestamp;
use outlast_proto::{v1, words};
use serde::Serialize;

use crate::wire::{text, time, word};

#[derive(Clone, Debug, Serialize)]
pub(crate) struct StorageDocument {
    pub(crate) unit: String,
    pub(crate) state: Option<String>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) why: Option<String>,
    pub(crate) repository_id: Option<String>,
    pub(crate) media_agents: Vec<String>,
    pub(crate) free_bytes: Option<u64>,
    pub(crate) total_bytes: Option<u64>,
    pub(crate) restore_points: u64,
    /// Of these, whose snapshot is gone.
    pub(crate) lost: u64,
    pub(crate) problems: Vec<ProblemDocument>,
}

/// A media agent that is here and cannot use its unit.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ProblemDocument {
    pub(crate) media_agent: String,
    pub(crate) text: String,
}

impl From<&v1::StorageUnit> for StorageDocument {
    fn from(unit: &v1::StorageUnit) -> Self {
        let problems = unit.problems.iter().map(|problem| ProblemDocument {
            media_agent: problem.media_agent.clone(),
            text: problem.text.clone(),
        });
        Self {
            unit: unit.name.clone(),
            state: word::<words::UnitState>(unit.state),
            since: time(unit.since.as_ref()),
            why: text(&unit.why),
            repository_id: text(&unit.repository_id),
            media_agents: unit.media_agents.clone(),
            free_bytes: unit.free_bytes,
            total_bytes: unit.total_bytes,
            restore_points: unit.restore_points,
            lost: unit.lost,
            problems: problems.collect(),
        }
    }
}

/// What `storage check` found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CheckDocument {
    pub(crate) unit: Option<String>,
    /// Of the unit, after the check.
    pub(crate) state: Option<String>,
    pub(crate) media_agent: Option<String>,
    pub(crate) clean: bool,
    /// So much is wrong.
    pub(crate) found: u64,
    /// The first of it.
    pub(crate) findings: Vec<String>,
}

impl From<&v1::CheckStorageResponse> for CheckDocument {
    fn from(found: &v1::CheckStorageResponse) -> Self {
        let unit = found.unit.as_ref();
        Self {
            unit: unit.map(|unit| unit.name.clone()),
            state: unit.and_then(|unit| word::<words::UnitState>(unit.state)),
            media_agent: text(&found.media_agent),
            clean: found.clean == Some(true),
            found: found.found,
            findings: found.findings.clone(),
        }
    }
}
