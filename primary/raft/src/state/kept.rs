//! The directory of snapshots: the two newest that are whole, and files under way. What a snapshot file is stands in
//! [`snapshot`](super::snapshot); [`core`](super::core) has new ones kept here, [`open`](super::open) reads them at start.
//!
//! Two, because the applied rows are a cache (docs/adr/0007): a snapshot and the log behind it are what they are rebuilt
//! from. If the newest snapshot has gone bad, the older one and the log behind that must still lead to the same rows, so
//! the log may be purged up to the older one and no further.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use outlast_kit::files::{create_folder, sync_folder};

use crate::format::LogIdForm;
use crate::state::snapshot::{SnapshotFile, is_newer};

const KEPT: usize = 2;

/// See the file's header.
pub(crate) struct Kept {
    dir: PathBuf,
    /// Newest first.
    files: Vec<SnapshotFile>,
    /// What did not check, and why; for whoever looks for a snapshot and finds none.
    bad: Vec<String>,
}

impl Kept {
    /// Opens the directory and reads what is in it. What never was completed, is damaged or older than the two newest
    /// goes.
    ///
    /// # Errors
    /// Any I/O error of the directory, and a snapshot that a newer version wrote.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        create_folder(dir, 0o700)?;
        // A name from before a crash counts only once it is on disk: the log is purged on the strength of it.
        sync_folder(dir)?;
        let mut kept = Self {
            dir: dir.to_path_buf(),
            files: Vec::new(),
            bad: Vec::new(),
        };
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if is_complete(&path) {
                kept.read(&path)?;
            } else {
                fs::remove_file(&path)?;
            }
        }
        kept.trim()?;
        Ok(kept)
    }

    fn read(&mut self, path: &Path) -> io::Result<()> {
        let error = match SnapshotFile::open(path) {
            Ok(file) => {
                self.files.push(file);
                return Ok(());
            }
            Err(error) if is_newer(&error) => return Err(error),
            Err(error) => error,
        };
        tracing::warn!(
            path = %path.display(),
            %error,
            "a snapshot cannot be used; nothing is lost as long as the rows, or the other snapshot and the log, are whole"
        );
        self.bad.push(format!("{}: {error}", path.display()));
        // Anything else may be a matter of rights, or of a disk that reads it the next time.
        if matches!(
            error.kind(),
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
        ) {
            fs::remove_file(path)?;
        }
        Ok(())
    }

    pub(crate) fn newest(&self) -> Option<&SnapshotFile> {
        self.files.first()
    }

    /// What was found not to check at start, in words.
    pub(crate) fn bad(&self) -> &[String] {
        &self.bad
    }

    /// Up to where the log may be purged: what comes behind leads from the older snapshot to the newest state.
    pub(crate) fn purgeable(&self) -> Option<LogIdForm> {
        self.files.get(KEPT - 1).and_then(|file| file.head().applied)
    }

    /// Gives a complete, synced file its name, durably, and lets the third newest go.
    pub(crate) fn adopt(&mut self, file: SnapshotFile) -> io::Result<SnapshotFile> {
        let id = file.head().applied.unwrap_or(LogIdForm { term: 0, index: 0 });
        let path = self.dir.join(format!("snapshot-{:020}-{}", id.index, id.term));
        let file = file.rename(path)?;
        sync_folder(&self.dir)?;
        self.files.retain(|other| other.path() != file.path());
        self.files.push(file.clone());
        self.trim()?;
        Ok(file)
    }

    /// Called with what is durable: a name that comes back after a power cut is removed at the next start.
    fn trim(&mut self) -> io::Result<()> {
        self.files
            .sort_by_key(|file| std::cmp::Reverse(file.head().applied));
        while let Some(file) = (self.files.len() > KEPT).then(|| self.files.pop()).flatten() {
            fs::remove_file(file.path())?;
        }
        Ok(())
    }
}

/// A name for a file under way; what bears one is removed at the next start.
pub(crate) fn under_way(dir: &Path, what: &str) -> PathBuf {
    dir.join(format!("{what}.part"))
}

fn is_complete(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("snapshot-"))
}
