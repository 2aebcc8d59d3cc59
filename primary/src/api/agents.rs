//! `Agents` and `Pools`.

use outlast_core::Command;
use outlast_core::entry::PoolChange;
use outlast_proto::v1::agents_server::Agents;
use outlast_proto::v1::pools_server::Pools;
use outlast_proto::v1::{
    Agent, GetAgentRequest, GetPoolRequest, ListAgentsRequest, ListAgentsResponse, ListPoolsRequest,
    ListPoolsResponse, Pool, SetPoolRequest,
};
use outlast_proto::words::{AgentName, PoolName, Seconds, SelectionMethod};
use tonic::{Request, Response, Status};

use super::Api;
use crate::view;
use crate::view::errors;

#[tonic::async_trait]
impl Agents for Api {
    async fn list(
        &self,
        request: Request<ListAgentsRequest>,
    ) -> Result<Response<ListAgentsResponse>, Status> {
        self.fresh(request.into_inner().stale).await?;
        let (registry, now) = (self.registry_if_leading(), self.brain.clock().now());
        let state = self.brain.read();
        let agents = state
            .agents()
            .map(|agent| view::agent::message(&state, registry, agent, now))
            .collect();
        Ok(Response::new(ListAgentsResponse { agents }))
    }

    async fn get(&self, request: Request<GetAgentRequest>) -> Result<Response<Agent>, Status> {
        let request = request.into_inner();
        self.fresh(request.stale).await?;
        let state = self.brain.read();
        let name: Option<AgentName> = request.name.parse().ok();
        let found = name.as_ref().and_then(|name| Some((name, state.agent(name)?)));
        let (name, row) = found.ok_or_else(|| errors::not_found("agent", &request.name))?;
        Ok(Response::new(view::agent::message(
            &state,
            self.registry_if_leading(),
            (name, row),
            self.brain.clock().now(),
        )))
    }
}

#[tonic::async_trait]
impl Pools for Api {
    async fn list(&self, request: Request<ListPoolsRequest>) -> Result<Response<ListPoolsResponse>, Status> {
        self.fresh(request.into_inner().stale).await?;
        let state = self.brain.read();
        let pools = state
            .pools()
            .map(|(name, row)| view::agent::pool(name, row))
            .collect();
        Ok(Response::new(ListPoolsResponse { pools }))
    }

    async fn get(&self, request: Request<GetPoolRequest>) -> Result<Response<Pool>, Status> {
        let request = request.into_inner();
        self.fresh(request.stale).await?;
        let state = self.brain.read();
        let name: Option<PoolName> = request.name.parse().ok();
        let found = name
            .as_ref()
            .and_then(|name| Some(view::agent::pool(name, state.pool(name)?)));
        found
            .map(Response::new)
            .ok_or_else(|| errors::not_found("pool", &request.name))
    }

    async fn set(&self, request: Request<SetPoolRequest>) -> Result<Response<Pool>, Status> {
        let request = request.into_inner();
        let name: PoolName = request
            .name
            .parse()
            .map_err(|_| errors::not_found("pool", &request.name))?;
        let change = PoolChange {
            method: request.method.and_then(SelectionMethod::from_wire),
            failover: request.failover,
            failover_after: request.failover_after_seconds.map(Seconds),
            stalled_after: request.stalled_after_seconds.map(Seconds),
            no_communication_after: request.no_communication_after_seconds.map(Seconds),
        };
        let command = Command::ChangePool {
            name: name.clone(),
            change,
        };
        self.submit(request.request_id, command).await?;
        let state = self.brain.read();
        let pool = state.pool(&name).map(|row| view::agent::pool(&name, row));
        pool.map(Response::new)
            .ok_or_else(|| errors::not_found("pool", &request.name))
    }
}
