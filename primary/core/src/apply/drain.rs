//! Attempts on a media agent that is drained: what is decided of them, and their end (C-08b).
//!
//! What is decided is [`crate::drain`]'s.

use outlast_proto::words::{AgentAdmin, AgentName, Attempt, Counters, JobId, JobState, Severity, Timestamp};

use super::{Context, Outcome};
use crate::reply::{Refusal, Reply};
use crate::rows::Drained;
use crate::state::ClusterState;

impl ClusterState {
    pub(super) fn decide_drained(
        &mut self,
        id: JobId,
        attempt: Attempt,
        drained: &Drained,
        context: Context<'_>,
    ) -> Outcome {
        let job = self.jobs.get(&id).ok_or(Refusal::NoSuchJob { job: id })?;
        let running = self.running_of(job).filter(|open| open.attempt == attempt);
        let open = running.filter(|open| !open.moves() && open.drained.as_ref() != Some(drained));
        let is_drained = open.is_some_and(|open| {
            let agent = self.agents.get(&open.media_agent);
            agent.is_some_and(|agent| agent.admin == AgentAdmin::Draining)
        });
        let Some(open) = open.filter(|_| self.has_rules() && is_drained && job.state != JobState::Stopping)
        else {
            return Err(Refusal::Outdated);
        };
        let agent = &open.media_agent;
        let text = match drained {
            Drained::Moves => format!(
                "media agent {agent} is drained: attempt {attempt} makes a checkpoint there and ends, and the job goes on on another one"
            ),
            Drained::Stays { why } => {
                format!("media agent {agent} is drained, and attempt {attempt} finishes there: {why}")
            }
        };
        self.say(id, context.at, Severity::Info, context.by, text);
        if let Some(running) = self.running_mut(id) {
            running.drained = Some(drained.clone());
        }
        self.touch_job(id);
        Ok(Reply::Done)
    }

    /// The agent is drained no more. Attempts that were told to leave may have left; the others stay.
    pub(super) fn forget_drained(&mut self, agent: &AgentName) {
        let jobs: Vec<JobId> = self.running_on(agent).map(|job| job.id).collect();
        for id in jobs {
            let Some(running) = self.running_mut(id).filter(|open| open.media_agent == *agent) else {
                continue;
            };
            if running.drained.take().is_some() {
                self.touch_job(id);
            }
        }
    }

    /// The running attempt made its checkpoint and ended, as it was told. Nothing went wrong: however often that happens, the job is not given up for it
    /// (E-05).
    pub(super) fn made_room(
        &mut self,
        id: JobId,
        counters: Counters,
        reason: &str,
        (host, at): (&str, Timestamp),
    ) {
        let Some(job) = self.jobs.get(&id) else { return };
        let running = self.running_of(job).map(|open| open.attempt);
        let Some(attempt) = running.filter(|_| job.state != JobState::Stopping) else {
            return self.interrupt_attempt(id, Some(counters), reason.to_owned(), at);
        };
        self.say(
            id,
            at,
            Severity::Info,
            host,
            format!("attempt {attempt} made room: {reason}"),
        );
        let progress = self.unfinished_bytes(id, attempt, &counters);
        let end = self.moved_on(id, (reason.to_owned(), Some(counters)), at);
        self.close_onward(id, end, at);
        if let Some(history) = self.histories.get_mut(&(id, attempt)) {
            (history.made_room, history.progress) = (true, Some(progress));
        }
    }
}
