//! `Agents` and `Pools`.

use outlast_core::entry::PoolChange;
use outlast_core::thresholds::Thresholds;
use outlast_core::{Command, Reply};
use outlast_proto::v1::agents_server::Agents;
use outlast_proto::v1::pools_server::Pools;
use outlast_proto::v1::{
    Agent, DeclareAgentDeadRequest, DeclareAgentDeadResponse, GetAgentRequest, GetPoolRequest,
    ListAgentsRequest, ListAgentsResponse, ListPoolsRequest, ListPoolsResponse, Pool, RemoveAgentRequest,
    RemoveAgentResponse, SetAgentAdminRequest, SetAgentRequest, SetPoolRequest,
};
use outlast_proto::words::{AgentAdmin, AgentName, PoolName, Seconds, SelectionMethod};
use tonic::{Request, Response, Status};

use super::jobs::asker;
use super::{Api, unexpected};
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
        self.agent(&agent_name(&request.name)?).map(Response::new)
    }

    async fn set_admin(&self, request: Request<SetAgentAdminRequest>) -> Result<Response<Agent>, Status> {
        let asker = asker(&request)?;
        let request = request.into_inner();
        let name = agent_name(&request.name)?;
        let admin = AgentAdmin::from_wire(request.admin)
            .ok_or_else(|| Status::invalid_argument("admin: is enabled, disabled or draining"))?;
        let command = Command::SetAgentAdmin {
            agent: name.clone(),
            admin,
        };
        self.submit_by(Some(asker), request.request_id, command).await?;
        self.agent(&name).map(Response::new)
    }

    async fn set(&self, request: Request<SetAgentRequest>) -> Result<Response<Agent>, Status> {
        let asker = asker(&request)?;
        let request = request.into_inner();
        let agent = agent_name(&request.name)?;
        let change = Thresholds {
            failover_after: request.failover_after_seconds.map(Seconds),
            stalled_after: request.stalled_after_seconds.map(Seconds),
            no_communication_after: request.no_communication_after_seconds.map(Seconds),
        };
        let name = agent.clone();
        let command = Command::SetAgentThresholds { agent, change };
        self.submit_by(Some(asker), request.request_id, command).await?;
        self.agent(&name).map(Response::new)
    }

    async fn declare_dead(
        &self,
        request: Request<DeclareAgentDeadRequest>,
    ) -> Result<Response<DeclareAgentDeadResponse>, Status> {
        let asker = asker(&request)?;
        let request = request.into_inner();
        let name = agent_name(&request.name)?;
        self.is_not_heard(&name, request.force)?;
        let command = Command::DeclareDead { agent: name.clone() };
        let reply = self.submit_by(Some(asker), request.request_id, command).await?;
        let Reply::DeclaredDead { jobs } = reply else {
            return Err(unexpected(&reply));
        };
        tracing::warn!(agent = %name, ?jobs, "a media agent was declared dead");
        Ok(Response::new(DeclareAgentDeadResponse {
            agent: Some(self.agent(&name)?),
            jobs: jobs.iter().map(ToString::to_string).collect(),
        }))
    }

    async fn remove(
        &self,
        request: Request<RemoveAgentRequest>,
    ) -> Result<Response<RemoveAgentResponse>, Status> {
        let asker = asker(&request)?;
        let RemoveAgentRequest {
            request_id,
            name,
            declare_dead: dead,
            force,
        } = request.into_inner();
        let agent = agent_name(&name)?;
        let is_at_work = self.brain.read().running_on(&agent).next().is_some();
        if dead && is_at_work {
            self.is_not_heard(&agent, force)?;
        }
        let command = Command::RemoveAgent { agent, dead, force };
        let reply = self.submit_by(Some(asker), request_id, command).await?;
        let Reply::DeclaredDead { jobs } = reply else {
            return Err(unexpected(&reply));
        };
        tracing::warn!(agent = %name, ?jobs, "an agent was removed");
        Ok(Response::new(RemoveAgentResponse {
            jobs: jobs.iter().map(ToString::to_string).collect(),
        }))
    }
}

impl Api {
    /// Whoever is heard is not dead.
    fn is_not_heard(&self, name: &AgentName, force: bool) -> Result<(), Status> {
        if force || !self.registry.is_heard(name, self.brain.clock().now()) {
            return Ok(());
        }
        Err(Status::failed_precondition(format!(
            "agent \"{name}\" is heard: it is not dead; its attempts would be taken from it while they run (--force does it all the same)"
        )))
    }

    /// An agent as it is now.
    fn agent(&self, name: &AgentName) -> Result<Agent, Status> {
        let (state, now) = (self.brain.read(), self.brain.clock().now());
        let row = state
            .agent(name)
            .ok_or_else(|| errors::not_found("agent", name.as_str()))?;
        let registry = self.registry_if_leading();
        Ok(view::agent::message(&state, registry, (name, row), now))
    }
}

fn agent_name(name: &str) -> Result<AgentName, Status> {
    name.parse().map_err(|_| errors::not_found("agent", name))
}

#[tonic::async_trait]
impl Pools for Api {
    async fn list(&self, request: Request<ListPoolsRequest>) -> Result<Response<ListPoolsResponse>, Status> {
        self.fresh(request.into_inner().stale).await?;
        let state = self.brain.read();
        let pools = state
            .pools()
            .map(|(name, row)| view::agent::pool(&state, name, row))
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
            .and_then(|name| Some(view::agent::pool(&state, name, state.pool(name)?)));
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
            order: match request.order.is_empty() {
                true => None,
                false => Some(
                    request
                        .order
                        .iter()
                        .map(|name| agent_name(name))
                        .collect::<Result<_, _>>()?,
                ),
            },
        };
        let command = Command::ChangePool {
            name: name.clone(),
            change,
        };
        self.submit(request.request_id, command).await?;
        let state = self.brain.read();
        let pool = state.pool(&name).map(|row| view::agent::pool(&state, &name, row));
        pool.map(Response::new)
            .ok_or_else(|| errors::not_found("pool", &request.name))
    }
}
