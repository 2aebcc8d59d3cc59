//! Why an attempt cannot go on: a code of S-10 and a text that names the cause for a person (S-07, S-11).
//!
//! The one table from errors of the repository and the journal to codes. Used by everything that runs attempts.

use outlast_proto::v1::{AttemptOver, JobError};
use outlast_proto::words::StatusCode;
use outlast_repository::RepositoryError;

use crate::journal::JournalError;

/// Longest text of an end: it is journalled and goes through Raft, and a part of it may be a client's.
const MAX_TEXT: usize = 2048;

/// What ends an attempt before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: StatusCode,
    pub(crate) text: String,
}

impl Fault {
    pub(crate) fn new(code: StatusCode, text: impl Into<String>) -> Self {
        Self {
            code,
            text: shorten(text.into(), MAX_TEXT),
        }
    }

    /// As a client is told.
    pub(crate) fn over(self) -> AttemptOver {
        AttemptOver {
            code: u32::from(self.code.0),
            text: self.text,
        }
    }

    /// The client broke the protocol or has no right.
    pub(crate) fn access(text: impl Into<String>) -> Self {
        Self::new(StatusCode::ACCESS_NOT_ALLOWED, text)
    }

    /// The stream with the client broke.
    pub(crate) fn broken(text: impl Into<String>) -> Self {
        Self::new(StatusCode::CONNECTION_BROKEN, text)
    }

    /// The storage unit could not be opened, locked or read at all.
    pub(crate) fn unavailable(unit: &str, error: &RepositoryError) -> Self {
        Self::new(
            StatusCode::STORAGE_UNIT_NOT_AVAILABLE,
            format!("storage unit \"{unit}\": {error}"),
        )
    }

    /// The storage unit failed in mid-work.
    pub(crate) fn storage(unit: &str, error: &RepositoryError) -> Self {
        let code = match error {
            RepositoryError::StorageFull { .. } => StatusCode::STORAGE_FULL,
            RepositoryError::Refused { .. } => StatusCode::ACCESS_NOT_ALLOWED,
            RepositoryError::Locked { .. } | RepositoryError::LockLost { .. } => {
                StatusCode::STORAGE_UNIT_NOT_AVAILABLE
            }
            _ => StatusCode::STORAGE_WRITE_ERROR,
        };
        Self::new(code, format!("storage unit \"{unit}\": {error}"))
    }
}

/// A failure as a client tells it, made one that can be journalled: its text is short, and its code stands for a failure.
pub(crate) fn told_by_client(error: JobError) -> JobError {
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
pub(crate) fn shorten(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit));
        text.push('…');
    }
    text
}

impl From<JournalError> for Fault {
    fn from(error: JournalError) -> Self {
        let code = if error.is_full() {
            StatusCode::STORAGE_FULL
        } else {
            StatusCode::STORAGE_WRITE_ERROR
        };
        Fault::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, JobError, told_by_client};
    use outlast_repository::{BlobId, BlobKind, Damage, RepositoryError};
    use std::io::{Error, ErrorKind};
    use std::path::Path;

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

    #[test]
    fn s10_s11_every_storage_error_has_its_code_and_names_the_place() {
        let io = |kind: ErrorKind| RepositoryError::from_io(Path::new("/mnt/unit"), Error::from(kind));
        let refused = RepositoryError::Refused {
            kind: BlobKind::Data,
            id: BlobId::of(b"x"),
            damage: Damage::HashMismatch,
        };
        let lost = RepositoryError::LockLost {
            location: "/mnt/unit".into(),
            hostname: "media-1".into(),
        };
        let rows = [
            (io(ErrorKind::StorageFull), 129),
            (io(ErrorKind::QuotaExceeded), 129),
            (io(ErrorKind::PermissionDenied), 84),
            (io(ErrorKind::Other), 84),
            (refused, 59),
            (lost, 2106),
        ];
        for (error, code) in rows {
            let fault = Fault::storage("unit-1", &error);
            assert_eq!(fault.code.0, code, "{error}");
            assert!(
                fault.text.contains("unit-1") && fault.text.len() > 30,
                "{}",
                fault.text
            );
            assert_eq!(Fault::unavailable("unit-1", &error).code.0, 2106);
        }
    }
}
