//! `Jobs`.

use outlast_core::entry::{Asker, RestoreRequest as RestoreCommand};
use outlast_core::rows::Job;
use outlast_core::{Command, Refusal, Reply};
use outlast_kit::identity::Identity;
use outlast_proto::v1::jobs_server::Jobs;
use outlast_proto::v1::{
    self, CancelJobRequest, ChangeJobRequest, GetJobLogRequest, GetJobRequest, JobDetails, JobLog,
    ListJobsRequest, ListJobsResponse, RestoreRequest, RunJobRequest, RunJobResponse,
};
use outlast_proto::words::{AgentName, Attempt, CompletionStatus, JobId, JobState, Overwrite, Timestamp};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::page::Paging;
use super::{Api, unexpected, watch};
use crate::brain::draw_nonce;
use crate::view::{self, errors};

#[tonic::async_trait]
impl Jobs for Api {
    type WatchStream = ReceiverStream<Result<v1::Job, Status>>;

    async fn run(&self, request: Request<RunJobRequest>) -> Result<Response<RunJobResponse>, Status> {
        let by = asker(&request)?;
        let request = request.into_inner();
        let policy = request
            .policy
            .parse()
            .map_err(|_| errors::not_found("policy", &request.policy))?;
        let command = Command::SubmitBackup {
            policy,
            client: client(&request.client)?,
            full: request.full,
            nonce: draw_nonce(),
        };
        self.submitted(by, request.request_id, command).await
    }

    async fn restore(&self, request: Request<RestoreRequest>) -> Result<Response<RunJobResponse>, Status> {
        let by = asker(&request)?;
        let request = request.into_inner();
        self.fresh(false).await?;
        let command = RestoreCommand {
            restore_point: self.find_restore_point(&request.restore_point)?,
            paths: request.paths,
            to: request.to,
            client: client(&request.client)?,
            overwrite: Overwrite::from_wire(request.overwrite).unwrap_or(Overwrite::Never),
        };
        let command = Command::SubmitRestore {
            request: command,
            nonce: draw_nonce(),
        };
        self.submitted(by, request.request_id, command).await
    }

    async fn cancel(&self, request: Request<CancelJobRequest>) -> Result<Response<v1::Job>, Status> {
        let by = identity(&request)?;
        let request = request.into_inner();
        let job = request
            .id
            .parse()
            .map_err(|_| errors::not_found("job", &request.id))?;
        self.submit(request.request_id, Command::CancelJob { job, by })
            .await?;
        self.with_job(&request.id, |job| self.view(job))
            .map(Response::new)
    }

    async fn hold(&self, request: Request<ChangeJobRequest>) -> Result<Response<v1::Job>, Status> {
        self.change(request, |job, by| Command::HoldJob { job, by }).await
    }

    async fn release(&self, request: Request<ChangeJobRequest>) -> Result<Response<v1::Job>, Status> {
        self.change(request, |job, by| Command::ReleaseJob { job, by })
            .await
    }

    async fn resume(&self, request: Request<ChangeJobRequest>) -> Result<Response<v1::Job>, Status> {
        self.change(request, |job, by| Command::ResumeJob { job, by })
            .await
    }

    async fn restart(&self, request: Request<ChangeJobRequest>) -> Result<Response<RunJobResponse>, Status> {
        let (asker, by) = (asker(&request)?, identity(&request)?);
        let request = request.into_inner();
        let job = self.changeable(&request.id)?;
        let nonce = draw_nonce();
        self.submitted(asker, request.request_id, Command::RestartJob { job, by, nonce })
            .await
    }

    async fn get(&self, request: Request<GetJobRequest>) -> Result<Response<v1::Job>, Status> {
        let request = request.into_inner();
        self.fresh(request.stale).await?;
        self.with_job(&request.id, |job| self.view(job))
            .map(Response::new)
    }

    async fn list(&self, request: Request<ListJobsRequest>) -> Result<Response<ListJobsResponse>, Status> {
        let request = request.into_inner();
        let paging = Paging::parse(request.page, |token| token.parse::<JobId>().ok())?;
        let state_is = JobState::from_wire(request.state);
        let status_is = CompletionStatus::from_wire(request.status);
        let since = request.since.as_ref().map(Timestamp::from);
        self.fresh(request.stale).await?;
        let state = self.brain.read();
        let (presence, now) = (self.registry.presence(), self.brain.clock().now());
        let rows = state
            .jobs_before(paging.after)
            .take_while(|job| since.is_none_or(|since| job.created_at >= since))
            .filter(|job| state_is.is_none_or(|wanted| job.state == wanted))
            .filter(|job| {
                status_is.is_none_or(|wanted| job.status.is_some_and(|(status, _)| status == wanted))
            })
            .filter(|job| request.policy.is_empty() || job.policy.as_str() == request.policy);
        let (rows, next_page_token) = paging.take(rows, |job| job.id.to_string());
        let jobs = rows
            .into_iter()
            .map(|job| view::job::message(&state, &presence, (&self.live, now), job))
            .collect();
        Ok(Response::new(ListJobsResponse {
            jobs,
            next_page_token,
        }))
    }

