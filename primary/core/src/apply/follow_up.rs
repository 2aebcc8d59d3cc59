//! What follows an attempt that has ended: the first that applies (E-05). Nothing after a stop, a cancel or success; failover; Recovered Jobs;
//! the rule for its code ([`crate::rules`]); the loss of its client (F-09); otherwise the job is done.
//!
//! Decided when the attempt gets its history, by `attempts` and `supersede`. When what is waited for has come, [`crate::recovery`] says.

use outlast_proto::words::{
    CompletionStatus, Disposition, ItemOutcome, JobEvent, JobId, JobKind, JobState, Policy, Rule, Severity,
    StatusCode, Timestamp,
};

use super::attempts::End;
use super::{Context, Outcome};
use crate::reply::{Refusal, Reply};
use crate::rows::{FollowRule, Hold, Job, Waits};
use crate::rules;
use crate::state::ClusterState;

/// So often a job goes on in another attempt before it is held; a release gives it as many more.
pub(super) const FAILOVERS: u32 = 5;

/// What becomes of a job whose attempt has ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Next {
    /// Its status is the attempt's.
    Done,
    /// It is queued for another attempt, as one that was lost counts.
    Elsewhere,
    /// As [`Next::Elsewhere`], and nothing went wrong (C-08b).
    Onward,
    /// It begins again after a while; there is something to go on with.
    Incomplete(Waits),
    /// It begins again after a while.
    Retry(Waits),
    /// Somebody has to look at it.
    Held(Hold),
}

impl Next {
    pub(super) const fn event(&self) -> JobEvent {
        match self {
            Next::Done => JobEvent::AttemptEnded,
            Next::Elsewhere | Next::Onward => JobEvent::AttemptMovedOn,
            Next::Incomplete(_) => JobEvent::LeftIncomplete,
            Next::Retry(_) => JobEvent::RetryAwaited,
            Next::Held(_) => JobEvent::HeldBack,
        }
    }

    /// In the job's row.
    pub(super) fn note(&self, job: &mut Job) {
        match self {
            Next::Done | Next::Onward => {}
            Next::Elsewhere => job.follow_up.failovers += 1,
            Next::Incomplete(waits) | Next::Retry(waits) => job.follow_up.waits = Some(waits.clone()),
            Next::Held(hold) => job.follow_up.hold = Some(hold.clone()),
        }
    }

    /// For the job's details; none where something else says it.
    pub(super) fn line(&self, id: JobId, at: Timestamp) -> Option<(Severity, String)> {
        let (waits, what) = match self {
            Next::Done | Next::Elsewhere | Next::Onward => return None,
            Next::Held(hold) => {
                let text = format!(
                    "held by {}: {}; outlast job release {id} lets it go on",
                    hold.by, hold.why
                );
                return Some((Severity::Error, text));
            }
            Next::Incomplete(waits) => (waits, "the job is incomplete and goes on from what it has"),
            Next::Retry(waits) => (waits, "the job begins again"),
        };
        let (number, all) = waits.number;
        let when = match waits.due {
            Some(due) => format!("{what} in {}, try {number} of {all}", span(due, at)),
            None => format!("{what} if outlast job resume {id} is said; no try of its {all} is left"),
        };
        let text = format!(
            "{}: {when}; without that it is over in {}",
            waits.rule,
            span(waits.until, at)
        );
        Some((Severity::Warning, text))
    }
}

impl ClusterState {
    /// What follows the running attempt of a job if it ends like this; `keeps`: its checkpoints are there for the next one.
    pub(super) fn what_follows(&self, id: JobId, end: &End, keeps: bool, at: Timestamp) -> Next {
        let Some(job) = self.jobs.get(&id) else {
            return Next::Done;
        };
        match end.status {
            CompletionStatus::Recovered => self.after_recovered(job, at),
            CompletionStatus::FailedOver | CompletionStatus::Resumed => self.after_failover(job, at),
            CompletionStatus::Failed if self.has_rules() => {
                let is_ordered = job.state != JobState::Active || end.stopped.is_some();
                // F-17: what a restore has begun, a person goes on with.
                let is_restore = job.kind() == JobKind::Restore && is_client_lost(end.code);
                match self.policy_of(job).filter(|_| !is_ordered && !is_restore) {
                    Some(policy) => self.after_failure((job, policy), end, keeps, at),
                    None => Next::Done,
                }
            }
            _ => Next::Done,
        }
    }

    /// F-04: it goes on, but not for ever.
    pub(super) fn after_failover(&self, job: &Job, at: Timestamp) -> Next {
        if !self.has_rules() || job.follow_up.failovers < FAILOVERS {
            return Next::Elsewhere;
        }
        Next::Held(Hold {
            since: at,
            by: "rule Cluster Failover".to_owned(),
            why: format!(
                "it lost {} attempts; something about it, or about its media agents, takes them down: see outlast job details {}",
                FAILOVERS + 1,
                job.id
            ),
            was: JobState::Queued,
        })
    }

