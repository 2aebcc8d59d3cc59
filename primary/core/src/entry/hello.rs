//! How agents introduce themselves, as it is proposed and logged.

use outlast_proto::words::{AgentKind, AgentName, JournalId, PoolName, StartId, StorageUnitName};
use serde::{Deserialize, Serialize};

/// How an agent introduces itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentHello {
    /// The name of its certificate.
    pub name: AgentName,
    /// What it does.
    pub kind: AgentKind,
    /// Of its process.
    pub start_id: StartId,
    /// Its program version.
    pub version: String,
    /// Which host it runs on.
    pub host_id: String,
    ///
    pub fibre_transport: bool,
    /// What it understands beyond the first version of the protocol: see [`crate::session::ENDS_ONLY`]. 0: no more.
    #[serde(default, skip_serializing_if = "is_none")]
    pub speaks: u32,
    /// Media agents only.
    pub media: Option<MediaHello>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
pub(crate) const fn is_none(speaks: &u32) -> bool {
    *speaks == 0
}

/// What a media agent adds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaHello {
    /// Of the journal it writes now.
    pub journal_id: JournalId,
    /// The pool it belongs to.
    pub pool: PoolName,
    /// The storage unit it writes to.
    pub storage_unit: StorageUnitName,
    /// The restic repository's id, if the unit could be opened.
    pub repository_id: Option<String>,
    /// `host:port`s at which clients reach it.
    pub data_addresses: Vec<String>,
}
