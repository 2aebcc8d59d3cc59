//! Whether a job that loses its attempt goes on from a checkpoint or from zero (S-03, S-04), and what that is found to have cost (L-04).
//!
//! That it may go on at all is `attempts`'; what a checkpoint holds only media agents know.

use outlast_proto::words::{
    AgentName, Attempt, CompletionStatus, Counters, JobId, JobKind, PoolName, Severity, StatusCode,
    StorageUnitName, Timestamp,
};

use super::attempts::End;
use crate::event::JobError;
use crate::rows::{Agent, History};
use crate::session::RESUMES;
use crate::state::ClusterState;

impl ClusterState {
    /// Why the attempt after the one on `lost` begins from zero; none: it looks for a checkpoint. `next` is its media agent, if that is known:
    /// otherwise all of the pool that reach the storage unit must be able to.
    pub(crate) fn begins_from_zero(
        &self,
        id: JobId,
        lost: &AgentName,
        next: Option<&AgentName>,
    ) -> Option<String> {
        let job = self.jobs.get(&id)?;
        if !self.splits_jobs() {
            return Some("not all primaries know how to go on from a checkpoint".to_owned());
        }
        if job.kind() == JobKind::Restore {
            return Some("a restore has no checkpoints".to_owned());
        }
        let restarts = |policy: &outlast_proto::words::Policy| policy.checkpoint.restart;
        if !self.policy_of(job).is_some_and(restarts) {
            return Some("checkpoint restart is off in the policy".to_owned());
        }
        let Some((pool, unit)) = self.stores_in(lost) else {
            return Some(format!("media agent {lost} is not known any more"));
        };
        if let Some(other) = next.filter(|next| self.stores_in(next).map(|(_, unit)| unit) != Some(unit)) {
            return Some(format!("media agent {other} does not reach storage unit {unit}"));
        }
        let reaches = |agent: &Agent| {
            agent
                .media
                .as_ref()
                .is_some_and(|media| media.storage_unit == *unit && media.pool == *pool)
        };
        let is_too_old = |(name, agent): &(&AgentName, &Agent)| {
            agent.speaks < RESUMES && next.map_or_else(|| reaches(agent), |next| next == *name)
        };
        let (name, _) = self.agents.iter().find(is_too_old)?;
        Some(format!(
            "the program of media agent {name} is too old to go on from a checkpoint"
        ))
    }

    /// The pool and the storage unit of a media agent, also of one that was removed.
    fn stores_in(&self, name: &AgentName) -> Option<(&PoolName, &StorageUnitName)> {
        if let Some(agent) = self.agents.get(name) {
            let media = agent.media.as_ref()?;
            return Some((&media.pool, &media.storage_unit));
        }
        let (pool, unit) = self.removed.get(name)?.stored.as_ref()?;
        Some((pool, unit))
    }

    /// The end of an attempt that goes on in another, and a line that says so if that one begins from zero.
    pub(super) fn moved_on(
        &mut self,
        id: JobId,
        (why, counters): (String, Option<Counters>),
        at: Timestamp,
    ) -> End {
        let lost = self.jobs.get(&id).and_then(|job| self.running_of(job));
        let lost = lost.map(|open| open.media_agent.clone());
        let zero = lost.and_then(|lost| self.begins_from_zero(id, &lost, None));
        let (status, code) = match &zero {
            None => (CompletionStatus::Resumed, StatusCode::RESUMED),
            Some(_) => (CompletionStatus::FailedOver, StatusCode::FAILED_OVER),
        };
        self.say_from_zero(id, zero, at);
        End {
            status,
            code,
            error: Some(JobError { code, text: why }),
            counters: counters.unwrap_or_default(),
            stopped: None,
        }
    }

