//! One attempt on this host, from the first message of its data stream to the last.
//!
//! Used by the agent for every admitted attempt, and by tests with a connection of their own. It never decides how an attempt
//! ended: the media agent does.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use outlast_kit::shutdown::Shutdown;
use outlast_proto::v1::data_client::DataClient;
use outlast_proto::v1::{AttemptOver, StreamHello};
use outlast_proto::words::StartId;
use parking_lot::Mutex;
use tonic::Status;
use tonic::transport::Channel;

use crate::admission::{Admission, Work};
use crate::progress::Progress;
use crate::{backup, restore};

/// Room for the longest chunk (8 MiB) and what surrounds it.
const MOST_MESSAGE: usize = 12 << 20;
/// How long a stopped attempt waits for the media agent to say that it is over.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// How long threads may take to notice that the attempt is over; one may hang in a read.
pub(crate) const THREADS_PATIENCE: Duration = Duration::from_secs(10);

/// The two ways to end an attempt from this side.
#[derive(Clone, Debug, Default)]
pub struct Ends {
    /// Everything ends at once: fenced, superseded, or the process is going down.
    pub now: Shutdown,
    /// Reading and writing ends; the stream waits for the media agent's last word.
    pub work: Shutdown,
}

/// What an attempt needs beside its ticket.
#[derive(Clone)]
pub struct Surroundings {
    /// Of this process.
    pub start_id: StartId,
    /// Where it says how far it is.
    pub progress: Arc<Progress>,
    /// How it is ended.
    pub ends: Ends,
    /// What earlier attempts of the job left unfinished.
    pub made: MadeFolders,
}

/// The directories a job's restore has made and not described yet, of all its attempts: they are its own, not the user's.
#[derive(Clone, Debug, Default)]
pub struct MadeFolders(Arc<Mutex<HashSet<Arc<[u8]>>>>);

impl MadeFolders {
    pub(crate) fn insert(&self, path: &Arc<[u8]>) {
        self.0.lock().insert(Arc::clone(path));
    }

    pub(crate) fn remove(&self, path: &[u8]) {
        self.0.lock().remove(path);
    }

    pub(crate) fn contains(&self, path: &[u8]) -> bool {
        self.0.lock().contains(path)
    }
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
    #[error("the data stream broke before its welcome: {}", .0.message())]
    Unwelcomed(Status),
    /// The connection broke, or the media agent went away.
    #[error("the data stream broke: {}", .0.message())]
    Broken(Status),
    /// It closed the stream without a last word.
    #[error("the media agent closed the data stream without a result")]
    Closed,
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
    /// Messages are numbered without gaps.
    #[error("message {got} came after message {last}")]
    Sequence {
        /// The last one's number.
        last: u64,
        /// This one's.
        got: u64,
    },
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

/// Runs the attempt over `channel` until its stream ends.
///
/// # Errors
/// [`AttemptError`] if that was not in order.
pub async fn run_on(
    channel: Channel,
    admission: &Admission,
    around: Surroundings,
) -> Result<Outcome, AttemptError> {
    let client = DataClient::new(channel)
        .max_decoding_message_size(MOST_MESSAGE)
        .max_encoding_message_size(MOST_MESSAGE);
    let hello = StreamHello {
        ticket: Some(admission.signed.clone()),
        start_id: around.start_id.0.clone(),
        ..StreamHello::default()
    };
    match &admission.work {
        Work::Backup { .. } => backup::run(client, hello, admission, around).await,
        Work::Restore { .. } => restore::run(client, hello, admission, around).await,
    }
}

/// The numbers of both directions of a stream.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    sent: u64,
    received: u64,
}

impl Numbers {
    /// Sequence and acknowledgement of the next message.
    pub(crate) fn next(&mut self) -> (u64, u64) {
        self.sent += 1;
        (self.sent, self.received)
    }

    /// Takes up the media agent's first message, which may be numbered 0 or 1.
    pub(crate) fn welcomed(&mut self, sequence: u64) -> Result<(), Violation> {
        if sequence > 1 {
            return Err(Violation::Sequence {
                last: 0,
                got: sequence,
            });
        }
        self.received = sequence;
        Ok(())
    }

    /// Takes up a message of the media agent.
    pub(crate) fn received(&mut self, sequence: u64) -> Result<(), Violation> {
        if self.received.checked_add(1) != Some(sequence) {
            return Err(Violation::Sequence {
                last: self.received,
                got: sequence,
            });
        }
        self.received = sequence;
        Ok(())
    }
}

/// The first message of a stream, if one came.
pub(crate) fn first_message<T>(read: Result<Option<T>, Status>) -> Result<T, AttemptError> {
    let closed = || Status::unavailable("the media agent closed it");
    read.and_then(|message| message.ok_or_else(closed))
        .map_err(AttemptError::Unwelcomed)
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
