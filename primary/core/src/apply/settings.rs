//! Settings of the cluster and of pools, each checked against the other.

use outlast_proto::words::{AgentName, PoolName, Seconds};

use super::Outcome;
use crate::entry::{PoolChange, SettingsChange};
use crate::reply::{Refusal, Reply};
use crate::state::ClusterState;
use crate::touched::Rows;

/// the grace ends at least this long before failover would take the attempt away.
const GRACE_MARGIN: Seconds = Seconds(5);

impl ClusterState {
    pub(super) fn change_settings(&mut self, change: &SettingsChange) -> Outcome {
        let mut settings = self.settings();
        settings.resilience = change.resilience.unwrap_or(settings.resilience);
        settings.disruption_grace = change.disruption_grace.unwrap_or(settings.disruption_grace);
        settings.reconnect_for = change.reconnect_for.unwrap_or(settings.reconnect_for);
        settings.timing = change.timing.unwrap_or(settings.timing);
        if let Some((name, pool)) = self
            .pools
            .iter()
            .find(|(_, pool)| pool.failover_after.0 < settings.disruption_grace.0 + GRACE_MARGIN.0)
        {
            return Err(Refusal::InvalidRequest {
                field: "disruption_grace".into(),
                reason: format!(
                    "is at least {} s below failover_after, which is {} s in pool \"{name}\"",
                    GRACE_MARGIN.0, pool.failover_after.0
                ),
            });
        }
        if let Some(cluster) = self.cluster.get_mut(&()) {
            cluster.settings = settings;
        }
        self.touch(Rows::Settings);
        Ok(Reply::Done)
    }

    pub(super) fn change_pool(&mut self, name: &PoolName, change: &PoolChange) -> Outcome {
        let known = self.pools.get(name).ok_or_else(|| Refusal::NoSuchPool {
            name: name.clone(),
            known: self.pools.iter().map(|(name, _)| name.clone()).collect(),
        })?;
        let mut pool = known.clone();
        pool.method = change.method.unwrap_or(pool.method);
        pool.failover = change.failover.or(pool.failover);
        pool.failover_after = change.failover_after.unwrap_or(pool.failover_after);
        pool.stalled_after = change.stalled_after.unwrap_or(pool.stalled_after);
        pool.no_communication_after = change
            .no_communication_after
            .unwrap_or(pool.no_communication_after);
        let invalid = |field: &str, reason: String| {
            Err(Refusal::InvalidRequest {
                field: field.into(),
                reason,
            })
        };
        for (field, waits) in [
            ("stalled_after", pool.stalled_after),
            ("no_communication_after", pool.no_communication_after),
        ] {
            if waits.0 == 0 {
                return invalid(field, "is at least 1 s".into());
            }
        }
        let grace = self.settings().disruption_grace;
        if pool.failover_after.0 < grace.0 + GRACE_MARGIN.0 {
            let reason = format!(
                "is at least {} s above disruption_grace, which is {} s",
                GRACE_MARGIN.0, grace.0
            );
            return invalid("failover_after", reason);
        }
        if let Some(order) = &change.order {
            let (mut given, mut there) = (order.clone(), pool.media_agents.clone());
            given.sort();
            there.sort();
            if given != there || !self.splits_jobs() {
                let names: Vec<_> = pool.media_agents.iter().map(AgentName::as_str).collect();
                let reason = format!("names each media agent of the pool once: {}", names.join(", "));
                return invalid("order", reason);
            }
            pool.media_agents.clone_from(order);
        }
        self.pools.insert(name.clone(), pool);
        self.touch(Rows::Agents);
        Ok(Reply::Done)
    }
}