    /// Settles the histories of superseded attempts, the first attempt first, now that the next one of each is there, or will never be:
    /// of the first `lost` ones.
    pub(super) fn settle_statuses(&mut self, id: JobId, superseded: &mut [(Attempt, History)], lost: usize) {
        let running = self.jobs.get(&id).and_then(|job| self.running_of(job));
        let running = running.map(|open| open.media_agent.clone());
        let nexts = superseded.iter().skip(1);
        let nexts: Vec<_> = nexts
            .map(|(_, history)| history.media_agent.clone())
            .chain([running])
            .collect();
        for ((attempt, history), next) in superseded.iter_mut().zip(nexts).take(lost) {
            self.settle_status((id, *attempt), history, next);
        }
    }

    fn settle_status(
        &mut self,
        (id, attempt): (JobId, Attempt),
        history: &mut History,
        next: Option<AgentName>,
    ) {
        let (Some(lost), Some(next)) = (history.media_agent.clone(), next) else {
            return;
        };
        let zero = self.begins_from_zero(id, &lost, Some(&next));
        // S-08: the one that was recovered stays so, wherever the next one begins.
        if zero.is_none() && history.status != CompletionStatus::Recovered {
            (history.status, history.code) = (CompletionStatus::Resumed, StatusCode::RESUMED);
            if let Some(error) = &mut history.error {
                error.code = StatusCode::RESUMED;
            }
        }
        self.say_from_zero(id, zero, history.ended_at);
        if let Some(unit) = self.unseen_unit((id, attempt), &lost, &next) {
            let code = StatusCode::RESULT_UNKNOWN;
            let text = format!(
                "its result is not known: storage unit {unit} is reached by none of those that went on; what it finished there without being heard counts \
                 for nothing"
            );
            self.say(
                id,
                history.ended_at,
                Severity::Warning,
                "primary",
                format!("attempt {attempt}: {text}"),
            );
            history.code = code;
            let why = history.error.take().map_or_else(String::new, |error| error.text);
            let text = format!("{why}; {text}");
            history.error = Some(JobError { code, text });
        }
    }

    /// The storage unit of a lost attempt that the next one cannot look into, if something may have been finished there (S-12's exception).
    fn unseen_unit(
        &self,
        (id, attempt): (JobId, Attempt),
        lost: &AgentName,
        next: &AgentName,
    ) -> Option<StorageUnitName> {
        let job = self.jobs.get(&id).filter(|_| self.has_rules())?;
        let has_begun = self.open_attempt(id, attempt)?.client_admitted;
        let unit = self.unit_of_agent(lost)?;
        let is_unseen = job.kind() == JobKind::Backup && has_begun && self.unit_of_agent(next) != Some(unit);
        is_unseen.then(|| unit.clone())
    }

    pub(super) fn say_from_zero(&mut self, id: JobId, why: Option<String>, at: Timestamp) {
        let is_backup = self
            .jobs
            .get(&id)
            .is_some_and(|job| job.kind() == JobKind::Backup);
        if let Some(why) = why.filter(|_| is_backup && self.splits_jobs()) {
            let text = format!("the next attempt begins from zero: {why}");
            self.say(id, at, Severity::Info, "primary", text);
        }
    }

    /// Bytes of items that the attempt had come through without finishing them, by what was last heard of it.
    pub(super) fn unfinished_bytes(&self, id: JobId, attempt: Attempt, last: &Counters) -> u64 {
        let finished = self.items_of(id).filter(|(_, row)| row.outcome.is_finished());
        let finished: u64 = finished.map(|(_, row)| row.made_by(attempt).counters.bytes).sum();
        last.bytes.saturating_sub(finished)
    }

    /// What the ending attempt has read again that the one before had read (L-04). Nothing, if none was before it or nobody knows.
    pub(super) fn count_resent(&self, id: JobId, attempt: Attempt, counters: &mut Counters) {
        if !self.splits_jobs() {
            return;
        }
        let before = attempt.0.checked_sub(1).map(Attempt);
        let before = before.and_then(|before| self.histories.get(&(id, before)));
        if let Some(progress) = before.and_then(|history| history.progress) {
            let again = progress.saturating_sub(counters.bytes_carried_over);
            counters.bytes_resent = again.min(counters.bytes_read);
        }
    }
}
