//! A job as `job show` and `job list` print it, and the lines of its details.

use jiff::Timestamp;
use outlast_proto::{v1, words};
use serde::Serialize;

use super::HistoryDocument;
use crate::error::exit;
use crate::human::or_dash;
use crate::wire::{text, time, word};

/// The fields of CLI.md, "job show".
#[derive(Clone, Debug, Serialize)]
pub(crate) struct JobDocument {
    pub(crate) id: String,
    pub(crate) policy: Option<String>,
    pub(crate) client: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) status: Option<String>,
    pub(crate) status_code: Option<u32>,
    pub(crate) resilient: Option<bool>,
    pub(crate) priority: u32,
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) waiting: Option<WaitingDocument>,
    pub(crate) actions: Vec<String>,
    pub(crate) progress: Option<ProgressDocument>,
    pub(crate) items: Vec<ItemDocument>,
    pub(crate) attempts: Vec<HistoryDocument>,
    pub(crate) parent: Option<String>,
    pub(crate) children: Vec<String>,
    pub(crate) by: Option<SubmitterDocument>,
    pub(crate) restore: Option<RestoreOfJob>,
    pub(crate) unknown: Option<UnknownDocument>,
}

/// What nobody knows of the running attempt (C-08).
#[derive(Clone, Debug, Serialize)]
pub(crate) struct UnknownDocument {
    pub(crate) since: Option<Timestamp>,
    pub(crate) media_agent_last_word: Option<Timestamp>,
    pub(crate) client_last_word: Option<Timestamp>,
    pub(crate) client_says: Option<String>,
    pub(crate) rule: Option<String>,
    pub(crate) next_step: Option<String>,
    pub(crate) at: Option<Timestamp>,
}

/// Who submitted a job.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SubmitterDocument {
    pub(crate) kind: Option<String>,
    pub(crate) name: Option<String>,
}

/// What a restore was asked for, and what it left alone.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RestoreOfJob {
    pub(crate) restore_point: Option<String>,
    pub(crate) paths: Vec<String>,
    pub(crate) to: Option<String>,
    pub(crate) overwrite: Option<String>,
    pub(crate) left_alone: Option<u64>,
}

/// Why a job is not running (T-08).
#[derive(Clone, Debug, Serialize)]
pub(crate) struct WaitingDocument {
    pub(crate) reason: Option<String>,
    pub(crate) r#for: Option<String>,
    pub(crate) until: Option<Timestamp>,
}

/// Live numbers of the running attempt (L-02).
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ProgressDocument {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) bytes_new: u64,
    pub(crate) rate: u64,
    pub(crate) path: Option<String>,
    pub(crate) eta_seconds: Option<u64>,
    pub(crate) checkpoint_at: Option<Timestamp>,
}

/// What became of one item.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ItemDocument {
    pub(crate) path: String,
    pub(crate) outcome: Option<String>,
    pub(crate) restore_point: Option<String>,
}

/// One line of `job details`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DetailDocument {
    pub(crate) time: Option<Timestamp>,
    pub(crate) severity: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) text: String,
}

impl From<&v1::Job> for JobDocument {
    fn from(job: &v1::Job) -> Self {
        Self {
            id: job.id.clone(),
            policy: text(&job.policy),
            client: text(&job.client),
            kind: word::<words::JobKind>(job.kind),
            state: word::<words::JobState>(job.state),
            status: word::<words::CompletionStatus>(job.status),
            status_code: job.status_code,
            resilient: job.resilient,
            priority: job.priority,
            created_at: time(job.created_at.as_ref()),
            started_at: time(job.started_at.as_ref()),
            ended_at: time(job.ended_at.as_ref()),
            waiting: job.waiting.as_ref().map(|waiting| WaitingDocument {
                reason: text(&waiting.reason),
                r#for: text(&waiting.r#for),
                until: time(waiting.until.as_ref()),
            }),
            actions: job.actions.clone(),
            progress: job.progress.as_ref().map(ProgressDocument::from),
            items: job.items.iter().map(ItemDocument::from).collect(),
            attempts: job.attempts.iter().map(HistoryDocument::from).collect(),
            parent: text(&job.parent),
            children: job.children.clone(),
            by: job.by.as_ref().map(SubmitterDocument::from),
            restore: job.restore.as_ref().map(RestoreOfJob::from),
            unknown: job.unknown.as_ref().map(|unknown| UnknownDocument {
                since: time(unknown.since.as_ref()),
                media_agent_last_word: time(unknown.media_agent_last_word.as_ref()),
                client_last_word: time(unknown.client_last_word.as_ref()),
                client_says: text(&unknown.client_says),
                rule: text(&unknown.rule),
                next_step: text(&unknown.next_step),
                at: time(unknown.at.as_ref()),
            }),
        }
    }
}

