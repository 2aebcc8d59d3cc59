//! The full report of one attempt (L-01), from its history, or from the running attempt so far.

use outlast_core::ClusterState;
use outlast_core::event::JobError;
use outlast_core::rows::{History, HistoryItem, Job, Running};
use outlast_proto::v1;
use outlast_proto::words::{Attempt, Exception};

use super::history;

/// The log of an attempt; none if there is no such attempt.
pub(crate) fn message(state: &ClusterState, job: &Job, attempt: Attempt) -> Option<v1::JobLog> {
    if let Some(running) = job.running_attempt(attempt) {
        return Some(of_running(state, job, running));
    }
    let row = state.history(job.id, attempt)?;
    let listed = row.exceptions.len() as u64;
    let mut log = head(
        job,
        history::message(state, job.id, attempt, row),
        &row.exceptions,
    );
    log.exceptions_not_listed = row.counters.exceptions.saturating_sub(listed);
    log.items = row.items.iter().map(item).collect();
    log.errors = errors(row);
    Some(log)
}

fn of_running(state: &ClusterState, job: &Job, running: &Running) -> v1::JobLog {
    let mut log = head(job, history::running(state, job, running), &running.exceptions);
    log.running = true;
    let items = job
        .items
        .iter()
        .zip(&running.items)
        .map(|(row, run)| HistoryItem {
            path: row.path.clone(),
            outcome: row.outcome,
            restore_point: row.restore_point,
            started_at: run.started_at,
            ended_at: run.ended_at,
            counters: run.counters,
            error: run.error.clone(),
        });
    log.items = items.map(|row| item(&row)).collect();
    log.errors = log
        .items
        .iter()
        .filter_map(|item| item.error.as_ref())
        .map(error_line)
        .collect();
    log
}

fn head(job: &Job, attempt: v1::History, exceptions: &[Exception]) -> v1::JobLog {
    v1::JobLog {
        job: job.id.to_string(),
        policy: job.policy.to_string(),
        kind: job.kind().to_wire(),
        attempt: Some(attempt),
        exceptions: exceptions
            .iter()
            .map(|e| v1::FileException {
                path: e.path.clone(),
                reason: e.reason.clone(),
            })
            .collect(),
        ..Default::default()
    }
}

fn item(row: &HistoryItem) -> v1::ItemLog {
    v1::ItemLog {
        path: row.path.clone(),
        outcome: row.outcome.to_wire(),
        restore_point: row.restore_point.map(|id| id.to_string()).unwrap_or_default(),
        counters: Some(row.counters.into()),
        started_at: row.started_at.map(Into::into),
        ended_at: row.ended_at.map(Into::into),
        error: row.error.as_ref().map(history::error),
    }
}

/// The attempt's own error first, then those of its items; the same one is told once.
fn errors(row: &History) -> Vec<v1::ErrorLog> {
    let items = row.items.iter().filter_map(|item| item.error.as_ref());
    let mut seen: Vec<&JobError> = Vec::new();
    for error in row.error.iter().chain(items) {
        if !seen.contains(&error) {
            seen.push(error);
        }
    }
    seen.into_iter()
        .map(|error| error_line(&history::error(error)))
        .collect()
}

fn error_line(error: &v1::JobError) -> v1::ErrorLog {
    let code = u16::try_from(error.code).map(outlast_proto::words::StatusCode);
    v1::ErrorLog {
        code: error.code,
        meaning: code.map_or("", outlast_proto::words::StatusCode::text).to_owned(),
        cause: error.text.clone(),
        help: format!("outlast help code {}", error.code),
    }
}
