//! The cluster-wide settings as a message.

use outlast_core::ClusterState;
use outlast_core::thresholds::Threshold;
use outlast_proto::v1;

use super::agent::threshold;

/// Those in force.
pub(crate) fn settings(state: &ClusterState) -> v1::Settings {
    let settings = state.settings();
    let [failover_after, stalled_after, no_communication_after] =
        Threshold::ALL.map(|which| Some(threshold(state.threshold_of_cluster(which))));
    v1::Settings {
        resilience: settings.resilience,
        disruption_grace_seconds: settings.disruption_grace.0,
        reconnect_for_seconds: settings.reconnect_for.0,
        timing: settings.timing.word().to_owned(),
        failover_after,
        stalled_after,
        no_communication_after,
    }
}
