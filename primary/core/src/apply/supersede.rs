//! An attempt that is given up while nobody can ask its media agent: it is superseded, surveyed by the next one, and its agent fenced
//! (F-04, F-14, C-07, C-08).
//!
//! When that is right, [`crate::contact`] says.

use outlast_proto::words::{
    AgentName, Attempt, CompletionStatus, Counters, ItemOutcome, JobId, JobKind, JobNonce, JobState,
    Severity, StatusCode, Timestamp,
};

use super::attempts::{End, MAX_INTERRUPTIONS, end_of};
use super::follow_up::Next;
use super::progress::Left;
use super::{Context, Outcome};
use crate::event::{FoundItem, JobError, JournalEvent};
use crate::reply::{Refusal, Reply};
use crate::rows::{Fence, History, ItemRow, Job, OpenAttempt, Phase};
use crate::session::ENDS_ONLY;
use crate::state::ClusterState;

impl ClusterState {
    pub(super) fn supersede_attempt(
        &mut self,
        (id, version, attempt): (JobId, u64, Attempt),
        why: &str,
        last_progress: Option<Counters>,
        context: Context<'_>,
    ) -> Outcome {
        self.still_running((id, version, attempt), self.splits_jobs())?;
        self.supersede_running(id, why, last_progress, context);
        Ok(Reply::Done)
    }

    /// The attempt that something was decided about, if its job is as it was then (C-05); `is_known`: all members know what was decided.
    pub(super) fn still_running(
        &self,
        (id, version, attempt): (JobId, u64, Attempt),
        is_known: bool,
    ) -> Result<&OpenAttempt, Refusal> {
        let job = self.jobs.get(&id).ok_or(Refusal::NoSuchJob { job: id })?;
        let is_current = is_known && job.version == version && job.running == Some(attempt);
        self.running_of(job)
            .filter(|_| is_current)
            .ok_or(Refusal::Outdated)
    }

    /// Takes the running attempt of a job its right.
    pub(super) fn supersede_running(
        &mut self,
        id: JobId,
        why: &str,
        last_progress: Option<Counters>,
        context: Context<'_>,
    ) {
        let running = self.jobs.get(&id).and_then(|job| self.running_of(job));
        let running = running.map(|open| (open.attempt, open.media_agent.clone()));
        let Some((attempt, media_agent)) = running else {
            return;
        };
        self.owe_fence(&media_agent, id, attempt);
        let (at, by) = (context.at, context.by);
        let follows = self.jobs.get(&id).map(|job| self.after_failover(job, at));
        let next = |job: &Job| job.state.next(follows.as_ref()?.event()).ok();
        let (Some(follows), Some(next)) = (&follows, self.jobs.get(&id).and_then(next)) else {
            // It was to stop: what it has finished stays.
            return self.interrupt_attempt(id, last_progress, why.to_owned(), at);
        };
        if !self.may_go_on(id) {
            let text = format!("given up after {MAX_INTERRUPTIONS} attempts that were lost; the last: {why}");
            self.say(id, at, Severity::Error, by, text.clone());
            let counters = last_progress.unwrap_or_default();
            let end = end_of(StatusCode::CONNECTION_BROKEN, &text, counters, None);
            return self.close_attempt(id, end, at);
        }
        let then = match follows {
            Next::Held(_) => "the job is held",
            _ => "the job goes on in another attempt",
        };
        let text = format!("attempt {attempt} on media agent {media_agent} is given up: {why}; {then}");
        self.say(id, at, Severity::Warning, by, text);
        // Whether it is resumed, the next attempt's media agent decides.
        let status = (CompletionStatus::FailedOver, StatusCode::FAILED_OVER);
        self.lay_aside((id, attempt), status, (why, last_progress), at);
        self.leave_items(id, next, ItemOutcome::Stopped);
        self.set_next(id, next, follows, context);
    }

