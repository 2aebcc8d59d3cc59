//! The one end of an attempt: what is journalled last and what its client is told (S-12).
//!
//! Used by `conduct` and `survey`.

use std::time::Duration;

use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{AttemptEnded, AttemptInterrupted, AttemptOver, Stopped};
use outlast_proto::words::{Counters, StatusCode};

use super::control::Halt;
use super::progress::counters_message;
use crate::attempt_id::AttemptId;
use crate::context::Context;
use crate::fault::Fault;

///
const CANCELED: &str = "Operation was canceled by user";

/// An engine's work came to an end by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) code: StatusCode,
    pub(crate) text: String,
    pub(crate) stopped: Stopped,
}

/// Why an engine gave up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was told to; the control knows why.
    Halted,
    Fault(Fault),
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        End::Fault(fault)
    }
}

/// How an attempt ends, once everything is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Ended(Done),
    Interrupted(String),
    /// Nothing is journalled: it has no right any more.
    Fenced,
}

impl Ending {
    pub(super) fn of(outcome: Result<Done, End>, halt: Option<Halt>) -> Self {
        match (outcome, halt) {
            // A fence counts even against a result: it may not be journalled any more.
            (_, Some(Halt::Fenced)) => Ending::Fenced,
            (Ok(done), _) => Ending::Ended(done),
            (Err(End::Fault(fault)), _) | (Err(End::Halted), Some(Halt::Fault(fault))) => {
                Ending::fault(fault)
            }
            (Err(End::Halted), Some(Halt::Stopped(how))) => Ending::canceled(how),
            (Err(End::Halted), Some(Halt::Interrupted(reason))) => Ending::Interrupted(reason),
            (Err(End::Halted), None) => Ending::fault(Fault::broken("the stream with the client broke")),
        }
    }

    pub(super) fn fault(fault: Fault) -> Self {
        Ending::Ended(Done {
            code: fault.code,
            text: fault.text,
            stopped: Stopped::Unspecified,
        })
    }

    pub(super) fn canceled(stopped: Stopped) -> Self {
        Ending::Ended(Done::canceled(stopped))
    }

    /// What the client is told.
    pub(super) fn over(&self) -> AttemptOver {
        let (code, text) = match self {
            Ending::Ended(done) => (done.code, done.text.clone()),
            Ending::Interrupted(reason) => (StatusCode::FAILED_OVER, reason.clone()),
            Ending::Fenced => (StatusCode::SUPERSEDED, "this attempt was superseded".to_owned()),
        };
        AttemptOver {
            code: u32::from(code.0),
            text,
        }
    }

    fn event(&self, counters: &Counters) -> Option<What> {
        let counters = Some(counters_message(counters));
        match self {
            Ending::Ended(done) => Some(What::Ended(AttemptEnded {
                status_code: u32::from(done.code.0),
                text: done.text.clone(),
                counters,
                stopped: done.stopped.into(),
            })),
            Ending::Interrupted(reason) => Some(What::Interrupted(AttemptInterrupted {
                counters,
                reason: reason.clone(),
            })),
            Ending::Fenced => None,
        }
    }
}

impl Done {
    pub(crate) fn canceled(stopped: Stopped) -> Self {
        Self {
            code: StatusCode::CANCELED,
            text: CANCELED.to_owned(),
            stopped,
        }
    }
}

/// Journals the end. While the journal's disk is full it tries on: an attempt without an end would be run again.
/// Whether it is durable; if not, the attempt stays open and is surveyed at the next start.
pub(super) async fn journal_end(
    context: &Context,
    id: AttemptId,
    ending: &Ending,
    counters: &Counters,
) -> bool {
    let Some(what) = ending.event(counters) else {
        return true;
    };
    let record = context.event(id, what);
    let mut said = false;
    loop {
        match context.journal.append(vec![record.clone()]).await {
            Ok(()) => return true,
            Err(error) if error.is_full() && !context.shutdown.has_begun() => {
                if !said {
                    tracing::error!(attempt = %id, %error, "the end of an attempt cannot be journalled; trying on");
                    said = true;
                }
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                    () = context.shutdown.begun() => {}
                }
            }
            Err(error) => {
                tracing::error!(attempt = %id, %error, "the end of an attempt could not be journalled; it is settled at the next start");
                return false;
            }
        }
    }
}
