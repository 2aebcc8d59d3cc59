//! Agents and pools.

use outlast_proto::words::{
    AgentAdmin, AgentKind, AgentName, AgentState, JournalId, PoolName, Seconds, SelectionMethod, StartId,
    StorageUnitName, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::thresholds::{FAILOVER_AFTER, NO_COMMUNICATION_AFTER, STALLED_AFTER, Thresholds};

/// How far an agent's journal is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalCursor {
    /// Which journal.
    pub id: JournalId,
    /// Last sequence applied; 0: none.
    pub acknowledged: u64,
    /// The process that wrote that event, by a number of its own; 0: none, or not known.
    #[serde(default)]
    pub writer: u64,
}

/// What a media agent is beside an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaRole {
    /// Its pool.
    pub pool: PoolName,
    /// Its storage unit.
    pub storage_unit: StorageUnitName,
    /// Where clients reach it.
    pub data_addresses: Vec<String>,
    /// Its journal.
    pub journal: JournalCursor,
}

/// A media agent or a client agent that has been here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// What it does.
    pub kind: AgentKind,
    /// C-01.
    pub state: AgentState,
    /// What an operator wants of it. From cluster version 8 on.
    #[serde(default, skip_serializing_if = "is_enabled")]
    pub admin: AgentAdmin,
    /// Since when it is in that state.
    pub since: Timestamp,
    /// Its program version.
    pub version: String,
    /// Its host.
    pub host_id: String,
    /// Its process.
    pub start_id: StartId,
    ///
    pub fibre_transport: bool,
    /// What it understands, as its hello said; kept from cluster version 8 on.
    #[serde(default, skip_serializing_if = "crate::entry::is_none")]
    pub speaks: u32,
    /// What it has of its own (C-01). From cluster version 9 on.
    #[serde(default, skip_serializing_if = "Thresholds::is_none")]
    pub thresholds: Thresholds,
    /// Media agents only.
    pub media: Option<MediaRole>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_enabled(admin: &AgentAdmin) -> bool {
    *admin == AgentAdmin::Enabled
}

impl Agent {
    /// Whether new jobs may go to it.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.state == AgentState::Enabled && self.admin == AgentAdmin::Enabled
    }

    /// What keeps new jobs from it, in one word; what an operator decided counts first.
    #[must_use]
    pub fn why_unusable(&self) -> &'static str {
        match self.admin {
            AgentAdmin::Enabled => self.state.word(),
            admin => admin.word(),
        }
    }
}

/// An ordered group of media agents that may stand in for each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// In the order of their joining.
    pub media_agents: Vec<AgentName>,
    /// F-02.
    pub method: SelectionMethod,
    /// F-01; none: on for pools of two or more (C-04).
    pub failover: Option<bool>,
    /// C-04; none: as the cluster has it, from cluster version 9 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover_after: Option<Seconds>,
    /// C-02; as above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled_after: Option<Seconds>,
    /// C-03; as above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_communication_after: Option<Seconds>,
}

impl Default for Pool {
    /// As before there were levels: all is its own.
    fn default() -> Self {
        Self {
            media_agents: Vec::new(),
            method: SelectionMethod::Prioritized,
            failover: None,
            failover_after: Some(FAILOVER_AFTER),
            stalled_after: Some(STALLED_AFTER),
            no_communication_after: Some(NO_COMMUNICATION_AFTER),
        }
    }
}

impl Pool {
    /// Whether jobs fail over inside the pool (F-01, C-04).
    #[must_use]
    pub fn fails_over(&self) -> bool {
        self.failover.unwrap_or(self.media_agents.len() > 1)
    }
}