    /// The job is in the state that follows its superseded attempt.
    pub(super) fn set_next(&mut self, id: JobId, state: JobState, follows: &Next, context: Context<'_>) {
        let has_rules = self.has_rules();
        self.change_job(id, |job| {
            job.state = state;
            if has_rules {
                follows.note(job);
            }
        });
        if let Some((severity, text)) = follows.line(id, context.at).filter(|_| has_rules) {
            self.say(id, context.at, severity, context.by, text);
        }
    }

    /// The running attempt has no right any more; its history is written when the next one has looked what it left.
    pub(super) fn lay_aside(
        &mut self,
        (id, attempt): (JobId, Attempt),
        (status, code): (CompletionStatus, StatusCode),
        (why, last_progress): (&str, Option<Counters>),
        at: Timestamp,
    ) {
        let text = why.to_owned();
        let end = End {
            status,
            code,
            error: Some(JobError { code, text }),
            counters: last_progress.unwrap_or_default(),
            stopped: None,
        };
        let history = self.history_of_open(id, attempt, end, at);
        let progress = last_progress.map(|last| self.unfinished_bytes(id, attempt, &last));
        self.stop_running(id);
        if let (Some(open), Some(mut history)) = (self.open.get_mut(&(id, attempt)), history) {
            history.exceptions.clear();
            history.progress = progress;
            open.phase = Phase::Superseded(Box::new(history));
        }
    }

    /// The agent has to be told, whenever it is heard again.
    pub(super) fn owe_fence(&mut self, agent: &AgentName, id: JobId, through: Attempt) {
        let Some(nonce) = self.jobs.get(&id).map(|job| job.nonce) else {
            return;
        };
        self.touched.agents.insert(agent.clone());
        self.fences.insert((agent.clone(), id), Fence { nonce, through });
    }

    pub(super) fn record_fence(
        &mut self,
        agent: &AgentName,
        job: JobId,
        nonce: JobNonce,
        through: Attempt,
    ) -> Outcome {
        let key = (agent.clone(), job);
        let is_owed = |fence: &Fence| fence.nonce == nonce && fence.through <= through;
        if self.fences.get(&key).is_some_and(is_owed) {
            self.fences.remove(&key);
            self.touched.agents.insert(agent.clone());
        }
        Ok(Reply::Done)
    }

    /// Whether the running attempt says what those before left. Of a restore there is nothing to be found, and an agent of before does not say it.
    pub(super) fn is_to_survey(&self, id: JobId) -> bool {
        let job = self.jobs.get(&id).filter(|job| job.kind() == JobKind::Backup);
        let running = job.and_then(|job| self.running_of(job));
        let agent = running.and_then(|open| self.agent(&open.media_agent));
        agent.is_some_and(|agent| agent.speaks >= ENDS_ONLY)
    }

    /// Gives every superseded attempt of the job its history: it went on in another (S-03).
    pub(super) fn close_superseded(&mut self, id: JobId) {
        let mut superseded = self.superseded_of(id);
        let lost = superseded.len();
        self.settle_statuses(id, &mut superseded, lost);
        for (attempt, history) in superseded {
            self.close(id, attempt, history);
        }
    }

    /// The superseded attempts of a job with their histories, first attempt first.
    fn superseded_of(&self, id: JobId) -> Vec<(Attempt, History)> {
        let superseded = self.open_of(id).filter_map(|open| {
            let history = open.superseded()?.clone();
            let exceptions = self.exceptions_of(id, open.attempt).cloned().collect();
            Some((
                open.attempt,
                History {
                    exceptions,
                    ..history
                },
            ))
        });
        superseded.collect()
    }

