//! Which error of the repository or the journal ends an attempt with which code (S-10, S-11): the one table.
//!
//! Used by everything that runs attempts.

use outlast_proto::words::{StatusCode, StorageFault};
use outlast_repository::{RepositoryError, SnapshotId};

pub(crate) use outlast_media_core::{Fault, shorten, told_by_client};

use crate::journal::JournalError;
use crate::tickets::Work;

/// The storage unit could not be opened, locked or read at all.
pub(crate) fn unavailable(unit: &str, error: &RepositoryError) -> Fault {
    let code = match error {
        RepositoryError::StorageFull { .. } => StatusCode::STORAGE_FULL,
        RepositoryError::ReadOnly { .. } => StatusCode::STORAGE_WRITE_ERROR,
        _ => StatusCode::STORAGE_UNIT_NOT_AVAILABLE,
    };
    // What cannot be opened may be open to others; what is damaged is damaged for all.
    let storage = match whose(error) {
        Some(StorageFault::OfTheUnit) if !error.is_loss() => Some(StorageFault::AtThisAgent),
        whose => whose,
    };
    Fault::new(code, format!("storage unit \"{unit}\": {error}")).of_storage(storage)
}

/// Somebody only reads, and cannot: no code may say that something could not be written.
pub(crate) fn reading(unit: &str, error: &RepositoryError) -> Fault {
    let code = StatusCode::STORAGE_UNIT_NOT_AVAILABLE;
    Fault::new(code, format!("storage unit \"{unit}\": {error}"))
}

/// The snapshot of a restore point cannot be read.
pub(crate) fn restore_point(unit: &str, id: &SnapshotId, error: &RepositoryError) -> Fault {
    match error {
        gone if gone.is_not_found() => Fault::new(
            StatusCode::NO_SUCH_PATH,
            format!(
                "restore point {id} is gone from storage unit \"{unit}\": its snapshot is not there, nor one that was made from it; it was \
                 removed there (restic forget, or by hand), or an older copy of the repository was put back; nothing was restored from \
                 another one"
            ),
        ),
        RepositoryError::SeveralSuccessors { .. } => Fault::new(
            StatusCode::NO_SUCH_PATH,
            format!("storage unit \"{unit}\": {error}"),
        ),
        error => reading(unit, error),
    }
}

/// A part of this program failed. A restore writes nothing to the storage unit, so its code may not say that.
pub(crate) fn panicked(work: &Work, what: &str) -> Fault {
    let code = match work {
        Work::Backup => StatusCode::STORAGE_WRITE_ERROR,
        Work::Restore { .. } => StatusCode::STORAGE_UNIT_NOT_AVAILABLE,
    };
    Fault::new(
        code,
        format!("the media agent failed ({what}); its log says more"),
    )
}

/// The storage unit failed in mid-work.
pub(crate) fn storage(unit: &str, error: &RepositoryError) -> Fault {
    let code = match error {
        RepositoryError::StorageFull { .. } => StatusCode::STORAGE_FULL,
        RepositoryError::Refused { .. } => StatusCode::ACCESS_NOT_ALLOWED,
        RepositoryError::Locked { .. }
        | RepositoryError::LockLost { .. }
        | RepositoryError::Replaced { .. }
        | RepositoryError::NotARepository { .. }
        | RepositoryError::Away { .. } => StatusCode::STORAGE_UNIT_NOT_AVAILABLE,
        _ => StatusCode::STORAGE_WRITE_ERROR,
    };
    Fault::new(code, format!("storage unit \"{unit}\": {error}")).of_storage(whose(error))
}

/// Whether another media agent may be able to do what this error kept this one from (F-18), or the unit itself is to be suspected (F-19).
const fn whose(error: &RepositoryError) -> Option<StorageFault> {
    match error {
        RepositoryError::StorageFull { .. } => Some(StorageFault::Full),
        RepositoryError::ReadOnly { .. }
        | RepositoryError::PermissionDenied { .. }
        | RepositoryError::Away { .. }
        | RepositoryError::Locked { .. }
        | RepositoryError::LockLost { .. }
        | RepositoryError::Replaced { .. }
        | RepositoryError::NotARepository { .. } => Some(StorageFault::AtThisAgent),
        // Damage, unreadable index files, bad sectors, and file systems that do not hold what they took: it is looked at once it has its name.
        RepositoryError::Damaged { .. }
        | RepositoryError::MissingBlob { .. }
        | RepositoryError::NotFound { .. }
        | RepositoryError::Io { .. } => Some(StorageFault::OfTheUnit),
        // Of who sent it, of this process or host, or of a configuration.
        _ => None,
    }
}

