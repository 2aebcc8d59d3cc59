//! The one end of an attempt: what is journalled last and what its client is told (S-12).

use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{self, AttemptEnded, AttemptInterrupted, AttemptOver, Leaving, Stopped};
use outlast_proto::words::{Counters, Interruption, StatusCode, StorageFault};

use crate::attempt::Told;
use crate::fault::Fault;

///
const CANCELED: &str = "Operation was canceled by user";

/// Why an attempt is told to end before its work is done. The first reason wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// By an administrator, at once.
    Stopped(Stopped),
    /// It has no right any more; nothing is journalled (F-04).
    Fenced,
    /// This agent ends; the attempt goes on elsewhere (F-16).
    Interrupted(String),
    /// Something is wrong.
    Fault(Fault),
    /// It was told to leave before it had anything to lose (C-08b).
    Left(String),
}

/// An engine's work came to an end by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// 0, 1, or the first failure.
    pub code: StatusCode,
    /// The cause of a failure.
    pub text: String,
    /// Whether items were left out because it was to stop.
    pub stopped: Stopped,
    /// What about storage failed; none: nothing did.
    pub storage: Option<StorageFault>,
}

/// Why an engine gave up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was told to; the control knows why.
    Halted,
    /// It was told to leave at a checkpoint, and does.
    Left,
    /// By itself.
    Fault(Fault),
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        End::Fault(fault)
    }
}

/// How an attempt ends, once everything is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a result.
    Ended(Done),
    /// It goes on in another.
    Interrupted(String),
    /// As it was told, at a checkpoint: it goes on in another (C-08b).
    Left(String),
    /// It cannot go on here; what follows is the primary's to decide (F-09).
    Lost(Fault, Interruption),
    /// Nothing is journalled: it has no right any more.
    Fenced,
}

impl Ending {
    /// What the engine's outcome and what the attempt was told add up to.
    #[must_use]
    pub fn of(outcome: Result<Done, End>, told: &Told) -> Self {
        match (outcome, told.halted().cloned()) {
            // A fence counts even against a result: it may not be journalled any more.
            (_, Some(Halt::Fenced)) => Ending::Fenced,
            (Ok(done), _) => Ending::Ended(done),
            // Its checkpoint is made: what went wrong since costs nothing. A job that is to be stopped is.
            (Err(End::Left), Some(Halt::Stopped(how))) => Ending::canceled(how),
            (Err(End::Left), _) => Ending::Left(told.leaving().unwrap_or_default().to_owned()),
            (Err(End::Fault(fault)), _) | (Err(End::Halted), Some(Halt::Fault(fault))) => {
                Ending::fault(fault)
            }
            (Err(End::Halted), Some(Halt::Stopped(how))) => Ending::canceled(how),
            (Err(End::Halted), Some(Halt::Left(reason))) => Ending::Left(reason),
            (Err(End::Halted), Some(Halt::Interrupted(reason))) => Ending::Interrupted(reason),
            (Err(End::Halted), None) => Ending::fault(Fault::broken("the stream with the client broke")),
        }
    }

    /// A failure.
    #[must_use]
    pub fn fault(fault: Fault) -> Self {
        match fault.cause {
            Some(cause) => Ending::Lost(fault, cause),
            None => Ending::failed(fault),
        }
    }

    /// For a primary that leaves it to the media agent what follows.
    #[must_use]
    pub fn decided_here(self) -> Self {
        match self {
            Ending::Lost(fault, _) => Ending::failed(fault),
            other => other,
        }
    }

    fn failed(fault: Fault) -> Self {
        Ending::Ended(Done {
            code: fault.code,
            text: fault.text,
            stopped: Stopped::Unspecified,
            storage: fault.storage,
        })
    }

    /// By an administrator.
    #[must_use]
    pub fn canceled(stopped: Stopped) -> Self {
        Ending::Ended(Done::canceled(stopped))
    }

    /// What the client is told, if the end is durable. If not it is told nothing, for nobody knows yet how the attempt ends: it tries on
    /// until this agent's next process says it.
    #[must_use]
    pub fn over(&self, durable: bool) -> Option<AttemptOver> {
        let (code, text) = match self {
            Ending::Ended(done) => (done.code, done.text.clone()),
            Ending::Interrupted(reason) | Ending::Left(reason) => (StatusCode::FAILED_OVER, reason.clone()),
            Ending::Lost(fault, _) => (fault.code, fault.text.clone()),
            Ending::Fenced => (StatusCode::SUPERSEDED, "this attempt was superseded".to_owned()),
        };
        durable.then(|| AttemptOver {
            code: u32::from(code.0),
            text,
        })
    }

    /// The last event of the attempt; none if it may not say anything any more.
    #[must_use]
    pub fn event(&self, counters: &Counters) -> Option<What> {
        let counters = Some((*counters).into());
        match self {
            Ending::Ended(done) => Some(What::Ended(AttemptEnded {
                status_code: u32::from(done.code.0),
                text: done.text.clone(),
                counters,
                stopped: done.stopped.into(),
                storage: done.storage.map(StorageFault::to_wire).unwrap_or_default(),
            })),
            Ending::Interrupted(reason) => Some(What::Interrupted(AttemptInterrupted {
                counters,
                reason: reason.clone(),
                left: Leaving::Unspecified.into(),
                cause: v1::Interruption::Unspecified.into(),
            })),
            Ending::Left(reason) => Some(What::Interrupted(AttemptInterrupted {
                counters,
                reason: reason.clone(),
                left: Leaving::Moved.into(),
                cause: v1::Interruption::Unspecified.into(),
            })),
            Ending::Lost(fault, cause) => Some(What::Interrupted(AttemptInterrupted {
                counters,
                reason: fault.text.clone(),
                left: Leaving::Unspecified.into(),
                cause: cause.to_wire(),
            })),
            Ending::Fenced => None,
        }
    }
}

impl Done {
    /// By an administrator.
    #[must_use]
    pub fn canceled(stopped: Stopped) -> Self {
        Self {
            code: StatusCode::CANCELED,
            text: CANCELED.to_owned(),
            stopped,
            storage: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t90_s12_a_client_is_told_no_end_that_is_not_durable() {
        let endings = [
            Ending::fault(Fault::broken("the stream broke")),
            Ending::canceled(Stopped::Immediate),
            Ending::Interrupted("the agent ends".to_owned()),
            Ending::Left("it is drained".to_owned()),
            Ending::Fenced,
        ];
        for ending in endings {
            assert_eq!(ending.over(false), None, "{ending:?}");
            assert!(ending.over(true).is_some(), "{ending:?}");
        }
    }
}
