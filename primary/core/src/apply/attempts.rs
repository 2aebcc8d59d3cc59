//! How attempts end: by a result of their own, interrupted, or superseded (S-03, S-12, F-04, F-14).

use outlast_proto::words::{
    Attempt, CompletionStatus, Counters, ItemOutcome, JobId, JobKind, JobState, Severity, StatusCode,
    Stopped, Timestamp,
};

use super::follow_up::Next;
use crate::event::{JobError, JournalEvent};
use crate::rows::{History, HistoryItem, ItemRow};
use crate::state::ClusterState;

/// After so many interrupted attempts a job is given up: something about it takes its media agents down (E-05).
pub(super) const MAX_INTERRUPTIONS: usize = 5;

/// How an attempt ended.
pub(super) struct End {
    pub(super) status: CompletionStatus,
    pub(super) code: StatusCode,
    pub(super) error: Option<JobError>,
    pub(super) counters: Counters,
    pub(super) stopped: Option<Stopped>,
}

impl ClusterState {
    /// The attempt that ends a job earns its status over all items, whichever attempt finished them (S-02). A restore leaves alone what an
    /// earlier attempt of it has made: what that one met it does not meet again.
    pub(super) fn over_all_items(&self, job: JobId, code: StatusCode) -> StatusCode {
        let has_exceptions = |row: &ItemRow| row.outcome == ItemOutcome::DoneWithExceptions;
        let any = self.jobs.get(&job).is_some_and(|row| {
            let goes_on = row.kind() == JobKind::Restore && self.keeps_exceptions_of_restores();
            let mut histories = self.histories_of(job);
            self.items_of(job).any(|(_, row)| has_exceptions(row))
                || goes_on && histories.any(|(_, history)| !history.exceptions.is_empty())
        });
        if code == StatusCode::SUCCESSFUL && any && self.keeps_exceptions() {
            return StatusCode::EXCEPTIONS;
        }
        code
    }

    pub(super) fn say_end(&mut self, event: &JournalEvent, end: &End, host: &str, at: Timestamp) {
        let (severity, text) = match &end.error {
            Some(error) => (
                Severity::Error,
                format!(
                    "attempt {} ended: {} ({}), {}",
                    event.attempt, end.status, error.code, error.text
                ),
            ),
            None => (
                Severity::Info,
                format!("attempt {} ended: {}", event.attempt, end.status),
            ),
        };
        self.say(event.job, at, severity, host, text);
    }

    /// Ends the running attempt as one that goes on in another (S-03), or for good if that happened too often.
    pub(super) fn interrupt_attempt(
        &mut self,
        job: JobId,
        counters: Option<Counters>,
        reason: String,
        at: Timestamp,
    ) {
        if self
            .jobs
            .get(&job)
            .is_some_and(|job| job.state == JobState::Stopping)
        {
            let text = "the attempt ended: canceled; the job does not go on in another".to_owned();
            self.say(job, at, Severity::Info, "primary", text);
            let end = end_of(StatusCode::CANCELED, "", counters.unwrap_or_default(), None);
            return self.close_attempt(job, end, at);
        }
        let end = if self.may_go_on(job) {
            self.moved_on(job, (reason, counters), at)
        } else {
            let text = format!("given up after {MAX_INTERRUPTIONS} interrupted attempts; the last: {reason}");
            self.say(job, at, Severity::Error, "primary", text.clone());
            end_of(
                StatusCode::CONNECTION_BROKEN,
                &text,
                counters.unwrap_or_default(),
                None,
            )
        };
        self.close_attempt(job, end, at);
    }

    /// Whether the job may go on in one more attempt after the running one is lost, before cluster version 9: from then on it is held instead
    /// ([`super::follow_up`]).
    pub(super) fn may_go_on(&self, job: JobId) -> bool {
        let histories = self.histories_of(job);
        let is_lost = |history: &History| history.status.goes_on() && !history.made_room;
        let lost = histories.filter(|(_, history)| is_lost(history)).count();
        let superseded = self.open_of(job).filter(|open| !open.is_running()).count();
        lost + superseded + 1 < MAX_INTERRUPTIONS || self.has_rules()
    }

    /// Writes the one history of the running attempt (S-12) and moves the job on. What checkpoints it had are gone with it.
    pub(super) fn close_attempt(&mut self, id: JobId, end: End, at: Timestamp) {
        let follows = self.what_follows(id, &end, false, at);
        if self.has_rules() && end.status == CompletionStatus::Failed {
            self.forget_checkpoints(id);
        }
        self.close_and_follow(id, end, &follows, at);
    }

    /// As [`ClusterState::close_attempt`], of one whose media agent has left its checkpoints.
    pub(super) fn close_keeping(&mut self, id: JobId, end: End, at: Timestamp) {
        let follows = self.what_follows(id, &end, true, at);
        self.close_and_follow(id, end, &follows, at);
    }

    /// As [`ClusterState::close_attempt`], of one that made room for another: that is no loss.
    pub(super) fn close_onward(&mut self, id: JobId, end: End, at: Timestamp) {
        self.close_and_follow(id, end, &Next::Onward, at);
    }

    fn forget_checkpoints(&mut self, id: JobId) {
        let with_one = self.items_of(id).filter(|(_, item)| item.checkpoint.is_some());
        let numbers: Vec<_> = with_one.map(|(number, _)| number).collect();
        for number in numbers {
            if let Some(row) = self.items.get_mut(&(id, number)) {
                row.checkpoint = None;
            }
        }
    }