    async fn details(&self, request: Request<GetJobRequest>) -> Result<Response<JobDetails>, Status> {
        let request = request.into_inner();
        self.fresh(request.stale).await?;
        let details = self.with_job(&request.id, |job| {
            self.brain
                .read()
                .details_of(job.id)
                .map(view::job::detail)
                .collect()
        })?;
        Ok(Response::new(JobDetails { details }))
    }

    async fn log(&self, request: Request<GetJobLogRequest>) -> Result<Response<JobLog>, Status> {
        let request = request.into_inner();
        self.fresh(request.stale).await?;
        let log = self.with_job(&request.id, |job| {
            let attempt = request.attempt.map_or(job.last_attempt, Attempt);
            let log = view::job_log::message(&self.brain.read(), job, attempt);
            log.ok_or_else(|| match attempt {
                Attempt(0) => Status::not_found(format!("job {} has no attempt yet, so no log", job.id)),
                attempt => Status::not_found(format!("job {} has no attempt {attempt}", job.id)),
            })
        })??;
        Ok(Response::new(log))
    }

    async fn watch(&self, request: Request<GetJobRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        self.fresh(request.stale).await?;
        let id = self.with_job(&request.id, |job| job.id)?;
        Ok(Response::new(watch::start(self, id)))
    }
}

impl Api {
    /// A person's wish about a job that does not run.
    async fn change(
        &self,
        request: Request<ChangeJobRequest>,
        command: impl FnOnce(JobId, String) -> Command,
    ) -> Result<Response<v1::Job>, Status> {
        let by = identity(&request)?;
        let request = request.into_inner();
        let job = self.changeable(&request.id)?;
        self.submit(request.request_id, command(job, by)).await?;
        self.with_job(&request.id, |job| self.view(job))
            .map(Response::new)
    }

    /// Members of before stop at what they do not know.
    fn changeable(&self, id: &str) -> Result<JobId, Status> {
        if !self.brain.read().has_rules() {
            return Err(errors::of_refusal(&Refusal::TooOld));
        }
        id.parse().map_err(|_| errors::not_found("job", id))
    }

    async fn submitted(
        &self,
        by: Asker,
        request_id: String,
        command: Command,
    ) -> Result<Response<RunJobResponse>, Status> {
        match self.submit_by(Some(by), request_id, command).await? {
            Reply::Submitted { jobs } => Ok(Response::new(RunJobResponse {
                ids: jobs.iter().map(ToString::to_string).collect(),
            })),
            reply => Err(unexpected(&reply)),
        }
    }

    /// Calls `f` with a job, on a copy: the state is not held while it looks around.
    fn with_job<T>(&self, id: &str, f: impl FnOnce(&Job) -> T) -> Result<T, Status> {
        let job = id
            .parse::<JobId>()
            .ok()
            .and_then(|id| self.brain.read().job(id).cloned());
        job.map(|job| f(&job)).ok_or_else(|| errors::not_found("job", id))
    }

    pub(super) fn view(&self, job: &Job) -> v1::Job {
        let presence = self.registry.presence();
        let state = self.brain.read();
        let now = self.brain.clock().now();
        let mut message = view::job::message(&state, &presence, (&self.live, now), job);
        let last_seen = |agent: &AgentName| self.registry.last_seen(agent);
        message.unknown = view::job::unknown(&self.live, &state, job, last_seen);
        if let (Some(unknown), Some(running)) = (&message.unknown, state.running_of(job)) {
            message.waiting = Some(view::job::waiting_for_unknown(&running.media_agent, unknown));
        }
        message
    }
}

/// Who sent a request, to be written down with what it asks for.
pub(super) fn asker<T>(request: &Request<T>) -> Result<Asker, Status> {
    let identity = Identity::of_peer(request).map_err(|error| Status::unauthenticated(error.to_string()))?;
    Ok(Asker {
        kind: identity.kind.word().to_owned(),
        name: identity.name,
    })
}

/// Who sent a request, for a job's details.
fn identity<T>(request: &Request<T>) -> Result<String, Status> {
    let identity = Identity::of_peer(request).map_err(|error| Status::unauthenticated(error.to_string()))?;
    Ok(identity.to_string())
}

fn client(name: &str) -> Result<Option<AgentName>, Status> {
    if name.is_empty() {
        return Ok(None);
    }
    name.parse()
        .map(Some)
        .map_err(|_| errors::not_found("client", name))
}