    /// C-06.
    pub(super) fn after_recovered(&self, job: &Job, at: Timestamp) -> Next {
        let Some(rule) = rules::recovered_jobs(self) else {
            return Next::Done;
        };
        let number = job.follow_up.recoveries + 1;
        if number > rule.retries {
            let why = format!(
                "its {} tries are used up, and its media agent is not heard",
                rule.retries
            );
            return Next::Held(held_by_recovered(why, at));
        }
        let due = at.plus(rule.interval);
        Next::Retry(Waits {
            rule: FollowRule::Recovered,
            number: (number, rule.retries),
            due: Some(due),
            until: due.plus(rule.interval),
        })
    }

    fn after_failure(&self, (job, policy): (&Job, &Policy), end: &End, keeps: bool, at: Timestamp) -> Next {
        match rules::rule_for(self, end.code) {
            Some(rule) => after_rule((job, policy), &rule, end, at),
            None if is_client_lost(end.code) => self.after_client_loss(job, policy, keeps, at),
            None => Next::Done,
        }
    }

    /// F-09: with something to go on with the job is incomplete, otherwise it begins again; if no try is left it is done.
    fn after_client_loss(&self, job: &Job, policy: &Policy, keeps: bool, at: Timestamp) -> Next {
        let until = at.plus(policy.retry.incomplete_for());
        let tries = counted(job, policy, at);
        let all = policy.retry.tries as usize;
        let due = match tries.len().checked_sub(all) {
            None => Some(at.plus(policy.retry.delay)),
            // A try counts for so long.
            Some(over) => tries.get(over).map(|begun| begun.plus(policy.retry.within)),
        };
        let due = due.filter(|due| *due <= until || tries.len() < all);
        let number = u32::try_from(tries.len().min(all.saturating_sub(1)) + 1).unwrap_or(u32::MAX);
        let waits = Waits {
            rule: FollowRule::ClientLost,
            number: (number, policy.retry.tries),
            due,
            until: due.map_or(until, |due| until.max(due)),
        };
        let is_of_use = self
            .items_of(job.id)
            .any(|(_, item)| item.outcome.is_finished() || keeps && item.checkpoint.is_some());
        match (is_of_use, due) {
            (true, _) => Next::Incomplete(waits),
            (false, Some(_)) => Next::Retry(waits),
            (false, None) => Next::Done,
        }
    }

    /// A job that waits, if it is as it was when something was decided about it.
    fn waiting(&self, id: JobId, version: u64) -> Result<(&Job, &Waits), Refusal> {
        let job = self.jobs.get(&id).ok_or(Refusal::NoSuchJob { job: id })?;
        let waits = job.follow_up.waits.as_ref();
        let is_right = self.has_rules() && job.version == version && job.due().is_some();
        waits
            .filter(|_| is_right)
            .map(|waits| (job, waits))
            .ok_or(Refusal::Outdated)
    }

    /// Its time has come, and nothing stands in its way.
    pub(super) fn begin_follow_up(&mut self, id: JobId, version: u64, context: Context<'_>) -> Outcome {
        // Its time the leader has seen come, by a clock that goes on where the entries' time stands still (B-09).
        let (job, waits) = self.waiting(id, version)?;
        let waits = waits.clone();
        let tries = self.policy_of(job).map(|policy| counted(job, policy, context.at));
        let (number, all) = waits.number;
        let text = format!("{}: try {number} of {all} begins", waits.rule);
        self.say(id, context.at, Severity::Info, context.by, text);
        self.queue_again(id, |job| match waits.rule {
            FollowRule::Recovered => job.follow_up.recoveries += 1,
            FollowRule::ClientLost | FollowRule::Named(_) => {
                job.follow_up.begun = job.follow_up.begun.saturating_add(1);
                let mut tries = tries.unwrap_or_default();
                tries.push(context.at);
                job.follow_up.tries = tries;
            }
        });
        Ok(Reply::Done)
    }

    /// The job waits for its next attempt.
    pub(super) fn queue_again(&mut self, id: JobId, note: impl FnOnce(&mut Job)) {
        self.change_job(id, |job| {
            if let Ok(state) = job.state.next(JobEvent::Readied) {
                job.state = state;
                (job.follow_up.waits, job.follow_up.hold) = (None, None);
                note(job);
            }
        });
    }

