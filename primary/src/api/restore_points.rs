//! `RestorePoints`.

use std::time::Duration;

use outlast_core::rows::RestorePoint as RestorePointRow;
use outlast_core::session::ticket::content;
use outlast_kit::errors::status;
use outlast_proto::v1::restore_points_server::RestorePoints;
use outlast_proto::v1::{
    Answer, ErrorDetail, ListFilesQuestion, ListFilesRequest, ListFilesResponse, ListRestorePointsRequest,
    ListRestorePointsResponse, answer, question,
};
use outlast_proto::words::{AgentName, SnapshotId, StatusCode, Timestamp};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

use super::Api;
use super::page::Paging;
use crate::sessions::Asked;
use crate::view::{self, errors};

/// How long a media agent may take for the next part of its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The shortest beginning of an id that is looked up.
const SHORTEST_PREFIX: usize = 4;

#[tonic::async_trait]
impl RestorePoints for Api {
    type ListFilesStream = ReceiverStream<Result<ListFilesResponse, Status>>;

    async fn list(
        &self,
        request: Request<ListRestorePointsRequest>,
    ) -> Result<Response<ListRestorePointsResponse>, Status> {
        let request = request.into_inner();
        let paging = Paging::parse(request.page, parse_key)?;
        self.fresh(request.stale).await?;
        let state = self.brain.read();
        let wanted = |point: &RestorePointRow| {
            (request.client.is_empty() || point.client.as_str() == request.client)
                && (request.policy.is_empty() || point.policy.as_str() == request.policy)
        };
        let mut rows: Vec<_> = state
            .restore_points()
            .filter(|(_, point)| wanted(point))
            .collect();
        rows.sort_by_key(|(id, point)| std::cmp::Reverse((point.time, **id)));
        let rows = rows.into_iter().filter(|(id, point)| {
            paging
                .after
                .as_ref()
                .is_none_or(|after| (point.time, **id) < *after)
        });
        let (rows, next_page_token) = paging.take(rows, |(id, point)| format!("{}.{id}", point.time.0));
        let restore_points = rows
            .into_iter()
            .map(|(id, point)| view::job::restore_point(id, point))
            .collect();
        Ok(Response::new(ListRestorePointsResponse {
            restore_points,
            next_page_token,
        }))
    }

    async fn list_files(
        &self,
        request: Request<ListFilesRequest>,
    ) -> Result<Response<Self::ListFilesStream>, Status> {
        let request = request.into_inner();
        self.fresh(false).await?;
        let id = self.find_restore_point(&request.restore_point)?;
        let (agent, asked) = self.who_reads(&id, request.path)?;
        let question = question::Body::ListFiles(asked);
        let answers = self
            .registry
            .ask(&agent, question)
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let (sender, receiver) = mpsc::channel(4);
        let asker = sender.clone();
        self.tasks.serving(
            "list files",
            pass_on(answers, sender, agent),
            move |_| async move {
                let _ = asker.send(Err(errors::panicked())).await;
            },
        );
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

fn parse_key(token: &str) -> Option<(Timestamp, SnapshotId)> {
    let (time, id) = token.split_once('.')?;
    Some((Timestamp(time.parse().ok()?), id.parse().ok()?))
}

impl Api {
    /// The one restore point whose id begins with `prefix`.
    pub(super) fn find_restore_point(&self, prefix: &str) -> Result<SnapshotId, Status> {
        let prefix = prefix.to_ascii_lowercase();
        if prefix.len() < SHORTEST_PREFIX || !prefix.bytes().all(|b| b.is_ascii_hexdigit()) {
            let text = format!(
                "restore_point: {prefix:?} is not the beginning of an id ({SHORTEST_PREFIX} or more hex digits)"
            );
            return Err(Status::invalid_argument(text));
        }
        let state = self.brain.read();
        let mut found = state
            .restore_points()
            .map(|(id, _)| *id)
            .filter(|id| id.to_string().starts_with(&prefix));
        match (found.next(), found.next()) {
            (Some(id), None) => Ok(id),
            (None, _) => Err(errors::not_found("restore point", &prefix)),
            (Some(_), Some(_)) => Err(Status::invalid_argument(format!(
                "restore_point: {prefix} begins several ids"
            ))),
        }
    }

    /// A connected media agent that reaches the restore point, and what it is asked.
    fn who_reads(&self, id: &SnapshotId, path: String) -> Result<(AgentName, ListFilesQuestion), Status> {
        let state = self.brain.read();
        let point = state
            .restore_point(id)
            .ok_or_else(|| errors::not_found("restore point", &id.to_string()))?;
        let asked = ListFilesQuestion {
            snapshot: id.to_wire(),
            path: if path.is_empty() { point.item.clone() } else { path },
            content: Some(content(&state, point)),
        };
        let agents = state
            .storage_unit(&point.storage_unit)
            .map(|unit| unit.media_agents.as_slice())
            .unwrap_or_default();
        let presence = self.registry.presence();
        let agent = agents
            .iter()
            .find(|agent| presence.connected.contains_key(agent))
            .cloned();
        let agent = agent.ok_or_else(|| {
            let text = format!(
                "no media agent that reaches storage unit \"{}\" is connected",
                point.storage_unit
            );
            let code = StatusCode::STORAGE_UNIT_NOT_AVAILABLE.0.into();
            status(
                Code::FailedPrecondition,
                text,
                &ErrorDetail {
                    code,
                    ..Default::default()
                },
            )
        })?;
        Ok((agent, asked))
    }
}

/// Hands the agent's answers to the caller.
async fn pass_on(
    mut answers: Asked,
    sender: mpsc::Sender<Result<ListFilesResponse, Status>>,
    agent: AgentName,
) {
    loop {
        let answer = match tokio::time::timeout(ANSWER_WITHIN, answers.next()).await {
            Ok(answer) => answer,
            Err(_) => {
                let text = format!(
                    "media agent \"{agent}\" did not answer within {} s; does its storage unit hang?",
                    ANSWER_WITHIN.as_secs()
                );
                let code = StatusCode::STORAGE_UNIT_NOT_AVAILABLE.0.into();
                let detail = ErrorDetail {
                    code,
                    ..Default::default()
                };
                // Whoever asked may have gone meanwhile.
                let _ = sender
                    .send(Err(status(Code::FailedPrecondition, text, &detail)))
                    .await;
                return;
            }
        };
        let (message, last) = match answer {
            Some(Answer {
                body: Some(answer::Body::Files(files)),
                last,
                ..
            }) => (Ok(files), last),
            Some(Answer {
                body: Some(answer::Body::Error(error)),
                ..
            }) => {
                let code = match StatusCode(u16::try_from(error.code).unwrap_or(0)) {
                    StatusCode::NO_SUCH_PATH => Code::NotFound,
                    _ => Code::FailedPrecondition,
                };
                let detail = ErrorDetail {
                    code: error.code,
                    ..Default::default()
                };
                (Err(status(code, error.text, &detail)), true)
            }
            // Of a newer version, or of another question.
            Some(Answer { last, .. }) => (Ok(ListFilesResponse::default()), last),
            None => (
                Err(Status::aborted(format!(
                    "the answer of media agent \"{agent}\" broke off: it went away, or what it said was not read in time"
                ))),
                true,
            ),
        };
        if sender.send(message).await.is_err() || last {
            return;
        }
    }
}
