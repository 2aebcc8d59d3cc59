//! What people do with jobs that do not run: `job hold`, `release`, `resume`, `restart` (T-07, T-10, E-04). `cancel` has a room of its own.

use outlast_proto::words::{JobEvent, JobId, JobNonce, JobState, Severity};

use super::{Context, Outcome};
use crate::actions::actions;
use crate::reply::{Refusal, Reply};
use crate::rows::{Hold, Job, JobTask};
use crate::state::ClusterState;

impl ClusterState {
    /// The job, if its state allows what is asked for.
    fn allowing(&self, id: JobId, action: &str, done: &str) -> Result<&Job, Refusal> {
        if !self.has_rules() {
            return Err(Refusal::TooOld);
        }
        let job = self.jobs.get(&id).ok_or(Refusal::NoSuchJob { job: id })?;
        let possible = actions(job);
        if possible.contains(&action) {
            return Ok(job);
        }
        Err(Refusal::NotPossible {
            job: id,
            state: job.state,
            what: done.to_owned(),
            possible: possible.iter().map(|action| (*action).to_owned()).collect(),
        })
    }

    pub(super) fn hold_job(&mut self, id: JobId, by: &str, context: Context<'_>) -> Outcome {
        if self.jobs.get(&id).is_some_and(|job| job.state == JobState::Held) {
            return Ok(Reply::Done);
        }
        let was = self.allowing(id, "hold", "held")?.state;
        let hold = Hold {
            since: context.at,
            by: by.to_owned(),
            why: String::new(),
            was,
        };
        let text = format!("held by {by} while it was {was}; outlast job release {id} lets it go on");
        self.say(id, context.at, Severity::Info, context.by, text);
        self.change_job(id, |job| {
            if let Ok(state) = job.state.next(JobEvent::HeldBack) {
                job.state = state;
                job.follow_up.hold = Some(hold);
            }
        });
        Ok(Reply::Done)
    }

    pub(super) fn release_job(&mut self, id: JobId, by: &str, context: Context<'_>) -> Outcome {
        let job = self.allowing(id, "release", "released")?;
        let was = job.follow_up.hold.as_ref().map(|hold| hold.was);
        let text = format!("released by {by}");
        let time = self.policy_of(job).map(|policy| policy.retry.incomplete_for());
        self.say(id, context.at, Severity::Info, context.by, text);
        let event = match was {
            Some(JobState::Incomplete) => JobEvent::LeftIncomplete,
            Some(JobState::WaitingForRetry) => JobEvent::RetryAwaited,
            _ => {
                self.queue_again(id, |job| job.follow_up.begin_anew());
                return Ok(Reply::Done);
            }
        };
        self.change_job(id, |job| {
            if let (Ok(state), Some(waits)) = (job.state.next(event), &mut job.follow_up.waits) {
                job.state = state;
                job.follow_up.hold = None;
                // What it was held is no time in which it could have gone on.
                let left = time.map_or(waits.until, |time| context.at.plus(time));
                waits.until = waits.until.max(left);
            }
        });
        Ok(Reply::Done)
    }

    /// The next attempt begins now; that is none of the tries of a rule.
    pub(super) fn resume_job(&mut self, id: JobId, by: &str, context: Context<'_>) -> Outcome {
        let state = self.allowing(id, "resume", "resumed")?.state;
        let text = format!("resumed by {by} while it was {state}");
        self.say(id, context.at, Severity::Info, context.by, text);
        self.queue_again(id, |job| job.follow_up.begin_anew());
        Ok(Reply::Done)
    }

    pub(super) fn restart_job(
        &mut self,
        id: JobId,
        by: &str,
        nonce: JobNonce,
        context: Context<'_>,
    ) -> Outcome {
        let job = self.allowing(id, "restart", "restarted")?;
        let (policy, client, task, is_done) = (
            job.policy.clone(),
            job.client.clone(),
            job.task.clone(),
            job.state == JobState::Done,
        );
        let reply = match task {
            JobTask::Backup { full } => self.submit_backup(&policy, Some(&client), (full, nonce), context)?,
            JobTask::Restore { request, .. } => self.submit_restore(&request, nonce, context)?,
        };
        let new = match &reply {
            Reply::Submitted { jobs } => jobs.first().copied(),
            _ => None,
        };
        if let Some(new) = new {
            let text = format!("restarted by {by} as job {new}");
            self.say(id, context.at, Severity::Info, context.by, text);
            let text = format!("does again what job {id} was to do");
            self.say(new, context.at, Severity::Info, context.by, text);
        }
        // Two of them would do the same.
        if !is_done && !self.end_as_last(id, context.at) {
            self.cancel_job(id, by, context)?;
        }
        Ok(reply)
    }
}
