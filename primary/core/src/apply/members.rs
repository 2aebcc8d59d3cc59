//! Numbers of nodes, and the cluster's settings.

use outlast_proto::words::Seconds;

use super::{Context, Outcome};
use crate::entry::SettingsChange;
use crate::reply::{Refusal, Reply};
use crate::rows::{Member, MemberFacts};
use crate::state::ClusterState;

/// the grace ends at least this long before failover would take the attempt away.
const GRACE_MARGIN: Seconds = Seconds(5);

impl ClusterState {
    /// Gives a number to a node. The same node again is fine; a number that was another's, or whose node has left, is refused:
    /// a node that forgot what it promised must not come back under its old number.
    pub(super) fn admit_member(&mut self, node_id: u64, name: &str, context: Context<'_>) -> Outcome {
        match self.members.get(&node_id) {
            Some(known) if known.removed_at.is_some() || known.name != name => Err(Refusal::NodeNumberUsed {
                node_id,
                name: known.name.clone(),
            }),
            Some(_) => Ok(Reply::Done),
            None => {
                let taken = self
                    .members
                    .iter()
                    .find(|(_, row)| row.name == name && row.removed_at.is_none());
                if let Some((other, _)) = taken {
                    return Err(Refusal::NodeNameUsed {
                        name: name.to_owned(),
                        node_id: *other,
                    });
                }
                let row = Member {
                    name: name.to_owned(),
                    admitted_at: context.at,
                    removed_at: None,
                    facts: None,
                };
                self.members.insert(node_id, row);
                Ok(Reply::Done)
            }
        }
    }

    pub(super) fn remove_member(&mut self, node_id: u64, context: Context<'_>) -> Outcome {
        let row = self
            .members
            .get_mut(&node_id)
            .ok_or(Refusal::NoSuchNode { node_id })?;
        row.removed_at.get_or_insert(context.at);
        Ok(Reply::Done)
    }

    /// Only a member of the group has a say.
    pub(super) fn describe_member(&mut self, node_id: u64, host_id: &str, version: &str) -> Outcome {
        let facts = Some(MemberFacts {
            host_id: host_id.to_owned(),
            version: version.to_owned(),
        });
        let row = self
            .members
            .get(&node_id)
            .filter(|row| row.removed_at.is_none())
            .ok_or(Refusal::NoSuchNode { node_id })?;
        if row.facts != facts
            && let Some(row) = self.members.get_mut(&node_id)
        {
            row.facts = facts;
        }
        Ok(Reply::Done)
    }

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
        Ok(Reply::Done)
    }
}