    fn close_and_follow(&mut self, id: JobId, mut end: End, follows: &Next, at: Timestamp) {
        let has_rules = self.has_rules();
        let next = self
            .jobs
            .get(&id)
            .and_then(|job| job.state.next(follows.event()).ok());
        // Whatever was not surveyed will not be.
        self.close_superseded(id);
        let running = next.and_then(|_| self.stop_running(id));
        if let (Some(next), Some(attempt)) = (next, running) {
            // What it had come through is known, and the next attempt goes on from its checkpoint.
            let is_lost = matches!(follows, Next::Incomplete(_) | Next::Retry(_));
            let progress = is_lost.then(|| self.unfinished_bytes(id, attempt, &end.counters));
            self.count_resent(id, attempt, &mut end.counters);
            let cut_short = cut_short(&end);
            let status = (end.status, end.code);
            let mut history = self.history_of_open(id, attempt, end, at);
            if let Some(history) = &mut history {
                history.progress = progress;
            }
            self.leave_items(id, next, cut_short);
            self.change_job(id, |job| {
                job.state = next;
                if has_rules {
                    follows.note(job);
                }
                if next == JobState::Done {
                    job.status = Some(status);
                    job.ended_at = Some(at);
                }
            });
            if let Some(history) = history {
                self.close(id, attempt, history);
            }
            if let Some((severity, text)) = follows.line(id, at).filter(|_| has_rules) {
                self.say(id, at, severity, "primary", text);
            }
        } else {
            self.touch_job(id);
        }
    }

    /// The history of an attempt that has none yet.
    pub(super) fn history_of_open(
        &self,
        id: JobId,
        attempt: Attempt,
        end: End,
        at: Timestamp,
    ) -> Option<History> {
        let (job, open) = (self.jobs.get(&id)?, self.open.get(&(id, attempt))?);
        let cut_short = cut_short(&end);
        let items = self
            .items_of(id)
            .map(|(_, row)| history_item(row, attempt, cut_short));
        Some(History {
            media_agent: Some(open.media_agent.clone()),
            client: job.client.clone(),
            status: end.status,
            code: end.code,
            stopped: end.stopped,
            error: end.error,
            started_at: Some(open.started_at),
            ended_at: at,
            counters: end.counters,
            items: items.collect(),
            exceptions: self.exceptions_of(id, attempt).cloned().collect(),
            progress: None,
            storage: None,
            made_room: false,
        })
    }

    /// What the items are for the job from now on that were in progress.
    pub(super) fn leave_items(&mut self, id: JobId, next: JobState, cut_short: ItemOutcome) {
        let unfinished = match next {
            JobState::Done => cut_short,
            _ => ItemOutcome::NotStarted,
        };
        let is_split = self.splits_jobs();
        let numbers: Vec<_> = self.items_of(id).map(|(number, _)| number).collect();
        for number in numbers {
            let is_in_progress = |row: &ItemRow| row.outcome == ItemOutcome::InProgress;
            let changes = !is_split || self.item(id, number).is_some_and(is_in_progress);
            let row = self.items.get_mut(&(id, number)).filter(|_| changes);
            let Some(row) = row else { continue };
            if is_in_progress(row) {
                row.outcome = unfinished;
            }
            // Before version 8 this went with the attempt.
            if !is_split {
                row.made = crate::rows::Made::default();
            }
        }
    }

    /// The attempt has its history; nothing else of it stays.
    pub(super) fn close(&mut self, id: JobId, attempt: Attempt, history: History) {
        self.forget(id, attempt);
        self.add_history(id, attempt, history);
    }

    /// Nothing of the attempt stays.
    pub(super) fn forget(&mut self, id: JobId, attempt: Attempt) {
        // Its agent may be owed a fence, which is settled by this.
        let agent = self.open.remove(&(id, attempt)).map(|open| open.media_agent);
        self.touched.agents.extend(agent);
        let keys: Vec<_> = self
            .exceptions
            .range((id, attempt, 0)..=(id, attempt, u32::MAX))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            self.exceptions.remove(&key);
        }
    }
}

/// What an item in progress was in an attempt that ended so.
fn cut_short(end: &End) -> ItemOutcome {
    if end.status == CompletionStatus::Failed && end.stopped.is_none() {
        ItemOutcome::Failed
    } else {
        ItemOutcome::Stopped
    }
}

fn history_item(row: &ItemRow, attempt: Attempt, cut_short: ItemOutcome) -> HistoryItem {
    let made = row.made_by(attempt);
    HistoryItem {
        path: row.path.clone(),
        outcome: match row.outcome {
            ItemOutcome::InProgress => cut_short,
            outcome => outcome,
        },
        restore_point: row.restore_point,
        started_at: made.started_at,
        ended_at: made.ended_at,
        counters: made.counters,
        error: made.error,
    }
}

/// The status a code stands for (S-01, S-02, S-05, S-06, S-07).
pub(super) fn end_of(code: StatusCode, text: &str, counters: Counters, stopped: Option<Stopped>) -> End {
    let status = match code {
        StatusCode::SUCCESSFUL => CompletionStatus::Successful,
        StatusCode::EXCEPTIONS => CompletionStatus::CompletedWithExceptions,
        StatusCode::CANCELED => CompletionStatus::Canceled,
        StatusCode::CANCELED_TIMED_OUT => CompletionStatus::CanceledTimedOut,
        _ => CompletionStatus::Failed,
    };
    let error = (status == CompletionStatus::Failed).then(|| JobError {
        code,
        text: if text.is_empty() {
            code.text().to_owned()
        } else {
            text.to_owned()
        },
    });
    End {
        status,
        code,
        error,
        counters,
        stopped,
    }
}