    /// What the attempts before left was looked for (F-14): they get their histories.
    pub(super) fn take_survey(
        &mut self,
        event: &JournalEvent,
        found: &[FoundItem],
        is_complete: bool,
        (host, at): (&str, Timestamp),
    ) {
        let id = event.job;
        if !self.open_of(id).any(|open| open.superseded().is_some()) {
            return;
        }
        if is_complete && self.take_found(id, found, at) {
            return self.end_as_found(id, (host, at));
        }
        let text = match found.len() {
            0 => format!(
                "attempt {} found no item finished by the attempts before",
                event.attempt
            ),
            count => format!(
                "attempt {} found {count} items finished by the attempts before",
                event.attempt
            ),
        };
        self.say(id, at, Severity::Info, host, text);
        self.close_superseded(id);
        self.touch_job(id);
    }

    /// Makes what was found official; whether all items are finished with it.
    fn take_found(&mut self, id: JobId, found: &[FoundItem], at: Timestamp) -> bool {
        let is_finished = |row: Option<&ItemRow>| row.is_some_and(|row| row.outcome.is_finished());
        let covers = |number| {
            found
                .iter()
                .any(|found| found.item == number && found.outcome.is_finished())
        };
        let all = self
            .items_of(id)
            .all(|(number, row)| is_finished(Some(row)) || covers(number));
        if !all {
            return false;
        }
        for item in found {
            if is_finished(self.item(id, item.item)) {
                continue;
            }
            let (snapshot, time) = item.snapshot;
            let left = Left {
                id: snapshot,
                time: time.min(at),
                tree: item.tree,
            };
            let point = self.commit_restore_point((id, item.attempt), item.item, left, &item.counters);
            if let Some(row) = self.items.get_mut(&(id, item.item)) {
                row.outcome = item.outcome;
                row.restore_point = point.or(row.restore_point);
                row.checkpoint = None;
                let made = row.make(item.attempt);
                made.ended_at = Some(at);
                made.counters = item.counters;
            }
        }
        true
    }

    /// A superseded attempt had finished everything before it was lost: it ends with what that comes to. Those after it did nothing that
    /// counts, and have no history.
    fn end_as_found(&mut self, id: JobId, (host, at): (&str, Timestamp)) {
        let mut superseded = self.superseded_of(id);
        let made = self.items_of(id).map(|(_, row)| row.made.by).max();
        let finisher = superseded.iter().find(|(attempt, _)| Some(*attempt) == made);
        let Some((last, history)) = finisher.or(superseded.last()).cloned() else {
            return;
        };
        // The one that finished went on in none.
        let lost = superseded.iter().filter(|(attempt, _)| *attempt < last).count();
        self.settle_statuses(id, &mut superseded, lost);
        let Some(unstarted) = self.stop_running(id) else {
            return;
        };
        self.open.remove(&(id, unstarted));
        let history = self.found_history(id, last, history);
        let (status, code) = (history.status, history.code);
        let text = format!(
            "attempt {last} had finished everything before it was lost: it ended {status}; attempt {unstarted} does not begin"
        );
        self.say(id, at, Severity::Info, host, text);
        for (attempt, before) in superseded {
            if attempt > last {
                self.forget(id, attempt);
                continue;
            }
            let own = if attempt == last { history.clone() } else { before };
            self.close(id, attempt, own);
        }
        self.change_job(id, |job| {
            job.state = JobState::Done;
            job.last_attempt = last;
            job.status = Some((status, code));
            job.ended_at = Some(at);
        });
    }

    /// The history of a superseded attempt by which all items are finished.
    fn found_history(&self, id: JobId, attempt: Attempt, mut history: History) -> History {
        let mut counters = Counters::default();
        for ((_, row), item) in self.items_of(id).zip(&mut history.items) {
            (item.outcome, item.restore_point) = (row.outcome, row.restore_point);
            let made = row.made_by(attempt);
            item.ended_at = item.ended_at.or(made.ended_at);
            item.counters = made.counters;
            counters.add(&made.counters);
        }
        history.code = self.over_all_items(id, StatusCode::SUCCESSFUL);
        history.status = match history.code {
            StatusCode::EXCEPTIONS => CompletionStatus::CompletedWithExceptions,
            _ => CompletionStatus::Successful,
        };
        (history.error, history.counters) = (None, counters);
        history
    }
}