    /// Nobody went on with it in time.
    pub(super) fn end_follow_up(&mut self, id: JobId, version: u64, context: Context<'_>) -> Outcome {
        let (_, waits) = self.waiting(id, version)?;
        if waits.rule == FollowRule::Recovered {
            let why = "nobody could take it in time".to_owned();
            self.hold_waiting(id, held_by_recovered(why, context.at), context);
            return Ok(Reply::Done);
        }
        if let FollowRule::Named(name) = &waits.rule
            && rules::then_of(self, name) == Some(Disposition::Hold)
        {
            let hold = Hold {
                since: context.at,
                by: waits.rule.to_string(),
                why: "it was due and could not begin in time".to_owned(),
                was: JobState::Queued,
            };
            self.hold_waiting(id, hold, context);
            return Ok(Reply::Done);
        }
        let text = format!(
            "{}: nothing went on with the job in time; it is done with the status of its last attempt",
            waits.rule
        );
        self.say(id, context.at, Severity::Warning, context.by, text);
        self.end_as_last(id, context.at);
        Ok(Reply::Done)
    }

    /// A job that waits does not begin any more without a person.
    fn hold_waiting(&mut self, id: JobId, hold: Hold, context: Context<'_>) {
        let next = Next::Held(hold);
        if let Some((severity, text)) = next.line(id, context.at) {
            self.say(id, context.at, severity, context.by, text);
        }
        self.change_job(id, |job| {
            if let Ok(state) = job.state.next(next.event()) {
                job.state = state;
                job.follow_up.waits = None;
                next.note(job);
            }
        });
    }

    /// The job is done with the status of its last attempt, which has its history. False: there is none that could end it.
    pub(super) fn end_as_last(&mut self, id: JobId, at: Timestamp) -> bool {
        let last = self.jobs.get(&id).map(|job| job.last_attempt);
        let history = last.and_then(|last| self.histories.get(&(id, last)));
        let Some(history) = history.filter(|history| !history.status.goes_on()) else {
            return false;
        };
        let status = (history.status, history.code);
        let outcomes: Vec<_> = history.items.iter().map(|item| item.outcome).collect();
        let numbers: Vec<_> = self.items_of(id).map(|(number, _)| number).collect();
        for (number, outcome) in numbers.into_iter().zip(outcomes) {
            let is_open = |item: &crate::rows::ItemRow| item.outcome == ItemOutcome::NotStarted;
            if self.item(id, number).is_some_and(is_open)
                && outcome != ItemOutcome::NotStarted
                && let Some(row) = self.items.get_mut(&(id, number))
            {
                row.outcome = outcome;
            }
        }
        self.change_job(id, |job| {
            if let Ok(state) = job.state.next(JobEvent::EndedUnstarted) {
                job.state = state;
                (job.follow_up.waits, job.follow_up.hold) = (None, None);
                job.status = Some(status);
                job.ended_at = Some(at);
            }
        });
        true
    }
}

/// E-01: tried again, as long as there are retries left, those of F-09 counted (E-05); then what the rule says.
fn after_rule((job, policy): (&Job, &Policy), rule: &Rule, end: &End, at: Timestamp) -> Next {
    let begun = job.follow_up.begun;
    if begun < rule.retries {
        let due = at.plus(rule.interval);
        return Next::Retry(Waits {
            rule: FollowRule::Named(rule.name.clone()),
            number: (begun + 1, rule.retries),
            due: Some(due),
            until: due.plus(policy.retry.incomplete_for()),
        });
    }
    match rule.then {
        Disposition::Reschedule => Next::Done,
        Disposition::Hold => {
            let error = end.error.as_ref().map_or("", |error| error.text.as_str());
            Next::Held(Hold {
                since: at,
                by: format!("rule {}", rule.name),
                why: format!(
                    "its last attempt failed ({}), {error}; the rule's {} retries are used up",
                    end.code, rule.retries
                ),
                was: JobState::Queued,
            })
        }
    }
}

fn held_by_recovered(why: String, at: Timestamp) -> Hold {
    Hold {
        since: at,
        by: FollowRule::Recovered.to_string(),
        why,
        was: JobState::Queued,
    }
}

/// The tries that still count at a moment.
fn counted(job: &Job, policy: &Policy, at: Timestamp) -> Vec<Timestamp> {
    let counts = |begun: &&Timestamp| begun.plus(policy.retry.within) > at;
    job.follow_up.tries.iter().filter(counts).copied().collect()
}

/// Whether an attempt that ended with this code lost its client.
const fn is_client_lost(code: StatusCode) -> bool {
    matches!(
        code,
        StatusCode::CLIENT_PROCESS_ABORTED | StatusCode::CANNOT_CONNECT_TO_CLIENT
    )
}

/// From `now` to `then`, for people.
fn span(then: Timestamp, now: Timestamp) -> String {
    let seconds = then.0.saturating_sub(now.0).max(0) / 1_000_000;
    match seconds {
        s if s >= 3600 && s % 3600 == 0 => format!("{} h", s / 3600),
        s if s >= 60 && s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}