impl From<&v1::Submitter> for SubmitterDocument {
    fn from(by: &v1::Submitter) -> Self {
        Self {
            kind: text(&by.kind),
            name: text(&by.name),
        }
    }
}

impl From<&v1::RestoreOfJob> for RestoreOfJob {
    fn from(restore: &v1::RestoreOfJob) -> Self {
        Self {
            restore_point: text(&restore.restore_point),
            paths: restore.paths.clone(),
            to: text(&restore.to),
            overwrite: word::<words::Overwrite>(restore.overwrite),
            left_alone: restore.left_alone,
        }
    }
}

impl SubmitterDocument {
    /// For people.
    pub(crate) fn shown(&self) -> String {
        let word = |word: &Option<String>| word.clone().unwrap_or_default();
        format!("{} \"{}\"", word(&self.kind), word(&self.name))
    }
}

impl RestoreOfJob {
    /// For people.
    pub(crate) fn facts(&self) -> Vec<(&'static str, String)> {
        let paths = match self.paths.as_slice() {
            [] => "all".to_owned(),
            paths => paths.join(", "),
        };
        vec![
            ("Restore point", or_dash(self.restore_point.as_ref())),
            ("Paths", paths),
            ("To", or_dash(self.to.as_ref())),
            ("Overwrite", or_dash(self.overwrite.as_ref())),
            ("Left alone", or_dash(self.left_alone)),
        ]
    }
}

impl From<&v1::Progress> for ProgressDocument {
    fn from(progress: &v1::Progress) -> Self {
        Self {
            files: progress.files,
            bytes: progress.bytes,
            bytes_new: progress.bytes_new,
            rate: progress.rate,
            path: text(&progress.path),
            eta_seconds: progress.eta_seconds,
            checkpoint_at: time(progress.checkpoint_at.as_ref()),
        }
    }
}

impl From<&v1::Item> for ItemDocument {
    fn from(item: &v1::Item) -> Self {
        Self {
            path: item.path.clone(),
            outcome: word::<words::ItemOutcome>(item.outcome),
            restore_point: text(&item.restore_point),
        }
    }
}

impl From<&v1::Detail> for DetailDocument {
    fn from(detail: &v1::Detail) -> Self {
        Self {
            time: time(detail.time.as_ref()),
            severity: word::<words::Severity>(detail.severity),
            host: text(&detail.host),
            text: detail.text.clone(),
        }
    }
}

impl JobDocument {
    /// What a command that waited for the job exits with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.status.as_deref() {
            Some("successful") => exit::SUCCESSFUL,
            Some("completed_with_exceptions") => exit::EXCEPTIONS,
            _ => exit::FAILED,
        }
    }

    /// The attempt that is running or ended last.
    pub(crate) fn last_attempt(&self) -> Option<&HistoryDocument> {
        self.attempts.last()
    }

    /// The status as lists show it; `-` while the job is not done.
    pub(crate) fn status_shown(&self) -> String {
        match (&self.status, self.last_attempt()) {
            (None, _) => crate::human::nothing(),
            (Some(_), Some(last)) if last.stopped.is_some() => last.status_shown(),
            (Some(status), _) => status.clone(),
        }
    }
}
