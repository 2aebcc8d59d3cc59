//! How the end that a media agent reports is taken: for good, or, where only its storage failed, as a move to another one (F-18).

use outlast_proto::words::{
    AgentName, CompletionStatus, JobId, JobState, Severity, StatusCode, StorageFault, Timestamp, UnitState,
};

use super::attempts::{End, end_of};
use crate::dispatch::{Blamed, blamed, need_of};
use crate::event::{EventKind, JobError, JournalEvent};
use crate::rows::Job;
use crate::state::ClusterState;

impl ClusterState {
    /// The running attempt is over, as its media agent says.
    pub(super) fn take_end(&mut self, event: &JournalEvent, host: &str, at: Timestamp) {
        let EventKind::Ended {
            code,
            text,
            counters,
            stopped,
            storage,
        } = &event.what
        else {
            return;
        };
        let (job, attempt) = (event.job, event.attempt);
        let storage = storage
            .or_else(|| storage_fault(*code))
            .filter(|_| self.has_rules());
        let lost = self.jobs.get(&job).and_then(|row| self.running_of(row));
        let lost = lost.map(|open| open.media_agent.clone());
        if let Some((fault, lost)) = storage.zip(lost.as_ref()) {
            self.note_fault(lost, fault, text, at);
        }
        let moved = storage.and_then(|fault| self.elsewhere(job, fault));
        let counters = self.known_numbers(*counters);
        let end = match moved {
            Some(next) => self.move_elsewhere(job, (*code, text), &next, at),
            None => end_of(self.over_all_items(job, *code), text, counters, *stopped),
        };
        let end = End { counters, ..end };
        self.say_end(event, &end, host, at);
        self.close_attempt(job, end, at);
        if let Some(history) = self.histories.get_mut(&(job, attempt)) {
            history.storage = storage;
        }
    }

    /// Another media agent that can take a job whose attempt ended by this fault. A job moves once for storage; what every agent of the unit would
    /// meet moves to another unit only.
    fn elsewhere(&self, id: JobId, fault: StorageFault) -> Option<AgentName> {
        let job = self.jobs.get(&id)?;
        let pool = self.pools.get(&job.pool).filter(|pool| pool.fails_over())?;
        let blamed = blamed(self, job);
        if job.state != JobState::Active || blamed.has_moved(self, id) || !self.may_go_on(id) {
            return None;
        }
        let lost = &self.running_of(job)?.media_agent;
        let unit = self.unit_of_agent(lost)?;
        let is_candidate = |name: &&AgentName| *name != lost && self.could_take(job, name, &blamed);
        let others = pool.media_agents.iter().filter(is_candidate);
        let (near, far): (Vec<_>, Vec<_>) = others.partition(|name| self.unit_of_agent(name) == Some(unit));
        let near = match fault {
            StorageFault::AtThisAgent => near.first(),
            StorageFault::Full | StorageFault::OfTheUnit => None,
        };
        near.or(far.first()).map(|name| (*name).clone())
    }

    /// By what is replicated: whether it is here, only its leader knows.
    fn could_take(&self, job: &Job, name: &AgentName, blamed: &Blamed) -> bool {
        let is_usable = self.agent(name).is_some_and(crate::rows::Agent::is_usable);
        let Some(unit) = self.unit_of_agent(name).filter(|_| is_usable) else {
            return false;
        };
        let need = need_of(job);
        let is_needed = need.unit.as_ref().is_none_or(|needed| needed == unit);
        let state = self.storage_unit(unit).map(|unit| unit.state);
        let is_open = !need.stores || state.unwrap_or_default() == UnitState::Ok;
        is_needed && is_open && !blamed.holds(self, name)
    }

    /// The end of an attempt that goes on on `next`, or on another one that is as good; nothing of its numbers.
    fn move_elsewhere(
        &mut self,
        id: JobId,
        (cause, text): (StatusCode, &str),
        next: &AgentName,
        at: Timestamp,
    ) -> End {
        let lost = self.jobs.get(&id).and_then(|job| self.running_of(job));
        let lost = lost.map(|open| open.media_agent.clone());
        let is_shared = lost
            .as_ref()
            .is_some_and(|lost| self.unit_of_agent(lost) == self.unit_of_agent(next));
        let asked = (!is_shared).then_some(next);
        let zero = lost.and_then(|lost| self.begins_from_zero(id, &lost, asked));
        let (status, code) = match &zero {
            None => (CompletionStatus::Resumed, StatusCode::RESUMED),
            Some(_) => (CompletionStatus::FailedOver, StatusCode::FAILED_OVER),
        };
        let line = format!(
            "storage failed ({cause}), and media agent {next} may do what this one cannot: the job goes on in another attempt, once"
        );
        self.say(id, at, Severity::Warning, "primary", line);
        self.say_from_zero(id, zero, at);
        let error = Some(JobError {
            code: cause,
            text: text.to_owned(),
        });
        End {
            status,
            code,
            error,
            ..end_of(code, text, Default::default(), None)
        }
    }
}

/// As a code of before media agents told it says.
pub(crate) const fn storage_fault(code: StatusCode) -> Option<StorageFault> {
    match code {
        StatusCode::STORAGE_UNIT_NOT_AVAILABLE => Some(StorageFault::AtThisAgent),
        StatusCode::STORAGE_FULL => Some(StorageFault::Full),
        _ => None,
    }
}
