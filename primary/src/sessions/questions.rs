//! Questions to agents that are not answered yet: the answers on their way from the session to whoever asked.
//!
//! Made by the registry. The answers to most questions come as they come; those of a dry run only as far as whoever asked has allowed
//! them, which keeps the session free of them however slowly they are read.

use std::time::Duration;

use outlast_proto::v1::{Answer, Answering, PrimaryMessage, primary_message, question};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::{SendTimeoutError, TrySendError};
use tonic::Status;

/// Answers to one question that may wait to be read.
const ANSWERS: usize = 16;
/// How long a session waits for an asker that does not read: journal and presence wait behind the answer.
const READ_WITHIN: Duration = Duration::from_secs(1);
/// Of a part that has to be allowed; an agent sends a tenth of it.
const LARGEST_PART: usize = 512 << 10;

/// The session's end of a question.
#[derive(Clone)]
pub(super) struct Asker {
    answers: mpsc::Sender<Answer>,
    /// No more comes than was allowed, so there is always room.
    is_paced: bool,
}

/// The end of whoever asked. Its answers come one by one until the one marked `last`.
pub(crate) struct Asked {
    id: u64,
    answers: mpsc::Receiver<Answer>,
    down: mpsc::Sender<Result<PrimaryMessage, Status>>,
}

/// Why an answer is not handed on, nor what follows it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Dropped {
    #[error("it was not read in time")]
    Unread,
    #[error("the agent sent more of it than it was allowed")]
    TooMany,
    #[error("the agent sent {0} bytes of it at once")]
    TooLarge(usize),
}

impl Asker {
    pub(super) fn of(question: &question::Body) -> (Self, mpsc::Receiver<Answer>) {
        let (is_paced, room) = match question {
            // The last one needs no leave.
            question::Body::DryRun(asked) => (true, usize::try_from(asked.parts).unwrap_or(ANSWERS) + 1),
            question::Body::ListFiles(_)
            | question::Body::Repository(_)
            | question::Body::Snapshots(_)
            | question::Body::Sweep(_)
            | question::Body::Check(_) => (false, ANSWERS),
        };
        let (answers, receiver) = mpsc::channel(room);
        (Self { answers, is_paced }, receiver)
    }

    pub(super) fn is_gone(&self) -> bool {
        self.answers.is_closed()
    }

    /// Hands on an answer. An asker that went away wants none.
    pub(super) async fn take(&self, answer: Answer) -> Result<(), Dropped> {
        if self.is_paced {
            let length = answer.encoded_len();
            if length > LARGEST_PART {
                return Err(Dropped::TooLarge(length));
            }
            return match self.answers.try_send(answer) {
                Err(TrySendError::Full(_)) => Err(Dropped::TooMany),
                Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
            };
        }
        match self.answers.send_timeout(answer, READ_WITHIN).await {
            Err(SendTimeoutError::Timeout(_)) => Err(Dropped::Unread),
            Ok(()) | Err(SendTimeoutError::Closed(_)) => Ok(()),
        }
    }
}

impl Asked {
    pub(super) fn new(
        id: u64,
        answers: mpsc::Receiver<Answer>,
        down: mpsc::Sender<Result<PrimaryMessage, Status>>,
    ) -> Self {
        Self { id, answers, down }
    }

    /// The next answer; none once the session is over or the answer broken off.
    pub(crate) async fn next(&mut self) -> Option<Answer> {
        self.answers.recv().await
    }

    /// Allows a further part, when one was read.
    pub(crate) async fn allow_one(&self) {
        self.say(1, false).await;
    }

    /// Nobody wants the rest.
    pub(crate) async fn withdraw(self) {
        self.say(0, true).await;
    }

    async fn say(&self, more: u32, withdrawn: bool) {
        let said = Answering {
            id: self.id,
            more,
            withdrawn,
        };
        let body = Some(primary_message::Body::Answering(said));
        // A session that is over has nothing to be told.
        let _ = self.down.send(Ok(PrimaryMessage { body })).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use outlast_proto::v1::{
        Answer, DryRunEntry, DryRunPart, DryRunQuestion, ListFilesQuestion, ListFilesResponse, answer,
        question,
    };

    use super::{ANSWERS, Asker, Dropped, LARGEST_PART};

    #[tokio::test]
    async fn t90_an_asker_that_does_not_read_does_not_hold_up_the_session() {
        let (asker, mut unread) = Asker::of(&question::Body::ListFiles(ListFilesQuestion::default()));
        let all = async {
            let mut dropped = Ok(());
            for _ in 0..100 {
                let body = Some(answer::Body::Files(ListFilesResponse::default()));
                let (id, last) = (1, false);
                dropped = asker.take(Answer { id, body, last }).await;
                if dropped.is_err() {
                    break;
                }
            }
            dropped
        };
        let dropped = tokio::time::timeout(Duration::from_secs(10), all).await;
        assert_eq!(dropped.expect("the session goes on"), Err(Dropped::Unread));
        drop(asker);
        let mut read = 0;
        while unread.recv().await.is_some() {
            read += 1;
        }
        assert_eq!(
            read, ANSWERS,
            "and the answer is visibly incomplete: it ends without a last one"
        );
    }

    #[tokio::test]
    async fn t90_a_part_that_was_not_allowed_is_dropped_at_once() {
        let part = |entries| Answer {
            id: 1,
            body: Some(answer::Body::DryRun(DryRunPart {
                entries,
                ..DryRunPart::default()
            })),
            last: false,
        };
        let asked = question::Body::DryRun(DryRunQuestion {
            parts: 3,
            ..DryRunQuestion::default()
        });
        let (asker, mut answers) = Asker::of(&asked);
        // Three that were allowed, and the place of the last.
        for _ in 0..4 {
            assert_eq!(asker.take(part(vec![])).await, Ok(()));
        }
        assert_eq!(asker.take(part(vec![])).await, Err(Dropped::TooMany));
        assert!(answers.recv().await.is_some());
        let path = "x".repeat(LARGEST_PART);
        let entry = DryRunEntry {
            path,
            ..DryRunEntry::default()
        };
        let dropped = asker.take(part(vec![entry])).await;
        assert!(matches!(dropped, Err(Dropped::TooLarge(_))), "{dropped:?}");
        drop(answers);
        assert_eq!(asker.take(part(vec![])).await, Ok(()), "nobody wants it");
    }
}
