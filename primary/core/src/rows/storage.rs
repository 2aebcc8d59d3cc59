//! Storage units.

use outlast_proto::words::{AgentName, Timestamp, UnitState};
use serde::{Deserialize, Serialize};

/// A repository and the media agents that reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageUnit {
    /// The restic repository's id, once an agent has opened it.
    pub repository_id: Option<String>,
    /// Those that reach it; the first is its steward.
    pub media_agents: Vec<AgentName>,
    /// Whether backups go there. From cluster version 9 on.
    #[serde(default, skip_serializing_if = "is_ok")]
    pub state: UnitState,
    /// Since when it is in that state; none: it has never been in another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What was found, for a person; empty: nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_ok(state: &UnitState) -> bool {
    *state == UnitState::Ok
}
