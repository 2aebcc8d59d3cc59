//! The job log (L-01): the full report of one attempt, rendered as text, HTML or JSON.
//!
//! [`Report`] is the content, made from the API's message and already the JSON form; `text` and `html` only lay it out.
//! Called by `job log`.

mod facts;
mod html;
mod text;

use jiff::Timestamp;
use outlast_proto::{v1, words};
use serde::Serialize;

use crate::documents::{ErrorOfHistory, HistoryDocument, RestoreOfJob, SubmitterDocument};
use crate::human::seconds_between;
use crate::wire::{self, time, word};

pub(crate) use html::to_html;
pub(crate) use text::to_text;

/// The sections of L-01.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    job_information: JobInformation,
    items: Vec<ItemReport>,
    exceptions: Vec<ExceptionReport>,
    /// Exceptions beyond those that are kept by name.
    exceptions_not_listed: u64,
    errors: Vec<ErrorReport>,
    completion: Completion,
}

#[derive(Debug, Serialize)]
struct JobInformation {
    job: String,
    policy: Option<String>,
    kind: Option<String>,
    client: Option<String>,
    media_agent: Option<String>,
    attempt: u32,
    started_at: Option<Timestamp>,
    by: Option<SubmitterDocument>,
    restore: Option<RestoreOfJob>,
}

#[derive(Debug, Serialize)]
struct ItemReport {
    path: String,
    outcome: Option<String>,
    restore_point: Option<String>,
    files: Option<u64>,
    directories: Option<u64>,
    bytes: Option<u64>,
    bytes_read: Option<u64>,
    bytes_new: Option<u64>,
    bytes_stored: Option<u64>,
    bytes_carried_over: Option<u64>,
    bytes_resent: Option<u64>,
    /// Files skipped or not as they should be.
    skipped: Option<u64>,
    /// Left out by the policy's patterns; a directory counts as one.
    excluded: Option<u64>,
    /// Source bytes read per second.
    rate: Option<u64>,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    error: Option<ErrorOfHistory>,
}

#[derive(Debug, Serialize)]
struct ExceptionReport {
    path: String,
    reason: String,
    /// The earlier attempt that met it and finished its item; null: this one.
    met_in_attempt: Option<u32>,
}

#[derive(Debug, Serialize)]
struct ErrorReport {
    code: u32,
    meaning: String,
    cause: Option<String>,
    help: String,
}

#[derive(Debug, Serialize)]
struct Completion {
    running: bool,
    status: Option<String>,
    status_code: Option<u32>,
    stopped: Option<String>,
    items_not_started: u32,
    ended_at: Option<Timestamp>,
    elapsed_seconds: Option<f64>,
    bytes_carried_over: Option<u64>,
    bytes_resent: Option<u64>,
}

impl Report {
    /// The report of an attempt as the primary gives it.
    pub(crate) fn new(log: &v1::JobLog) -> Self {
        let attempt = HistoryDocument::from(&log.attempt.clone().unwrap_or_default());
        Self {
            job_information: JobInformation {
                job: log.job.clone(),
                policy: wire::text(&log.policy),
                kind: word::<words::JobKind>(log.kind),
                client: attempt.client,
                media_agent: attempt.media_agent,
                attempt: attempt.attempt,
                started_at: attempt.started_at,
                by: log.by.as_ref().map(SubmitterDocument::from),
                restore: log.restore.as_ref().map(RestoreOfJob::from),
            },
            items: log.items.iter().map(ItemReport::new).collect(),
            exceptions: exceptions(log),
            exceptions_not_listed: log.exceptions_not_listed,
            errors: log.errors.iter().map(ErrorReport::new).collect(),
            completion: Completion {
                running: log.running,
                status: attempt.status,
                status_code: attempt.status_code,
                stopped: attempt.stopped,
                items_not_started: attempt.items_not_started,
                ended_at: attempt.ended_at,
                elapsed_seconds: seconds_between(attempt.started_at, attempt.ended_at),
                bytes_carried_over: attempt.bytes_carried_over,
                bytes_resent: attempt.bytes_resent,
            },
        }
    }

    fn title(&self) -> String {
        let job = &self.job_information;
        format!("Job {}, attempt {}", job.job, job.attempt)
    }
}

impl ItemReport {
    fn new(item: &v1::ItemLog) -> Self {
        let count = |of: fn(&v1::Counters) -> u64| item.counters.as_ref().map(of);
        let (started_at, ended_at) = (time(item.started_at.as_ref()), time(item.ended_at.as_ref()));
        let seconds = seconds_between(started_at, ended_at).filter(|seconds| *seconds > 0.0);
        let bytes_read = count(|c| c.bytes_read);
        Self {
            path: item.path.clone(),
            outcome: word::<words::ItemOutcome>(item.outcome),
            restore_point: wire::text(&item.restore_point),
            files: count(|c| c.files),
            directories: count(|c| c.directories),
            bytes: count(|c| c.bytes),
            bytes_read,
            bytes_new: count(|c| c.bytes_new),
            bytes_stored: count(|c| c.bytes_stored),
            bytes_carried_over: count(|c| c.bytes_carried_over),
            bytes_resent: count(|c| c.bytes_resent),
            skipped: count(|c| c.exceptions),
            excluded: count(|c| c.excluded),
            rate: bytes_read
                .zip(seconds)
                .map(|(bytes, seconds)| (bytes as f64 / seconds) as u64),
            started_at,
            ended_at,
            error: item.error.as_ref().map(ErrorOfHistory::from),
        }
    }
}

/// Those of items that earlier attempts finished come first (S-02).
fn exceptions(log: &v1::JobLog) -> Vec<ExceptionReport> {
    let earlier = log.earlier_exceptions.iter().flat_map(|earlier| {
        let all = earlier.exceptions.iter();
        all.map(|exception| ExceptionReport::new(exception, Some(earlier.attempt)))
    });
    let own = log.exceptions.iter();
    let own = own.map(|exception| ExceptionReport::new(exception, None));
    earlier.chain(own).collect()
}

impl ExceptionReport {
    fn new(exception: &v1::FileException, met_in_attempt: Option<u32>) -> Self {
        Self {
            path: exception.path.clone(),
            reason: exception.reason.clone(),
            met_in_attempt,
        }
    }

    /// As text and pages say it.
    fn why(&self) -> String {
        match self.met_in_attempt {
            Some(attempt) => format!("{} (met in attempt {attempt})", self.reason),
            None => self.reason.clone(),
        }
    }
}

impl ErrorReport {
    fn new(error: &v1::ErrorLog) -> Self {
        Self {
            code: error.code,
            meaning: error.meaning.clone(),
            cause: wire::text(&error.cause),
            help: wire::text(&error.help).unwrap_or_else(|| crate::help_pages::command(error.code)),
        }
    }
}

#[cfg(test)]
mod tests;
