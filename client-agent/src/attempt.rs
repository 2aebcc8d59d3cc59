//! One attempt on this host, from the first message of its first data stream to the last of its last.
//!
//! Used by the agent for every admitted attempt, and by tests with a connection of their own. It never decides how an attempt
//! ended: the media agent does.

use std::sync::Arc;
use std::time::Duration;

use outlast_kit::resume::Misnumbered;
use outlast_kit::shutdown::Shutdown;
use outlast_proto::v1::AttemptOver;
use outlast_proto::words::StartId;
use tokio::sync::watch;
use tonic::transport::Channel;

use crate::admission::{Admission, Work};
use crate::connect::Road;
use crate::progress::Progress;
pub use crate::unfinished::MadeFolders;
use crate::{backup, restore};

/// How long a restore waits for one step of its target: less than media agents wait for clients that say nothing.
pub const TARGET_PATIENCE: Duration = Duration::from_secs(300);
/// How long a stopped attempt waits for the media agent to say that it is over.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// How long threads may take to notice that the attempt is over; one may hang in a read.
pub(crate) const THREADS_PATIENCE: Duration = Duration::from_secs(10);

/// The ways to end an attempt from this side.
#[derive(Clone, Debug, Default)]
pub struct Ends {
    /// Everything ends at once: fenced, superseded, or the process is going down.
    pub now: Shutdown,
    /// It is the process that ends: the media agent is told.
    pub shutdown: Shutdown,
    /// Reading and writing ends; the stream waits for the media agent's last word.
    pub work: Shutdown,
}

/// What an attempt needs beside its ticket.
#[derive(Clone)]
pub struct AttemptContext {
    /// Of this process.
    pub start_id: StartId,
    /// Where it says how far it is.
    pub progress: Arc<Progress>,
    /// How it is ended.
    pub ends: Ends,
    /// What earlier attempts, and restores of earlier processes, left unfinished.
    pub made: MadeFolders,
    /// How long its stream may be broken (F-10).
    pub reconnect_for: watch::Receiver<Duration>,
    /// How long the target of a restore may take for one step: a write, a sync, a name. No call can be told to give up, so a target that
    /// is gone without a word is known by nothing else.
    pub target_patience: Duration,
}

/// How the stream ended, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The media agent's last word: status code and text.
    Over {
        /// 0, or what went wrong.
        code: u32,
        /// The cause, for people.
        text: String,
    },
    /// We ended it.
    Stopped,
}

/// How the stream ended out of order.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// The media agent has not welcomed the stream: it may know nothing of the attempt.
    #[error("no data stream was welcomed: {0}")]
    Unwelcomed(String),
    /// The connection broke, or the media agent went away, and it did not come back.
    #[error("the data stream broke and could not be opened again within {seconds} s: {why}")]
    Broken {
        /// How long it was tried.
        seconds: u64,
        /// The last reason.
        why: String,
    },
    /// What the stream would go on with is lost (F-10).
    #[error("the media agent was restarted while the data stream was broken")]
    NewProcess,
    /// It broke the protocol.
    #[error("the media agent broke the protocol: {0}")]
    Violation(#[from] Violation),
    /// No threads to be had.
    #[error("cannot start a thread: {0}")]
    Threads(std::io::Error),
    /// A thread of ours panicked.
    #[error("a thread of the attempt failed")]
    ThreadFailed,
}

/// What a media agent must not do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Messages are numbered without gaps, and confirmed after they were sent.
    #[error(transparent)]
    Numbers(#[from] Misnumbered),
    /// Not at this time, or empty.
    #[error("{what} came out of turn")]
    OutOfTurn {
        /// The message.
        what: &'static str,
    },
    /// The ticket has no such item.
    #[error("item {item} is not one of the ticket")]
    UnknownItem {
        /// Its number.
        item: u32,
    },
    /// A node that is not there, or not one with content.
    #[error("node {node} is not one it can speak of now")]
    UnknownNode {
        /// Its number.
        node: u64,
    },
    /// Offers or chunks that were not offered.
    #[error("it answered to something that was not offered (offers {number})")]
    UnknownOffers {
        /// The answer's number.
        number: u64,
    },
    /// A name that would lead elsewhere.
    #[error("\"{name}\" is no name of a directory entry")]
    BadName {
        /// As it is shown.
        name: String,
    },
    /// More than this side takes.
    #[error("more {what} than are taken at once")]
    TooMuch {
        /// Of what.
        what: &'static str,
    },
}

/// Runs the attempt over `channel` until it is over, through breaks of its streams (F-10).
///
/// # Errors
/// [`AttemptError`] if that was not in order.
pub async fn run_on(
    channel: Channel,
    admission: &Admission,
    context: AttemptContext,
) -> Result<Outcome, AttemptError> {
    run(Road::Made(channel), admission, context).await
}

/// As [`run_on`], for every way to the media agent.
pub(crate) async fn run(
    road: Road,
    admission: &Admission,
    context: AttemptContext,
) -> Result<Outcome, AttemptError> {
    match &admission.work {
        Work::Backup { .. } => backup::run(road, admission, context).await,
        Work::Restore { .. } => restore::run(road, admission, context).await,
    }
}

impl From<AttemptOver> for Outcome {
    fn from(over: AttemptOver) -> Self {
        Outcome::Over {
            code: over.code,
            text: over.text,
        }
    }
}

impl Ends {
    /// Returns when the attempt shall be over: at once, or some time after its work was stopped.
    pub(crate) async fn reached(&self) {
        let patience = async {
            self.work.begun().await;
            tokio::time::sleep(STOP_PATIENCE).await;
        };
        tokio::select! {
            () = self.now.begun() => {}
            () = patience => {}
        }
    }

    /// Whether work has ended, one way or the other.
    pub(crate) fn work_has_ended(&self) -> bool {
        self.now.has_begun() || self.work.has_begun()
    }
}
