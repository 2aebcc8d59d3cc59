//! An attempt whose media agent has no communication any more ends `recovered` (C-03, S-08); what follows, the Recovered Jobs rule says (C-06).
//!
//! When that is right, [`crate::contact`] says. As with failover the agent is fenced, and the next attempt looks what there is.

use outlast_proto::words::{Attempt, CompletionStatus, Counters, ItemOutcome, JobId, Severity, StatusCode};

use super::attempts::end_of;
use super::{Context, Outcome};
use crate::reply::{Refusal, Reply};
use crate::rules;
use crate::state::ClusterState;

impl ClusterState {
    pub(super) fn recover_attempt(
        &mut self,
        (id, version, attempt): (JobId, u64, Attempt),
        why: &str,
        last_progress: Option<Counters>,
        context: Context<'_>,
    ) -> Outcome {
        let running = self.still_running((id, version, attempt), self.has_rules())?;
        let media_agent = running.media_agent.clone();
        let job = self.jobs.get(&id).ok_or(Refusal::NoSuchJob { job: id })?;
        let state = job.state;
        let (at, by) = (context.at, context.by);
        let follows = self.after_recovered(job, at);
        self.owe_fence(&media_agent, id, attempt);
        let Ok(next) = state.next(follows.event()) else {
            // It was to stop: what it has finished stays.
            self.interrupt_attempt(id, last_progress, why.to_owned(), at);
            return Ok(Reply::Done);
        };
        if rules::recovered_jobs(self).is_none() {
            // E-05: nothing follows it.
            let text = format!("{why}, and the rule Recovered Jobs is switched off");
            self.say(id, at, Severity::Error, by, text.clone());
            let counters = last_progress.unwrap_or_default();
            let end = end_of(StatusCode::CONNECTION_BROKEN, &text, counters, None);
            self.close_attempt(id, end, at);
            return Ok(Reply::Done);
        }
        let text = format!(
            "attempt {attempt} on media agent {media_agent} ends recovered: there is no communication with it; {why}"
        );
        self.say(id, at, Severity::Warning, by, text);
        let status = (CompletionStatus::Recovered, StatusCode::RECOVERED);
        self.lay_aside((id, attempt), status, (why, last_progress), at);
        self.leave_items(id, next, ItemOutcome::Stopped);
        self.set_next(id, next, &follows, context);
        Ok(Reply::Done)
    }
}
