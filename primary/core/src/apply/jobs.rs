//! Jobs from submission to dispatch.

use outlast_proto::words::{
    AgentAdmin, AgentName, Attempt, AttemptId, ItemNumber, JobEvent, JobId, JobNonce, JobState, PolicyName,
    Severity,
};

use super::{Context, JOBS_SAY_BY_WHOM, Outcome};
use crate::entry::RestoreRequest;
use crate::reply::{Refusal, Reply};
use crate::rows::{Agent, FollowUp, ItemRow, Job, JobTask, OpenAttempt, Phase};
use crate::state::ClusterState;

/// The priority of a job nobody gave one (T-06).
const DEFAULT_PRIORITY: u32 = 50_000;

impl ClusterState {
    pub(super) fn submit_backup(
        &mut self,
        policy: &PolicyName,
        client: Option<&AgentName>,
        (full, nonce): (bool, JobNonce),
        context: Context<'_>,
    ) -> Outcome {
        let (row, revision) = self
            .policy(policy)
            .ok_or_else(|| Refusal::NoSuchPolicy { name: policy.clone() })?;
        let clients = match client {
            Some(client) if row.clients.contains(client) => vec![client.clone()],
            Some(client) => {
                return Err(Refusal::ClientNotInPolicy {
                    policy: policy.clone(),
                    client: client.clone(),
                });
            }
            None => row.clients.clone(),
        };
        let template = NewJob {
            policy: policy.clone(),
            revision,
            pool: row.pool.clone(),
            task: JobTask::Backup { full },
            nonce,
            items: row.items.clone(),
        };
        let jobs = clients
            .into_iter()
            .map(|client| self.create_job(template.clone(), client, context))
            .collect();
        Ok(Reply::Submitted { jobs })
    }

    pub(super) fn submit_restore(
        &mut self,
        request: &RestoreRequest,
        nonce: JobNonce,
        context: Context<'_>,
    ) -> Outcome {
        let id = request.restore_point;
        let point = self
            .restore_points
            .get(&id)
            .ok_or(Refusal::NoSuchRestorePoint { id })?;
        if let Some(since) = point.lost {
            return Err(Refusal::RestorePointLost { id, since });
        }
        let invalid = |field: &str, reason: &str| {
            Err(Refusal::InvalidRequest {
                field: field.to_owned(),
                reason: reason.to_owned(),
            })
        };
        if !request.to.starts_with('/') || request.to.contains('\0') {
            return invalid("to", "is the absolute path of a folder on the client");
        }
        if request.paths.iter().any(|path| !path.starts_with('/')) {
            return invalid("paths", "are absolute, as restore-point ls shows them");
        }
        let client = request.client.clone().unwrap_or_else(|| point.client.clone());
        if self.client(&client).is_none() {
            return Err(Refusal::NoSuchClient { name: client });
        }
        let made_by = self.jobs.get(&point.job);
        let template = NewJob {
            policy: point.policy.clone(),
            revision: made_by.map_or(0, |job| job.revision),
            pool: self
                .pool_of_unit(&point.storage_unit)
                .or(made_by.map(|job| job.pool.clone()))
                .ok_or_else(|| Refusal::InvalidRequest {
                    field: "restore_point".into(),
                    reason: format!("no media agent reaches storage unit \"{}\"", point.storage_unit),
                })?,
            task: JobTask::Restore {
                request: request.clone(),
                storage_unit: point.storage_unit.clone(),
            },
            nonce,
            items: vec![point.item.clone()],
        };
        let job = self.create_job(template, client, context);
        Ok(Reply::Submitted { jobs: vec![job] })
    }

    fn pool_of_unit(
        &self,
        unit: &outlast_proto::words::StorageUnitName,
    ) -> Option<outlast_proto::words::PoolName> {
        let agent = self.storage_units.get(unit)?.media_agents.first()?;
        Some(self.agents.get(agent)?.media.as_ref()?.pool.clone())
    }

