//! `job cancel` (S-05, S-12a, X-09). A queued job ends at once; of an active one its media agent is told, and says when it has ended.

use outlast_proto::words::{
    Attempt, CompletionStatus, Counters, JobEvent, JobId, Severity, StatusCode, Timestamp,
};

use super::{Context, Outcome};
use crate::reply::{Refusal, Reply};
use crate::rows::{History, HistoryItem, Job};
use crate::state::ClusterState;

impl ClusterState {
    pub(super) fn cancel_job(&mut self, id: JobId, by: &str, context: Context<'_>) -> Outcome {
        let job = self.jobs.get(&id).ok_or(Refusal::NoSuchJob { job: id })?;
        if let Some((status, _)) = job.status {
            return Err(Refusal::JobDone { job: id, status });
        }
        if let Ok(state) = job.state.next(JobEvent::EndedUnstarted) {
            let text = format!("canceled by {by} while it was {}", job.state);
            // A job's status is that of its last attempt: one that had some gets one more, which never began.
            let attempt = match job.last_attempt {
                Attempt(0) => Attempt(0),
                last => last.next(),
            };
            let history = self.unstarted(job, context.at);
            self.close_superseded(id);
            self.say(id, context.at, Severity::Info, context.by, text);
            self.change_job(id, |job| {
                job.state = state;
                (job.follow_up.waits, job.follow_up.hold) = (None, None);
                job.last_attempt = attempt;
                job.status = Some((CompletionStatus::Canceled, StatusCode::CANCELED));
                job.ended_at = Some(context.at);
            });
            self.add_history(id, attempt, history);
        } else if let Ok(state) = job.state.next(JobEvent::StopOrdered) {
            let text = format!("canceled by {by}; the media agent is told");
            self.say(id, context.at, Severity::Info, context.by, text);
            self.change_job(id, |job| job.state = state);
            self.cancel_lost(id, context.at);
        }
        Ok(Reply::Done)
    }
    /// The history of an attempt that nobody began.
    fn unstarted(&self, job: &Job, at: Timestamp) -> History {
        let items = self.items_of(job.id).map(|(_, row)| HistoryItem {
            path: row.path.clone(),
            outcome: row.outcome,
            restore_point: row.restore_point,
            started_at: None,
            ended_at: None,
            counters: Counters::default(),
            error: None,
        });
        History {
            media_agent: None,
            client: job.client.clone(),
            status: CompletionStatus::Canceled,
            code: StatusCode::CANCELED,
            stopped: None,
            error: None,
            started_at: None,
            ended_at: at,
            counters: Counters::default(),
            items: items.collect(),
            exceptions: Vec::new(),
            progress: None,
            storage: None,
            made_room: false,
        }
    }
}
