//! The primary's own group as `cluster status` prints it.

use jiff::Timestamp;
use outlast_proto::v1;
use serde::Serialize;

use super::{ThresholdDocument, ThresholdsDocument};
use crate::wire::{text, time};

#[derive(Clone, Debug, Serialize)]
pub(crate) struct ClusterDocument {
    pub(crate) cluster_id: Option<String>,
    pub(crate) leader: Option<String>,
    pub(crate) term: u64,
    pub(crate) version: Option<String>,
    pub(crate) members: Vec<MemberDocument>,
    /// Whose view this is.
    pub(crate) answered_by: Option<String>,
    /// Why that one takes part no more, and what to do.
    pub(crate) notice: Option<String>,
    /// That nobody has acknowledged.
    pub(crate) alarms: Vec<AlarmDocument>,
    /// What the one that answered sees to.
    pub(crate) reconcilers: Vec<ReconcilerDocument>,
    /// Null: a primary of before does not say them here.
    pub(crate) settings: Option<SettingsDocument>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct ReconcilerDocument {
    pub(crate) name: String,
    pub(crate) last_run: Option<Timestamp>,
    pub(crate) duration_ms: Option<u64>,
    pub(crate) error: Option<String>,
    pub(crate) runs: u64,
    pub(crate) restarts: u32,
}

impl From<&v1::Reconciler> for ReconcilerDocument {
    fn from(reconciler: &v1::Reconciler) -> Self {
        Self {
            name: reconciler.name.clone(),
            last_run: time(reconciler.last_run.as_ref()),
            duration_ms: reconciler.last_run.map(|_| reconciler.duration_ms),
            error: text(&reconciler.error),
            runs: reconciler.runs,
            restarts: reconciler.restarts,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct AlarmDocument {
    /// To acknowledge it by; null: it goes with its cause.
    pub(crate) number: Option<u32>,
    pub(crate) kind: String,
    pub(crate) since: Option<Timestamp>,
    pub(crate) text: String,
    pub(crate) said_by: Vec<String>,
}

impl From<&v1::Alarm> for AlarmDocument {
    fn from(alarm: &v1::Alarm) -> Self {
        Self {
            number: Some(alarm.number).filter(|number| *number > 0),
            kind: alarm.kind.clone(),
            since: time(alarm.since.as_ref()),
            text: alarm.text.clone(),
            said_by: alarm.said_by.clone(),
        }
    }
}

/// An alarm that was dealt with.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AcknowledgedDocument {
    pub(crate) number: u32,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct MemberDocument {
    pub(crate) node_id: u64,
    pub(crate) name: String,
    pub(crate) address: Option<String>,
    pub(crate) role: Option<String>,
    pub(crate) reachable: Option<bool>,
    pub(crate) lag: Option<u64>,
}

impl From<&v1::ClusterStatus> for ClusterDocument {
    fn from(status: &v1::ClusterStatus) -> Self {
        let members = status.members.iter().map(|member| MemberDocument {
            node_id: member.node_id,
            name: member.name.clone(),
            address: text(&member.address),
            role: text(&member.role),
            reachable: member.reachable,
            lag: member.lag,
        });
        Self {
            cluster_id: text(&status.cluster_id),
            leader: text(&status.leader),
            term: status.term,
            version: text(&status.version),
            members: members.collect(),
            answered_by: text(&status.answered_by),
            notice: text(&status.notice),
            alarms: status.alarms.iter().map(AlarmDocument::from).collect(),
            reconcilers: status.reconcilers.iter().map(ReconcilerDocument::from).collect(),
            settings: status.settings.as_ref().map(SettingsDocument::from),
        }
    }
}

/// A new group.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct InitDocument {
    pub(crate) cluster_id: String,
}

/// The node a change was about.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NodeDocument {
    pub(crate) name: String,
}

/// Cluster-wide settings; durations in seconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SettingsDocument {
    pub(crate) resilience: bool,
    pub(crate) disruption_grace: u64,
    pub(crate) reconnect_for: u64,
    pub(crate) timing: String,
    pub(crate) failover_after: u64,
    pub(crate) stalled_after: u64,
    pub(crate) no_communication_after: u64,
    /// These three again, with who says so.
    pub(crate) thresholds: ThresholdsDocument,
}

impl From<&v1::Settings> for SettingsDocument {
    fn from(settings: &v1::Settings) -> Self {
        let thresholds = ThresholdsDocument {
            failover_after: ThresholdDocument::of(settings.failover_after.as_ref()),
            stalled_after: ThresholdDocument::of(settings.stalled_after.as_ref()),
            no_communication_after: ThresholdDocument::of(settings.no_communication_after.as_ref()),
        };
        Self {
            failover_after: thresholds.failover_after.seconds,
            stalled_after: thresholds.stalled_after.seconds,
            no_communication_after: thresholds.no_communication_after.seconds,
            thresholds,
            resilience: settings.resilience,
            disruption_grace: settings.disruption_grace_seconds,
            reconnect_for: settings.reconnect_for_seconds,
            timing: settings.timing.clone(),
        }
    }
}
