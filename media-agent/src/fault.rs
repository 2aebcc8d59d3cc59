//! Why an attempt cannot go on: a code of S-10 and a text that names the cause for a person (S-07, S-11).
//!
//! The one table from errors of the repository and the journal to codes. Used by everything that runs attempts.

use outlast_proto::v1::AttemptOver;
use outlast_proto::words::StatusCode;
use outlast_repository::RepositoryError;

use crate::journal::JournalError;

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
            text: text.into(),
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
    use super::Fault;
    use outlast_repository::{BlobId, BlobKind, Damage, RepositoryError};
    use std::io::{Error, ErrorKind};
    use std::path::Path;

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
