//! Why the journal could not be opened or written, each with what to do about it.
//!
//! No recovery here. Used by the journal and by whoever starts or appends to it.

use std::path::PathBuf;
use std::sync::Arc;

/// A journal operation failed; nothing of it happened.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum JournalError {
    #[error("{} is not a journal of this program; move it away if it is not ours", path.display())]
    NotAJournal { path: PathBuf },
    #[error(
        "{} was written by a newer version (journal format {version}, this program knows {}); update this program",
        path.display(), super::format::VERSION
    )]
    NewerFormat { path: PathBuf, version: u32 },
    #[error(
        "the journal {} is damaged at byte {offset}, in the middle of valid records: the disk lost or changed data. \
         Check the disk; then move the folder {} away and start again: the primary will have this agent's open \
         attempts surveyed", path.display(), path.parent().unwrap_or(path).display()
    )]
    Damaged { path: PathBuf, offset: u64 },
    #[error(
        "the journal file number {missing} is missing in {}; bring it back, or move the folder away and start again: \
         the primary will have this agent's open attempts surveyed", dir.display()
    )]
    SegmentMissing { dir: PathBuf, missing: u64 },
    #[error("the disk of {} is full, the journal cannot be written: {source}; free space there", path.display())]
    Full {
        path: PathBuf,
        source: Arc<std::io::Error>,
    },
    #[error("the journal {} cannot be read or written: {source}; check the disk", path.display())]
    Io {
        path: PathBuf,
        source: Arc<std::io::Error>,
    },
    #[error("a record of {length} bytes is larger than the journal takes")]
    TooLarge { length: usize },
    #[error(
        "the journal was closed after an error that left its state on disk unknown; restart the media agent"
    )]
    Closed,
}

impl JournalError {
    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        let (path, full) = (path.into(), is_full(&source));
        let source = Arc::new(source);
        if full {
            JournalError::Full { path, source }
        } else {
            JournalError::Io { path, source }
        }
    }

    /// Whether the same operation may succeed later, when somebody has freed space.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, JournalError::Full { .. })
    }
}

fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}
