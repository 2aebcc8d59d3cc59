//! `Cluster`. Status is answered by any node, from what it knows.

use outlast_proto::v1::cluster_server::Cluster;
use outlast_proto::v1::{ClusterStatus, ClusterStatusRequest, Member};
use outlast_raft::RaftStatus;
use tonic::{Request, Response, Status};

use super::Api;

#[tonic::async_trait]
impl Cluster for Api {
    async fn status(&self, _: Request<ClusterStatusRequest>) -> Result<Response<ClusterStatus>, Status> {
        let raft = self.brain.raft().status();
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
            version: env!("CARGO_PKG_VERSION").to_owned(),
            members: raft
                .members
                .iter()
                .map(|member| member_view(&raft, member))
                .collect(),
            answered_by: self.brain.name().to_owned(),
        }))
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
        lag: member
            .matched
            .map(|matched| raft.last_log.unwrap_or(0).saturating_sub(matched)),
    }
}
