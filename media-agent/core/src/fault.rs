//! Why an attempt cannot go on: a code of S-10 and a text that names the cause for a person (S-07, S-11).
//!
//! Which error of a repository or a journal has which code is the media agent's `fault`.

use outlast_proto::v1::{AttemptOver, JobError, StreamGoodbye};
use outlast_proto::words::{Interruption, StatusCode, StorageFault};

/// Longest text of an end: it is journalled and goes through Raft, and a part of it may be a client's.
const MAX_TEXT: usize = 2048;

/// What ends an attempt before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// From the table of S-10.
    pub code: StatusCode,
    /// The cause.
    pub text: String,
    /// What about storage failed; none: nothing did.
    pub storage: Option<StorageFault>,
    /// What the attempt could not go on with, if it is for the primary to decide what follows (F-09).
    pub cause: Option<Interruption>,
}

impl Fault {
    /// A text of any length is shortened.
    #[must_use]
    pub fn new(code: StatusCode, text: impl Into<String>) -> Self {
        Self {
            code,
            text: shorten(text.into(), MAX_TEXT),
            storage: None,
            cause: None,
        }
    }

    /// It is about storage.
    #[must_use]
    pub fn of_storage(self, storage: impl Into<Option<StorageFault>>) -> Self {
        Self {
            storage: storage.into(),
            ..self
        }
    }

    /// The attempt cannot go on here for this cause. The code is what it ends with if the primary is of before it decided what follows.
    #[must_use]
    pub fn interrupting(cause: Interruption, code: StatusCode, text: impl Into<String>) -> Self {
        Self {
            cause: Some(cause),
            ..Self::new(code, text)
        }
    }

    /// As a client is told.
    #[must_use]
    pub fn over(self) -> AttemptOver {
        AttemptOver {
            code: u32::from(self.code.0),
            text: self.text,
        }
    }

    /// As a person is told who asked.
    #[must_use]
    pub fn told(self) -> JobError {
        JobError {
            code: u32::from(self.code.0),
            text: self.text,
        }
    }

    /// The client broke the protocol or has no right.
    #[must_use]
    pub fn access(text: impl Into<String>) -> Self {
        Self::new(StatusCode::ACCESS_NOT_ALLOWED, text)
    }

    /// A failure as a client tells it.
    #[must_use]
    pub fn of_client(error: JobError) -> Self {
        let error = told_by_client(error);
        let code = u16::try_from(error.code).map_or(StatusCode::ACCESS_NOT_ALLOWED, StatusCode);
        Self::new(code, error.text)
    }

    /// The client has said that it will not go on (S-11a).
    #[must_use]
    pub fn goodbye(goodbye: &StreamGoodbye) -> Self {
        if goodbye.is_shutdown {
            let text = "host or agent was shut down: the client agent said so, in order, while the job ran";
            let code = StatusCode::CLIENT_PROCESS_ABORTED;
            return Self::interrupting(Interruption::ClientShutDown, code, text);
        }
        Self::broken("the client closed the stream before its work was done")
    }

    /// The stream with the client broke.
    #[must_use]
    pub fn broken(text: impl Into<String>) -> Self {
        Self::new(StatusCode::CONNECTION_BROKEN, text)
    }
}

/// A failure as a client tells it, made one that can be journalled: its text is short, and its code stands for a failure.
#[must_use]
pub fn told_by_client(error: JobError) -> JobError {
    let code = u16::try_from(error.code).map(StatusCode).ok().filter(|code| {
        let is_no_failure = matches!(
            *code,
            StatusCode::SUCCESSFUL
                | StatusCode::EXCEPTIONS
                | StatusCode::CANCELED
                | StatusCode::CANCELED_TIMED_OUT
        );
        code.entry().is_some() && !is_no_failure
    });
    let code = code.unwrap_or(StatusCode::FILE_READ_FAILED);
    let text = if error.text.is_empty() {
        code.text().to_owned()
    } else {
        shorten(error.text, MAX_TEXT)
    };
    JobError {
        code: code.0.into(),
        text,
    }
}

/// The first `limit` bytes of a text that somebody else made as long as they liked.
#[must_use]
pub fn shorten(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use outlast_proto::v1::JobError;

    use super::{Fault, told_by_client};

    #[test]
    fn t90_what_a_client_says_of_a_failure_can_be_journalled() {
        for (said, code) in [
            (71, 71),
            (13, 13),
            (0, 13),
            (1, 13),
            (150, 13),
            (70_000, 13),
            (12, 13),
            (1150, 13),
        ] {
            let text = "ä".repeat(5000);
            let told = told_by_client(JobError { code: said, text });
            assert_eq!(told.code, code, "{said}");
            assert!(told.text.len() < 2100, "{}", told.text.len());
        }
        assert!(Fault::access("x".repeat(1 << 20)).text.len() < 2100);
    }
}
