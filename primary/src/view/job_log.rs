//! The full report of one attempt (L-01), from its history, or from the running attempt so far.

use std::collections::BTreeMap;

use outlast_core::ClusterState;
use outlast_core::event::JobError;
use outlast_core::rows::{History, HistoryItem, Job, OpenAttempt};
use outlast_proto::v1;
use outlast_proto::words::{Attempt, Exception, ItemNumber, ItemOutcome, JobKind, MAX_EXCEPTIONS};

use super::history;

/// The log of an attempt; none if there is no such attempt.
pub(crate) fn message(state: &ClusterState, job: &Job, attempt: Attempt) -> Option<v1::JobLog> {
    if let Some(open) = state.open_attempt(job.id, attempt) {
        return Some(of_open(state, job, open));
    }
    let row = state.history(job.id, attempt)?;
    let listed = row.exceptions.len() as u64;
    let mut log = head(
        job,
        history::message(state, job.id, attempt, row),
        &row.exceptions,
    );
    let (earlier, earlier_not_listed) = earlier_exceptions(state, job, attempt, &row.items);
    let taken_over = row.items.iter().filter(|item| item.started_at.is_none());
    let taken_over: u64 = taken_over.map(|item| item.counters.exceptions).sum();
    let own = row.counters.exceptions.saturating_sub(taken_over);
    log.exceptions_not_listed = own.saturating_sub(listed) + earlier_not_listed;
    log.earlier_exceptions = earlier;
    log.items = row.items.iter().map(item).collect();
    log.errors = errors(row);
    Some(log)
}

fn of_open(state: &ClusterState, job: &Job, open: &OpenAttempt) -> v1::JobLog {
    let exceptions: Vec<_> = state.exceptions_of(job.id, open.attempt).cloned().collect();
    let mut log = head(job, history::open(state, job, open), &exceptions);
    log.running = true;
    let items = state.items_of(job.id).map(|(_, row)| {
        let made = row.made_by(open.attempt);
        HistoryItem {
            path: row.path.clone(),
            outcome: row.outcome,
            restore_point: row.restore_point,
            started_at: made.started_at,
            ended_at: made.ended_at,
            counters: made.counters,
            error: made.error,
        }
    });
    let items: Vec<HistoryItem> = items.collect();
    let (earlier, not_listed) = earlier_exceptions(state, job, open.attempt, &items);
    (log.earlier_exceptions, log.exceptions_not_listed) = (earlier, not_listed);
    log.items = items.iter().map(item).collect();
    log.errors = log
        .items
        .iter()
        .filter_map(|item| item.error.as_ref())
        .map(error_line)
        .collect();
    log
}

fn head(job: &Job, attempt: v1::History, exceptions: &[Exception]) -> v1::JobLog {
    let left_alone = attempt.counters.as_ref().map(|counters| counters.left_alone);
    v1::JobLog {
        by: super::job::by(job),
        restore: super::job::restore_of(job, left_alone),
        job: job.id.to_string(),
        policy: job.policy.to_string(),
        kind: job.kind().to_wire(),
        attempt: Some(attempt),
        exceptions: exceptions.iter().map(exception).collect(),
        ..Default::default()
    }
}

fn exception(exception: &Exception) -> v1::FileException {
    v1::FileException {
        path: exception.path.clone(),
        reason: exception.reason.clone(),
    }
}

/// Those of finished items that this attempt did not begin, and of a restore all, by the attempt that met them, the first attempt first;
/// and how many there are that have no name (S-02).
fn earlier_exceptions(
    state: &ClusterState,
    job: &Job,
    attempt: Attempt,
    items: &[HistoryItem],
) -> (Vec<v1::EarlierExceptions>, u64) {
    let mut earlier: BTreeMap<Attempt, Vec<v1::FileException>> = BTreeMap::new();
    let (mut room, mut not_listed) = (MAX_EXCEPTIONS, 0);
    if job.kind() == JobKind::Restore {
        for (before, history) in state.histories_of(job.id).filter(|(before, _)| *before < attempt) {
            let named: Vec<_> = history.exceptions.iter().take(room).map(exception).collect();
            room -= named.len();
            not_listed += history.counters.exceptions.saturating_sub(named.len() as u64);
            earlier.insert(before, named);
        }
    }
    for (number, item) in (0..).map(ItemNumber).zip(items) {
        // What was begun here was met here; what is not finished will be met again.
        if item.outcome != ItemOutcome::DoneWithExceptions || item.started_at.is_some() {
            continue;
        }
        let met = state.histories_of(job.id).filter(|(before, history)| {
            let began = history.items.get(number.0 as usize);
            *before < attempt && began.is_some_and(|item| item.started_at.is_some())
        });
        let Some((met_in, history)) = met.last() else {
            continue;
        };
        let of_item = history.exceptions.iter().filter(|e| e.item == Some(number));
        let named: Vec<_> = of_item.take(room).map(exception).collect();
        room -= named.len();
        let known = history.items.get(number.0 as usize);
        // Of one that was taken over, the tags say how many.
        let count = known.map_or(0, |item| item.counters.exceptions);
        let count = count.max(item.counters.exceptions);
        not_listed += count.saturating_sub(named.len() as u64);
        earlier.entry(met_in).or_default().extend(named);
    }
    let earlier = earlier.into_iter().filter(|(_, named)| !named.is_empty());
    let messages = earlier.map(|(attempt, exceptions)| v1::EarlierExceptions {
        attempt: attempt.0,
        exceptions,
    });
    (messages.collect(), not_listed)
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
