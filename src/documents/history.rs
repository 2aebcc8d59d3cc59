//! A history: the record of an attempt, ended or (with status null) still running.

use jiff::Timestamp;
use outlast_proto::{v1, words};
use serde::Serialize;

use crate::wire::{text, time, word};

/// The fields of CLI.md, "A history".
#[derive(Clone, Debug, Serialize)]
pub(crate) struct HistoryDocument {
    /// None for an attempt that is still running and has no record yet.
    pub(crate) id: Option<String>,
    pub(crate) job: Option<String>,
    pub(crate) attempt: u32,
    pub(crate) media_agent: Option<String>,
    pub(crate) client: Option<String>,
    pub(crate) status: Option<String>,
    pub(crate) status_code: Option<u32>,
    pub(crate) stopped: Option<String>,
    pub(crate) items_not_started: u32,
    pub(crate) error: Option<ErrorOfHistory>,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) files: Option<u64>,
    pub(crate) directories: Option<u64>,
    pub(crate) bytes: Option<u64>,
    pub(crate) bytes_read: Option<u64>,
    pub(crate) bytes_new: Option<u64>,
    pub(crate) bytes_stored: Option<u64>,
    pub(crate) bytes_carried_over: Option<u64>,
    pub(crate) bytes_resent: Option<u64>,
    pub(crate) exceptions: Option<u64>,
    pub(crate) left_alone: Option<u64>,
    pub(crate) excluded: Option<u64>,
    pub(crate) resumed_from: Option<String>,
    pub(crate) failed_over_to: Option<String>,
    pub(crate) retry_of: Option<String>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ErrorOfHistory {
    pub(crate) code: u32,
    pub(crate) text: String,
    pub(crate) help: String,
}

impl From<&v1::JobError> for ErrorOfHistory {
    fn from(error: &v1::JobError) -> Self {
        Self {
            code: error.code,
            text: error.text.clone(),
            help: crate::help_pages::command(error.code),
        }
    }
}

impl From<&v1::History> for HistoryDocument {
    fn from(history: &v1::History) -> Self {
        let count = |of: fn(&v1::Counters) -> u64| history.counters.as_ref().map(of);
        Self {
            id: text(&history.id),
            job: text(&history.job),
            attempt: history.attempt,
            media_agent: text(&history.media_agent),
            client: text(&history.client),
            status: word::<words::CompletionStatus>(history.status),
            status_code: history.status_code,
            stopped: word::<words::Stopped>(history.stopped),
            items_not_started: history.items_not_started,
            error: history.error.as_ref().map(ErrorOfHistory::from),
            started_at: time(history.started_at.as_ref()),
            ended_at: time(history.ended_at.as_ref()),
            files: count(|c| c.files),
            directories: count(|c| c.directories),
            bytes: count(|c| c.bytes),
            bytes_read: count(|c| c.bytes_read),
            bytes_new: count(|c| c.bytes_new),
            bytes_stored: count(|c| c.bytes_stored),
            bytes_carried_over: count(|c| c.bytes_carried_over),
            bytes_resent: count(|c| c.bytes_resent).filter(|_| !history.resent_unknown),
            exceptions: count(|c| c.exceptions),
            left_alone: count(|c| c.left_alone),
            excluded: count(|c| c.excluded),
            resumed_from: text(&history.resumed_from),
            failed_over_to: text(&history.failed_over_to),
            retry_of: text(&history.retry_of),
        }
    }
}

impl HistoryDocument {
    /// The status as lists show it: with the stop and what it left out (S-01).
    pub(crate) fn status_shown(&self) -> String {
        let status = self.status.as_deref().unwrap_or("running");
        match &self.stopped {
            None => status.to_owned(),
            Some(how) => format!(
                "{status} (stopped: {how}, {} items not started)",
                self.items_not_started
            ),
        }
    }
}
