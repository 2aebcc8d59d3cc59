//! The job log (L-01): the full report of one attempt, rendered as text, HTML or JSON.
//!
//! [`Report`] is the content, made from the API's message and already the JSON form; `text` and `html` only lay it out.
//! Called by `job log`.

mod html;
mod text;

use jiff::Timestamp;
use outlast_proto::v1;
use serde::Serialize;

use crate::documents::{ErrorOfHistory, HistoryDocument};
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
                kind: word::<v1::JobKind>(log.kind),
                client: attempt.client,
                media_agent: attempt.media_agent,
                attempt: attempt.attempt,
                started_at: attempt.started_at,
            },
            items: log.items.iter().map(ItemReport::new).collect(),
            exceptions: log.exceptions.iter().map(ExceptionReport::new).collect(),
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
            outcome: word::<v1::ItemOutcome>(item.outcome),
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
            rate: bytes_read
                .zip(seconds)
                .map(|(bytes, seconds)| (bytes as f64 / seconds) as u64),
            started_at,
            ended_at,
            error: item.error.as_ref().map(ErrorOfHistory::from),
        }
    }
}

impl ExceptionReport {
    fn new(exception: &v1::FileException) -> Self {
        Self {
            path: exception.path.clone(),
            reason: exception.reason.clone(),
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

/// A line of a report: what it is, and its value for people.
type Fact = (&'static str, String);

impl JobInformation {
    fn facts(&self) -> Vec<Fact> {
        use crate::human::{or_dash, time};
        vec![
            ("Job", self.job.clone()),
            ("Kind", or_dash(self.kind.as_ref())),
            ("Policy", or_dash(self.policy.as_ref())),
            ("Client", or_dash(self.client.as_ref())),
            ("Media agent", or_dash(self.media_agent.as_ref())),
            ("Attempt", self.attempt.to_string()),
            ("Started", time(self.started_at)),
        ]
    }
}

impl ItemReport {
    fn facts(&self) -> Vec<Fact> {
        use crate::human::{elapsed, or_dash, rate, size};
        let mut facts = vec![
            ("Outcome", or_dash(self.outcome.as_ref())),
            ("Restore point", or_dash(self.restore_point.as_ref())),
            ("Files", or_dash(self.files)),
            ("Directories", or_dash(self.directories)),
            ("Data", or_dash(self.bytes.map(size))),
            ("Read", or_dash(self.bytes_read.map(size))),
            ("New", or_dash(self.bytes_new.map(size))),
            ("Stored", or_dash(self.bytes_stored.map(size))),
            ("Carried over", or_dash(self.bytes_carried_over.map(size))),
            ("Sent again", or_dash(self.bytes_resent.map(size))),
            ("Skipped", or_dash(self.skipped)),
            ("Rate", or_dash(self.rate.map(rate))),
            ("Elapsed", elapsed(self.started_at, self.ended_at)),
        ];
        if let Some(error) = &self.error {
            facts.push(("Error", format!("{} {}", error.code, error.text)));
        }
        facts
    }
}

impl Completion {
    fn facts(&self) -> Vec<Fact> {
        use crate::human::{duration, or_dash, size, time};
        let status = match (&self.status, self.running) {
            (Some(status), _) => status.clone(),
            (None, true) => "running".to_owned(),
            (None, false) => crate::human::nothing(),
        };
        let mut facts = vec![("Status", status), ("Code", or_dash(self.status_code))];
        if let Some(stopped) = &self.stopped {
            facts.push(("Stopped", stopped.clone()));
        }
        if self.items_not_started > 0 {
            facts.push(("Items not started", self.items_not_started.to_string()));
        }
        facts.extend([
            ("Carried over", or_dash(self.bytes_carried_over.map(size))),
            ("Sent again", or_dash(self.bytes_resent.map(size))),
            ("Ended", time(self.ended_at)),
            ("Elapsed", or_dash(self.elapsed_seconds.map(duration))),
        ]);
        facts
    }
}

#[cfg(test)]
mod tests;
