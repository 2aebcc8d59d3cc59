//! The public gRPC services. Handlers are thin: parse, one call, convert back.

mod agents;
mod cluster;
mod guard;
mod histories;
mod jobs;
mod members;
mod membership;
mod page;
mod policies;
mod policy_test;
mod restore_points;
mod rules;
mod storage;
mod watch;

use outlast_core::entry::Asker;
use outlast_core::{Command, Reply};
use outlast_kit::tasks::Tasks;
use outlast_proto::v1::agents_server::AgentsServer;
use outlast_proto::v1::cluster_server::ClusterServer;
use outlast_proto::v1::histories_server::HistoriesServer;
use outlast_proto::v1::jobs_server::JobsServer;
use outlast_proto::v1::policies_server::PoliciesServer;
use outlast_proto::v1::pools_server::PoolsServer;
use outlast_proto::v1::restore_points_server::RestorePointsServer;
use outlast_proto::v1::rules_server::RulesServer;
use outlast_proto::v1::storage_server::StorageServer;
use outlast_proto::words::RequestId;
use tonic::Status;
use tonic::service::RoutesBuilder;

use crate::brain::Brain;
use crate::config::{Config, MemberConfig};
use crate::live::Live;
use crate::reconcilers::Accounts;
use crate::sessions::Registry;
use crate::view::errors;

pub(crate) use guard::only;
pub(crate) use members::MemberService;

/// The largest message a client may send.
const MAX_REQUEST: usize = 1 << 20;

/// What every public service works with.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) brain: Brain,
    pub(crate) registry: Registry,
    pub(crate) live: Live,
    pub(crate) tasks: Tasks,
    pub(crate) accounts: Accounts,
    pub(crate) config: Config,
}

impl Api {
    /// Adds the public services. Operators and primaries may use them.
    pub(crate) fn add_to(&self, routes: &mut RoutesBuilder) {
        let allowed = only(&[guard::Kind::Operator, guard::Kind::Primary]);
        macro_rules! add {
            ($($server:ident),+) => { $(
                let server = $server::new(self.clone()).max_decoding_message_size(MAX_REQUEST);
                routes.add_service(tonic::service::interceptor::InterceptedService::new(server, allowed.clone()));
            )+ };
        }
        add!(
            AgentsServer,
            ClusterServer,
            HistoriesServer,
            JobsServer,
            PoliciesServer,
            PoolsServer,
            RestorePointsServer,
            RulesServer,
            StorageServer
        );
    }

    /// Makes the state fit to be read: as of now, or as this node knows it.
    async fn fresh(&self, stale: bool) -> Result<(), Status> {
        if stale {
            return Ok(());
        }
        self.brain
            .catch_up()
            .await
            .map_err(|error| errors::of_brain(&error))
    }

    /// Submits a write; a refusal becomes a status.
    async fn submit(&self, request_id: String, command: Command) -> Result<Reply, Status> {
        self.submit_by(None, request_id, command).await
    }

    /// As [`Api::submit`], written down with who asked.
    async fn submit_by(
        &self,
        asked_by: Option<Asker>,
        request_id: String,
        command: Command,
    ) -> Result<Reply, Status> {
        let id = match request_id.len() {
            1..=64 => Some(RequestId(request_id)),
            _ => {
                return Err(Status::invalid_argument(
                    "request_id: has 1 to 64 characters, chosen at random",
                ));
            }
        };
        match self
            .brain
            .submit(id, asked_by, command)
            .await
            .map_err(|error| errors::of_brain(&error))?
        {
            Reply::Refused(refusal) => Err(errors::of_refusal(&refusal)),
            reply => Ok(reply),
        }
    }

    /// This node as the others see it.
    fn me(&self) -> MemberConfig {
        self.config.me()
    }

    /// The registry, if this node leads and so knows who is connected.
    fn registry_if_leading(&self) -> Option<&Registry> {
        self.brain.leads().then_some(&self.registry)
    }
}

fn unexpected(reply: &Reply) -> Status {
    Status::internal(format!("a command got another one's reply: {reply:?}"))
}
