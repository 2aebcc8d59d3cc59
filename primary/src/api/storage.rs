//! `Storage`.

use std::time::Duration;

use outlast_core::steward::steward;
use outlast_core::{Command, Reply};
use outlast_proto::v1::storage_server::Storage;
use outlast_proto::v1::{
    CheckPart, CheckQuestion, CheckStorageRequest, CheckStorageResponse, ListStorageRequest,
    ListStorageResponse, answer, question,
};
use outlast_proto::words::{AgentName, StorageUnitName, UnitState};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Api;
use crate::sessions::Asked;
use crate::view;
use crate::view::errors;

/// A media agent that checks says something each second, unless a file system does not answer.
const SILENT_FOR: Duration = Duration::from_secs(300);

type Responses = mpsc::Sender<Result<CheckStorageResponse, Status>>;

#[tonic::async_trait]
impl Storage for Api {
    type CheckStream = ReceiverStream<Result<CheckStorageResponse, Status>>;

    async fn list(
        &self,
        request: Request<ListStorageRequest>,
    ) -> Result<Response<ListStorageResponse>, Status> {
        self.fresh(request.into_inner().stale).await?;
        let registry = self.registry_if_leading();
        let state = self.brain.read();
        let units = state.storage_units();
        let units = units.map(|unit| view::storage::message(&state, registry, unit));
        Ok(Response::new(ListStorageResponse {
            units: units.collect(),
        }))
    }

    async fn check(
        &self,
        request: Request<CheckStorageRequest>,
    ) -> Result<Response<Self::CheckStream>, Status> {
        let request = request.into_inner();
        self.fresh(false).await?;
        let (unit, agent) = self.who_checks(&request.name)?;
        let read_data = request.read_data;
        let question = question::Body::Check(CheckQuestion { read_data });
        let asked = self.registry.ask(&agent, question).await;
        let asked = asked.map_err(|error| Status::unavailable(error.to_string()))?;
        let (sender, receiver) = mpsc::channel(4);
        let (api, asker) = (self.clone(), sender.clone());
        let checking = async move { api.pass_on_check(asked, (unit, agent), sender).await };
        self.tasks
            .serving("check storage", checking, move |_| async move {
                let _ = asker.send(Err(errors::panicked())).await;
            });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

impl Api {
    fn who_checks(&self, name: &str) -> Result<(StorageUnitName, AgentName), Status> {
        let state = self.brain.read();
        let unit: Option<StorageUnitName> = name.parse().ok();
        let unit = unit.filter(|unit| state.storage_unit(unit).is_some());
        let unit = unit.ok_or_else(|| errors::not_found("storage unit", name))?;
        let agent = steward(&state, &self.registry.presence(), &unit).cloned();
        let agent = agent.ok_or_else(|| {
            let text = format!(
                "no media agent of storage unit \"{unit}\" is here, enabled and able to use it; outlast storage list says why"
            );
            Status::failed_precondition(text)
        })?;
        Ok((unit, agent))
    }

    async fn pass_on_check(
        &self,
        mut asked: Asked,
        (unit, agent): (StorageUnitName, AgentName),
        to: Responses,
    ) {
        loop {
            let answer = tokio::time::timeout(SILENT_FOR, asked.next()).await;
            let message = match answer.ok().flatten().map(|answer| (answer.last, answer.body)) {
                Some((false, Some(answer::Body::Check(part)))) => Ok(progress(&agent, part)),
                Some((true, Some(answer::Body::Check(part)))) => self.checked(&unit, &agent, part).await,
                Some((_, Some(answer::Body::Error(error)))) => Err(Status::failed_precondition(format!(
                    "media agent {agent} could not check: {}",
                    error.text
                ))),
                _ => Err(Status::unavailable(format!(
                    "media agent {agent} broke off its check, or does not answer; begin it again"
                ))),
            };
            let is_over = message.as_ref().map_or(true, |said| said.clean.is_some());
            if to.send(message).await.is_err() || is_over {
                return;
            }
        }
    }

    /// A clean unit gets backups again; what was found wrong stays suspected if it was.
    async fn checked(
        &self,
        unit: &StorageUnitName,
        agent: &AgentName,
        part: CheckPart,
    ) -> Result<CheckStorageResponse, Status> {
        let from = self.brain.read().storage_unit(unit).map(|unit| unit.state);
        if part.clean == Some(true) && from == Some(UnitState::Suspect) {
            let command = Command::ChangeUnitState {
                unit: unit.clone(),
                from: UnitState::Suspect,
                to: UnitState::Ok,
                why: String::new(),
            };
            match self.brain.propose(command).await {
                Ok(Reply::Done) => tracing::info!(%unit, %agent, "a check found the storage unit clean"),
                Ok(reply) => tracing::info!(%unit, ?reply, "the storage unit has changed meanwhile"),
                Err(error) => return Err(errors::of_brain(&error)),
            }
        }
        let state = self.brain.read();
        let row = state.storage_unit(unit).map(|row| (unit, row));
        let unit = row.map(|row| view::storage::message(&state, Some(&self.registry), row));
        Ok(CheckStorageResponse {
            unit,
            ..progress(agent, part)
        })
    }
}

fn progress(agent: &AgentName, part: CheckPart) -> CheckStorageResponse {
    CheckStorageResponse {
        media_agent: agent.to_string(),
        step: part.step,
        done: part.done,
        total: part.total,
        found: part.found,
        clean: part.clean,
        findings: part.findings,
        unit: None,
    }
}
