//! `Members`: what other nodes of the primary say of themselves. For them only; `node` sees to that.

use outlast_core::rows::MemberFacts;
use outlast_core::{Command, Reply};
use outlast_kit::identity::Identity;
use outlast_proto::v1::members_server::{Members, MembersServer};
use outlast_proto::v1::{DescribeMemberRequest, DescribeMemberResponse, ReadClockRequest, ReadClockResponse};
use tonic::{Request, Response, Status};

use crate::brain::Brain;
use crate::view::errors;

/// Longest host id or version; both go through Raft.
const MAX_TEXT: usize = 256;
/// The largest message that is read.
const MAX_REQUEST: usize = 4096;

/// The service, at every node.
pub(crate) struct MemberService {
    brain: Brain,
}

impl MemberService {
    pub(crate) fn new(brain: Brain) -> Self {
        Self { brain }
    }

    pub(crate) fn server(self) -> MembersServer<Self> {
        MembersServer::new(self).max_decoding_message_size(MAX_REQUEST)
    }
}

#[tonic::async_trait]
impl Members for MemberService {
    async fn describe(
        &self,
        request: Request<DescribeMemberRequest>,
    ) -> Result<Response<DescribeMemberResponse>, Status> {
        let caller = Identity::of_peer(&request).map_err(|e| Status::unauthenticated(e.to_string()))?;
        if !self.brain.leads() {
            return Err(errors::not_leader_of(&self.brain));
        }
        let DescribeMemberRequest {
            node_id,
            host_id,
            version,
            cluster_version,
        } = request.into_inner();
        for (field, text) in [("host_id", &host_id), ("version", &version)] {
            if text.is_empty() || text.len() > MAX_TEXT {
                return Err(Status::invalid_argument(format!(
                    "{field}: has 1 to {MAX_TEXT} bytes"
                )));
            }
        }
        let row = {
            let state = self.brain.read();
            let row = state.present_members().find(|(id, _)| *id == node_id);
            row.map(|(_, member)| member.clone())
        };
        let Some(row) = row.filter(|member| member.name == caller.name) else {
            return Err(Status::permission_denied(format!(
                "{caller} is not node {node_id} of this group"
            )));
        };
        let facts = MemberFacts {
            host_id: host_id.clone(),
            version: version.clone(),
            cluster_version,
        };
        if row.facts == Some(facts) {
            return Ok(Response::new(DescribeMemberResponse {}));
        }
        let command = Command::DescribeMember {
            node_id,
            host_id,
            version,
            cluster_version,
        };
        match self.brain.propose(command).await {
            Ok(Reply::Refused(refusal)) => Err(errors::of_refusal(&refusal)),
            Ok(_) => Ok(Response::new(DescribeMemberResponse {})),
            Err(error) => Err(errors::of_brain(&error)),
        }
    }
    async fn read_clock(
        &self,
        _request: Request<ReadClockRequest>,
    ) -> Result<Response<ReadClockResponse>, Status> {
        let now = Some(self.brain.clock().now().into());
        Ok(Response::new(ReadClockResponse { now }))
    }
}
