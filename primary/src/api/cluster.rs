//! `Cluster`. Status is answered by any node, from what it knows. What changes the group is in `membership`.

use outlast_core::Command;
use outlast_kit::identity::Identity;
use outlast_proto::v1::cluster_server::Cluster;
use outlast_proto::v1::{
    AcknowledgeAlarmRequest, AcknowledgeAlarmResponse, ChangeSettingsRequest, ClusterStatus,
    ClusterStatusRequest, GetSettingsRequest, InitRequest, InitResponse, JoinRequest, JoinResponse, Member,
    RemoveRequest, RemoveResponse, Settings, TransferLeaderRequest, TransferLeaderResponse,
};
use outlast_raft::{RaftStatus, StopReason};
use tonic::{Request, Response, Status};

use super::Api;
use crate::sessions::Registry;
use crate::{rejoin, view};

#[tonic::async_trait]
impl Cluster for Api {
    async fn status(&self, _: Request<ClusterStatusRequest>) -> Result<Response<ClusterStatus>, Status> {
        let raft = self.brain.raft().status();
        let registry = self.registry_if_leading();
        let old = registry.map(Registry::without_nonces).unwrap_or_default();
        let storage = registry.map(Registry::storage_problems).unwrap_or_default();
        let clocks = registry.map(Registry::wrong_clocks).unwrap_or_default();
        let state = self.brain.read();
        Ok(Response::new(ClusterStatus {
            cluster_id: state
                .cluster()
                .map(|cluster| cluster.id.clone())
                .unwrap_or_default(),
            leader: raft
                .leader
                .as_ref()
                .map(|(_, peer)| peer.name.clone())
                .unwrap_or_default(),
            term: raft.term,
            cluster_version: state.cluster().map_or(0, |cluster| cluster.version),
            version: self.brain.me().facts.version.clone(),
            members: raft
                .members
                .iter()
                .map(|member| member_view(&raft, member))
                .collect(),
            answered_by: self.brain.name().to_owned(),
            notice: match self.brain.raft().stop_reason() {
                Some(StopReason::Excluded(exclusion)) => rejoin::of_exclusion(&exclusion, &self.config),
                _ => String::new(),
            },
            alarms: view::alarm::all(&state, &old, &storage, &clocks),
            reconcilers: self.accounts.told(self.brain.leads()),
            settings: Some(view::settings(&state)),
        }))
    }

    async fn acknowledge_alarm(
        &self,
        request: Request<AcknowledgeAlarmRequest>,
    ) -> Result<Response<AcknowledgeAlarmResponse>, Status> {
        let by = Identity::of_peer(&request)
            .map_err(|error| Status::unauthenticated(error.to_string()))?
            .to_string();
        let AcknowledgeAlarmRequest { request_id, number } = request.into_inner();
        self.fresh(false).await?;
        if !self.brain.read().has_alarm(number) {
            let text = format!("there is no alarm {number}; `cluster status` shows those there are");
            return Err(Status::not_found(text));
        }
        self.submit(request_id, Command::AcknowledgeAlarm { number, by })
            .await?;
        Ok(Response::new(AcknowledgeAlarmResponse {}))
    }

    async fn init(&self, _: Request<InitRequest>) -> Result<Response<InitResponse>, Status> {
        self.found_group().await.map(Response::new)
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        self.admit(request.into_inner()).await?;
        Ok(Response::new(JoinResponse {}))
    }

    async fn remove(&self, request: Request<RemoveRequest>) -> Result<Response<RemoveResponse>, Status> {
        self.dismiss(request.into_inner()).await?;
        Ok(Response::new(RemoveResponse {}))
    }

    async fn transfer_leader(
        &self,
        request: Request<TransferLeaderRequest>,
    ) -> Result<Response<TransferLeaderResponse>, Status> {
        let leader = self.hand_over(&request.into_inner().to).await?;
        Ok(Response::new(TransferLeaderResponse { leader }))
    }

    async fn get_settings(&self, request: Request<GetSettingsRequest>) -> Result<Response<Settings>, Status> {
        self.fresh(request.into_inner().stale).await?;
        Ok(Response::new(self.settings()))
    }

    async fn change_settings(
        &self,
        request: Request<ChangeSettingsRequest>,
    ) -> Result<Response<Settings>, Status> {
        self.set(request.into_inner()).await?;
        Ok(Response::new(self.settings()))
    }
}

fn member_view(raft: &RaftStatus, member: &outlast_raft::Member) -> Member {
    let leads = raft.leader.as_ref().is_some_and(|(id, _)| *id == member.id);
    let role = match (leads, member.voter) {
        (true, _) => "leader",
        (false, true) => "follower",
        (false, false) => "learner",
    };
    Member {
        name: member.peer.name.clone(),
        address: member.peer.address.clone(),
        role: role.to_owned(),
        reachable: member.reachable,
        node_id: member.id,
        lag: member
            .matched
            .map(|matched| raft.last_log.unwrap_or(0).saturating_sub(matched)),
    }
}
