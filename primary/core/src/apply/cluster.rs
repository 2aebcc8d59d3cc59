//! The cluster's own row.

use outlast_proto::words::{JobId, Timestamp, Timing};

use super::Context;
use crate::reply::Reply;
use crate::rows::{Cluster, Settings};
use crate::state::ClusterState;

/// The commands of this version (DESIGN 3); raised by an entry once all members speak a newer one.
const CLUSTER_VERSION: u32 = 1;

impl ClusterState {
    /// Takes the leader's time unless it lies before the last entry's: time never goes back.
    pub(super) fn advance_clock(&mut self, at: Timestamp) -> Timestamp {
        match self.cluster.get(&()) {
            Some(cluster) if at > cluster.last_at => {}
            Some(cluster) => return cluster.last_at,
            None => return at,
        }
        if let Some(cluster) = self.cluster.get_mut(&()) {
            cluster.last_at = at;
        }
        at
    }

    pub(super) fn establish_cluster(
        &mut self,
        id: &str,
        ticket_key: &[u8],
        timing: Timing,
        context: Context<'_>,
    ) -> Reply {
        if self.cluster().is_none() {
            let cluster = Cluster {
                id: id.to_owned(),
                ticket_key: ticket_key.to_vec(),
                version: CLUSTER_VERSION,
                last_at: context.at,
                next_job: JobId(1),
                settings: Settings {
                    timing,
                    ..Settings::default()
                },
            };
            self.cluster.insert((), cluster);
        }
        Reply::Done
    }
}