impl From<JournalError> for Fault {
    fn from(error: JournalError) -> Self {
        // Never 129, whose page speaks of the storage unit: a full disk of the journal is waited for.
        let text = format!("the media agent's data folder, not the storage unit, failed: {error}");
        Fault::new(StatusCode::STORAGE_WRITE_ERROR, text)
    }
}

#[cfg(test)]
mod tests {
    use super::{storage, unavailable};
    use outlast_proto::words::StorageFault::{self, AtThisAgent, Full, OfTheUnit};
    use outlast_repository::{BlobId, BlobKind, Damage, Found, RepositoryError};
    use rustix::io::Errno;
    use std::io::{Error, ErrorKind};
    use std::path::Path;

    #[test]
    fn s10_s11_every_storage_error_has_its_code_and_names_the_place() {
        let io = |kind: ErrorKind| RepositoryError::from_io(Path::new("/mnt/unit"), Error::from(kind));
        let errno = |errno: Errno| RepositoryError::from_io(Path::new("/mnt/unit"), errno.into());
        let refused = RepositoryError::Refused {
            kind: BlobKind::Data,
            id: BlobId::of(b"x"),
            damage: Damage::HashMismatch,
        };
        let lost = RepositoryError::LockLost {
            location: "/mnt/unit".into(),
            hostname: "media-1".into(),
        };
        let replaced = |found| RepositoryError::Replaced {
            location: "/mnt/unit".into(),
            expected: "ab".repeat(32),
            found,
        };
        let none = RepositoryError::NotARepository {
            location: "/mnt/unit".into(),
            found: Found::Empty,
        };
        let other = replaced(Found::Other { id: None });
        let damaged = RepositoryError::Damaged {
            kind: outlast_repository::ObjectKind::Blob(BlobKind::Tree),
            name: "ab".into(),
            location: "/mnt/unit".into(),
            damage: Damage::HashMismatch,
        };
        // In mid-work, and before it; whose fault it is then (F-18, F-19).
        type Row = (
            RepositoryError,
            (u16, Option<StorageFault>),
            (u16, Option<StorageFault>),
        );
        let here = Some(AtThisAgent);
        let rows: [Row; 14] = [
            (io(ErrorKind::StorageFull), (129, Some(Full)), (129, Some(Full))),
            (io(ErrorKind::QuotaExceeded), (129, Some(Full)), (129, Some(Full))),
            (io(ErrorKind::ReadOnlyFilesystem), (84, here), (84, here)),
            (io(ErrorKind::PermissionDenied), (84, here), (2106, here)),
            (io(ErrorKind::Other), (84, Some(OfTheUnit)), (2106, here)),
            (damaged, (84, Some(OfTheUnit)), (2106, Some(OfTheUnit))),
            (refused, (59, None), (2106, None)),
            (lost, (2106, here), (2106, here)),
            (none, (2106, here), (2106, here)),
            (other, (2106, here), (2106, here)),
            (replaced(Found::MountedAnew), (2106, here), (2106, here)),
            (errno(Errno::STALE), (2106, here), (2106, here)),
            (errno(Errno::NOTCONN), (2106, here), (2106, here)),
            (errno(Errno::HOSTDOWN), (2106, here), (2106, here)),
        ];
        for (error, (code, whose), before) in rows {
            let fault = storage("unit-1", &error);
            assert_eq!((fault.code.0, fault.storage), (code, whose), "{error}");
            assert!(
                fault.text.contains("unit-1") && fault.text.len() > 30,
                "{}",
                fault.text
            );
            let fault = unavailable("unit-1", &error);
            assert_eq!((fault.code.0, fault.storage), before, "{error}");
        }
    }
}
