//! Changing the primary's group and the cluster's settings, for `Cluster`.

use std::time::Duration;

use outlast_core::Command;
use outlast_core::entry::SettingsChange;
use outlast_core::thresholds::Thresholds;
use outlast_proto::v1::{ChangeSettingsRequest, InitResponse, JoinRequest, RemoveRequest, Settings};
use outlast_proto::words::{Seconds, Timing};
use outlast_raft::{Member, MembershipError, Peer};
use tonic::Status;

use super::Api;
use crate::config::MemberConfig;
use crate::view;
use crate::view::errors;

/// A new group elects its only member and founds the cluster within moments.
const FOUNDED_WITHIN: Duration = Duration::from_secs(10);
/// A handover takes about 10 ms.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(5);

impl Api {
    /// Makes a group of this node alone.
    pub(super) async fn found_group(&self) -> Result<InitResponse, Status> {
        let MemberConfig {
            node_id,
            name,
            address,
        } = self.me();
        if !self.config.initial_members.is_empty() {
            let text =
                format!("the file of node \"{name}\" names the first members: it forms the group with them");
            return Err(Status::failed_precondition(text));
        }
        let text = format!("node \"{name}\" belongs to a group already");
        let formed = self
            .brain
            .raft()
            .initialize([(node_id, Peer { name, address })].into());
        if !formed
            .await
            .map_err(|error| Status::internal(error.to_string()))?
        {
            return Err(Status::failed_precondition(text));
        }
        let mut changes = self.brain.changes();
        let founded = async {
            loop {
                if let Some(cluster) = self.brain.read().cluster() {
                    return cluster.id.clone();
                }
                if changes.changed().await.is_err() {
                    return String::new();
                }
            }
        };
        let cluster_id = tokio::time::timeout(FOUNDED_WITHIN, founded).await;
        let cluster_id = cluster_id
            .map_err(|_| Status::unavailable("the new group has no leader yet; look at cluster status"))?;
        Ok(InitResponse { cluster_id })
    }

    /// Takes a node into the group: its number first, then its log, then its vote.
    pub(super) async fn admit(&self, request: JoinRequest) -> Result<(), Status> {
        let JoinRequest {
            request_id,
            node_id,
            name,
            address,
        } = request;
        if node_id == 0 || name.is_empty() || !address.contains(':') {
            return Err(Status::invalid_argument(
                "node_id is above 0, name is not empty, address is host:port",
            ));
        }
        self.fresh(false).await?;
        let raft = self.brain.raft();
        let there = self.member(|member| member.id == node_id);
        let peer = Peer {
            name: name.clone(),
            address,
        };
        // Numbers are spent for good: not for a node that is not there.
        let spent = self.brain.read().members().any(|(id, _)| id == node_id);
        if !spent {
            raft.meet(node_id, &peer).await.map_err(of_membership)?;
        }
        self.submit(request_id, Command::AdmitMember { node_id, name })
            .await?;
        if there.as_ref().is_none_or(|member| !member.voter) {
            raft.add_learner(node_id, peer).await.map_err(of_membership)?;
            raft.promote(node_id).await.map_err(of_membership)?;
        }
        Ok(())
    }

    /// Takes a node out of the group. Its number is spent first: if the rest fails, the command can be given again.
    pub(super) async fn dismiss(&self, request: RemoveRequest) -> Result<(), Status> {
        self.fresh(false).await?;
        let member = self.member(|member| member.peer.name == request.name);
        let member = member.ok_or_else(|| errors::not_found("node", &request.name))?;
        let voters = self
            .brain
            .raft()
            .status()
            .members
            .iter()
            .filter(|member| member.voter)
            .count();
        if member.voter && voters == 1 {
            return Err(Status::failed_precondition("the only node cannot leave"));
        }
        self.submit(request.request_id, Command::RemoveMember { node_id: member.id })
            .await?;
        self.brain.raft().remove(member.id).await.map_err(of_membership)
    }

    /// Hands leadership over; the name of the new leader.
    pub(super) async fn hand_over(&self, to: &str) -> Result<String, Status> {
        self.fresh(false).await?;
        let raft = self.brain.raft();
        let to = match to {
            "" => None,
            name => {
                let member = self.member(|member| member.peer.name == name && member.voter);
                Some(member.ok_or_else(|| errors::not_found("node", name))?.id)
            }
        };
        if to == Some(self.config.node_id) {
            return Ok(self.config.name.clone());
        }
        let mut leadership = raft.leadership();
        raft.transfer_leader(to).await.map_err(of_membership)?;
        let handed = leadership.wait_for(|now| !now.is_me && now.leader.is_some());
        let handed = tokio::time::timeout(HANDED_OVER_WITHIN, handed).await;
        let leader = handed.ok().and_then(|now| now.ok().and_then(|now| now.leader));
        let leader = leader.and_then(|id| self.member(|member| member.id == id));
        let leader = leader.ok_or_else(|| Status::unavailable("nobody took over; look at cluster status"))?;
        Ok(leader.peer.name)
    }

    /// The settings in force.
    pub(super) fn settings(&self) -> Settings {
        view::settings(&self.brain.read())
    }

    pub(super) async fn set(&self, request: ChangeSettingsRequest) -> Result<(), Status> {
        let timing = match request.timing.as_deref() {
            None => None,
            Some(word) => Some(
                Timing::from_word(word).ok_or_else(|| Status::invalid_argument("timing: is lan or wan"))?,
            ),
        };
        let change = SettingsChange {
            resilience: request.resilience,
            disruption_grace: request.disruption_grace_seconds.map(Seconds),
            reconnect_for: request.reconnect_for_seconds.map(Seconds),
            timing,
            thresholds: Thresholds {
                failover_after: request.failover_after_seconds.map(Seconds),
                stalled_after: request.stalled_after_seconds.map(Seconds),
                no_communication_after: request.no_communication_after_seconds.map(Seconds),
            },
        };
        self.submit(request.request_id, Command::ChangeSettings { change })
            .await
            .map(drop)
    }

    fn member(&self, is_it: impl Fn(&Member) -> bool) -> Option<Member> {
        self.brain.raft().status().members.into_iter().find(is_it)
    }
}

fn of_membership(error: MembershipError) -> Status {
    match &error {
        MembershipError::NotLeader { leader } => outlast_kit::errors::not_leader(
            leader
                .as_ref()
                .map(|(_, peer)| (peer.name.as_str(), peer.address.as_str())),
        ),
        MembershipError::NotAMember { .. } => Status::not_found(error.to_string()),
        MembershipError::NoSuccessor
        | MembershipError::Refused { .. }
        | MembershipError::NoAnswer { .. }
        | MembershipError::Unfit { .. } => Status::failed_precondition(error.to_string()),
        MembershipError::Timeout { .. } => Status::deadline_exceeded(format!(
            "{error}; is the node running and reachable at its address? The command can be given again"
        )),
        MembershipError::Stopped { .. } => Status::unavailable(error.to_string()),
    }
}
