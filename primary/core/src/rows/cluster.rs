//! The one row about the cluster itself.

use outlast_proto::words::{JobId, Seconds, Timestamp, Timing};
use serde::{Deserialize, Serialize};

use crate::thresholds::Thresholds;

/// Cluster-wide switches and times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    ///
    pub resilience: bool,
    ///
    pub disruption_grace: Seconds,
    /// F-10.
    pub reconnect_for: Seconds,
    /// L-02, in milliseconds.
    pub status_updates_ms: u64,
    /// Patience of elections; a node takes it up when it starts.
    #[serde(default)]
    pub timing: Timing,
    /// C-01, for pools that say nothing of their own. From cluster version 9 on.
    #[serde(default, skip_serializing_if = "Thresholds::is_none")]
    pub thresholds: Thresholds,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            resilience: true,
            disruption_grace: Seconds(20),
            reconnect_for: Seconds(300),
            status_updates_ms: 2000,
            timing: Timing::Lan,
            thresholds: Thresholds::default(),
        }
    }
}

/// Identity, settings and counters of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Chosen once.
    pub id: String,
    /// Ed25519 key pair (PKCS#8) that signs tickets.
    pub ticket_key: Vec<u8>,
    /// The commands all members understand (DESIGN 3).
    pub version: u32,
    /// Time of the last entry; never goes back.
    pub last_at: Timestamp,
    /// The id the next job gets.
    pub next_job: JobId,
    /// How many entries were applied since the group speaks a version that counts them.
    #[serde(default, skip_serializing_if = "is_none")]
    pub entries: u64,
    /// Settings.
    pub settings: Settings,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_none(entries: &u64) -> bool {
    *entries == 0
}