    fn create_job(&mut self, new: NewJob, client: AgentName, context: Context<'_>) -> JobId {
        let id = self.take_job_id();
        let nonce = if self.has_nonces() {
            new.nonce
        } else {
            JobNonce::NONE
        };
        for (number, path) in (0..).map(ItemNumber).zip(new.items) {
            self.items.insert((id, number), ItemRow::new(path));
        }
        self.add_job(Job {
            id,
            nonce,
            policy: new.policy,
            revision: new.revision,
            pool: new.pool,
            client,
            task: new.task,
            priority: DEFAULT_PRIORITY,
            created_at: context.at,
            started_at: None,
            ended_at: None,
            state: JobState::Queued,
            version: 1,
            status: None,
            last_attempt: Attempt(0),
            resilient: None,
            running: None,
            details: 0,
            by: context.asked_by.filter(|_| self.says_by_whom()).cloned(),
            follow_up: FollowUp::default(),
        });
        self.say(id, context.at, Severity::Info, context.by, "submitted".into());
        id
    }

    /// Whether something of this nonce is about the job, and not about another of the same number (S-12b).
    pub(super) fn is_same(&self, job: &Job, nonce: JobNonce) -> bool {
        job.nonce == nonce || !self.has_nonces()
    }

    pub(super) fn says_by_whom(&self) -> bool {
        self.cluster()
            .is_some_and(|cluster| cluster.version >= JOBS_SAY_BY_WHOM)
    }

    /// What the primary of this name said of its version; empty: nothing.
    fn version_of(&self, primary: &str) -> String {
        self.present_members()
            .find(|(_, member)| member.name == primary)
            .and_then(|(_, member)| member.facts.as_ref())
            .map(|facts| facts.version.clone())
            .unwrap_or_default()
    }

    fn take_job_id(&mut self) -> JobId {
        let after_last = self
            .jobs
            .iter()
            .next_back()
            .map_or(JobId(1), |(id, _)| JobId(id.0 + 1));
        let Some(cluster) = self.cluster.get_mut(&()) else {
            return after_last;
        };
        let id = cluster.next_job.max(after_last);
        cluster.next_job = JobId(id.0 + 1);
        id
    }

    pub(super) fn dispatch_job(
        &mut self,
        id: JobId,
        version: u64,
        media_agent: &AgentName,
        context: Context<'_>,
    ) -> Outcome {
        let job = self.jobs.get(&id).ok_or(Refusal::NoSuchJob { job: id })?;
        let Ok(state) = job.state.next(JobEvent::Dispatched) else {
            return Err(Refusal::Outdated);
        };
        // Since that was decided it may have been drained.
        let is_open = |agent: &Agent| agent.admin == AgentAdmin::Enabled || !self.has_rules();
        let agent = self.agents.get(media_agent);
        let reaches = agent.is_some_and(|agent| agent.media.is_some() && is_open(agent));
        if job.version != version || !reaches {
            return Err(Refusal::Outdated);
        }
        let attempt = job.last_attempt.next();
        let reasons = self.why_not_resilient(job, media_agent);
        let primary_version = self.version_of(context.by);
        self.change_job(id, |job| {
            job.state = state;
            job.last_attempt = attempt;
            job.resilient = (!reasons.is_empty()).then_some(false);
            job.started_at.get_or_insert(context.at);
        });
        let open = OpenAttempt {
            attempt,
            media_agent: media_agent.clone(),
            started_at: context.at,
            resilient: reasons.is_empty(),
            primary_version,
            client_admitted: false,
            marked: false,
            checkpoint: None,
            exceptions: 0,
            phase: Phase::Running,
            drained: None,
            client_start: None,
            loss: None,
        };
        self.open_attempt_of(id, open);
        let text = format!("attempt {attempt} was given to media agent {media_agent}");
        self.say(id, context.at, Severity::Info, context.by, text);
        if !reasons.is_empty() {
            let text = format!("job is not resilient: {}", reasons.join("; "));
            self.say(id, context.at, Severity::Info, context.by, text);
        }
        Ok(Reply::Done)
    }

    pub(super) fn record_admission(&mut self, id: AttemptId) -> Outcome {
        let job = self.jobs.get(&id.job).ok_or(Refusal::NoSuchJob { job: id.job })?;
        if !self.is_same(job, id.nonce) {
            return Err(Refusal::Outdated);
        }
        let running = self.running_of(job).filter(|open| open.attempt == id.attempt);
        if !running.ok_or(Refusal::Outdated)?.client_admitted {
            if let Some(running) = self.running_mut(id.job) {
                running.client_admitted = true;
            }
            self.touch_job(id.job);
        }
        Ok(Reply::Done)
    }
}

/// What all jobs of one submission have in common.
#[derive(Clone)]
struct NewJob {
    policy: PolicyName,
    revision: u32,
    pool: outlast_proto::words::PoolName,
    task: JobTask,
    nonce: JobNonce,
    items: Vec<String>,
}
