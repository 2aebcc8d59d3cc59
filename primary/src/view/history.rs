//! Histories as messages, with their links to the attempts before and after (S-13).

use outlast_core::ClusterState;
use outlast_core::event::JobError;
use outlast_core::rows::{History, Job, OpenAttempt};
use outlast_proto::v1;
use outlast_proto::words::{Attempt, CompletionStatus, Counters, ItemOutcome, JobId, JobKind};

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
    let links = links(state, job, attempt);
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
        resumed_from: links.resumed_from,
        failed_over_to: links.failed_over_to,
        retry_of: links.retry_of,
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
    let links = links(state, job.id, open.attempt);
    v1::History {
        id: id(job.id, open.attempt),
        job: job.id.to_string(),
        attempt: open.attempt.0,
        media_agent: open.media_agent.to_string(),
        client: job.client.to_string(),
        items_not_started: u32::try_from(not_started).unwrap_or(u32::MAX),
        started_at: Some(open.started_at.into()),
        counters: Some(counters.into()),
        resumed_from: links.resumed_from,
        retry_of: links.retry_of,
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
    let has_left_something = matches!(
        lost.status,
        CompletionStatus::Failed | CompletionStatus::Recovered
    );
    lost.status == CompletionStatus::Resumed || has_left_something && lost.progress.is_some()
}

/// The histories that an attempt's names (S-13); empty: none.
#[derive(Default)]
struct Links {
    /// It goes on from what that one left.
    resumed_from: String,
    /// It does the same anew.
    retry_of: String,
    /// The job went on in that one.
    failed_over_to: String,
}

fn links(state: &ClusterState, job: JobId, attempt: Attempt) -> Links {
    let row = state.job(job);
    let mut links = Links::default();
    if let Some(before) = attempt.0.checked_sub(1).map(Attempt)
        && let Some(lost) = state.history(job, before)
    {
        let is_backup = row.is_some_and(|row| row.kind() == JobKind::Backup);
        let link = match is_backup && is_resumed(lost) {
            true => &mut links.resumed_from,
            false => &mut links.retry_of,
        };
        *link = id(job, before);
    }
    if row.is_some_and(|row| row.last_attempt > attempt) {
        links.failed_over_to = id(job, attempt.next());
    }
    links
}
