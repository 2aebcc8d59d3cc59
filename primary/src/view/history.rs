//! Histories as messages, with their links to the attempts before and after (S-13).

use outlast_core::ClusterState;
use outlast_core::event::JobError;
use outlast_core::rows::{History, Job, OpenAttempt};
use outlast_proto::v1;
use outlast_proto::words::{Attempt, CompletionStatus, Counters, ItemOutcome, JobId};

/// The id of a history: `JOB.ATTEMPT`.
pub(crate) fn id(job: JobId, attempt: Attempt) -> String {
    format!("{job}.{attempt}")
}

/// An ended attempt.
pub(crate) fn message(state: &ClusterState, job: JobId, attempt: Attempt, history: &History) -> v1::History {
    let not_started = history
        .items
        .iter()
        .filter(|item| item.outcome == ItemOutcome::NotStarted)
        .count();
    let (resumed_from, failed_over_to) = links(state, job, attempt);
    v1::History {
        id: id(job, attempt),
        job: job.to_string(),
        attempt: attempt.0,
        media_agent: history
            .media_agent
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        client: history.client.to_string(),
        status: history.status.to_wire(),
        status_code: Some(history.code.0.into()),
        stopped: history.stopped.map_or(0, outlast_proto::words::Stopped::to_wire),
        items_not_started: u32::try_from(not_started).unwrap_or(u32::MAX),
        error: history.error.as_ref().map(error),
        started_at: history.started_at.map(Into::into),
        ended_at: Some(history.ended_at.into()),
        counters: Some(history.counters.into()),
        resumed_from,
        failed_over_to,
        retry_of: String::new(),
        resent_unknown: is_resent_unknown(state, job, attempt),
    }
}

/// Whether nobody knows what the attempt before this one had read, so that nobody can say what was read again (L-04).
fn is_resent_unknown(state: &ClusterState, job: JobId, attempt: Attempt) -> bool {
    let before = attempt.0.checked_sub(1).map(Attempt);
    let lost = before.and_then(|before| state.history(job, before));
    lost.is_some_and(|lost| lost.progress.is_none())
}

/// An attempt that has no history yet: its status unset.
pub(crate) fn open(state: &ClusterState, job: &Job, open: &OpenAttempt) -> v1::History {
    let not_started = state
        .items_of(job.id)
        .filter(|(_, item)| item.outcome == ItemOutcome::NotStarted)
        .count();
    let mut counters = Counters::default();
    for (_, item) in state.items_of(job.id) {
        counters.add(&item.made_by(open.attempt).counters);
    }
    let (resumed_from, _) = links(state, job.id, open.attempt);
    v1::History {
        id: id(job.id, open.attempt),
        job: job.id.to_string(),
        attempt: open.attempt.0,
        media_agent: open.media_agent.to_string(),
        client: job.client.to_string(),
        items_not_started: u32::try_from(not_started).unwrap_or(u32::MAX),
        started_at: Some(open.started_at.into()),
        counters: Some(counters.into()),
        resumed_from,
        // It is counted when the attempt ends.
        resent_unknown: open.attempt > Attempt(1),
        ..Default::default()
    }
}

pub(crate) fn error(error: &JobError) -> v1::JobError {
    v1::JobError {
        code: error.code.0.into(),
        text: error.text.clone(),
    }
}

/// Whether the next attempt goes on from what this one left.
fn is_resumed(lost: &History) -> bool {
    lost.status == CompletionStatus::Resumed
        || lost.status == CompletionStatus::Failed && lost.progress.is_some()
}

/// Which history this attempt was resumed from, and which one the job went on in.
fn links(state: &ClusterState, job: JobId, attempt: Attempt) -> (String, String) {
    let before = attempt.0.checked_sub(1).map(Attempt);
    let resumed_from = before
        .filter(|before| state.history(job, *before).is_some_and(is_resumed))
        .map(|before| id(job, before));
    let began = state.job(job).is_some_and(|row| row.last_attempt > attempt);
    let failed_over_to = began.then(|| id(job, attempt.next()));
    (
        resumed_from.unwrap_or_default(),
        failed_over_to.unwrap_or_default(),
    )
}
