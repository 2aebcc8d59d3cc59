//! The data directory: used by one process at a time, and where things lie in it.
//!
//! Used by `run`.

use std::path::{Path, PathBuf};

use outlast_kit::data_folder::HeldFolder;
use outlast_kit::files::{create_folder, sync_folder};
use outlast_proto::words::AgentName;

use crate::error::RunError;

const CLUSTER: &str = "cluster.json";

/// A data directory that is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _held: HeldFolder,
}

impl DataDir {
    /// Makes the directory if need be and takes it for the agent of that name.
    ///
    /// # Errors
    /// [`RunError`] if it cannot be used or another process has it.
    pub(crate) fn take(path: &Path, name: &AgentName) -> Result<Self, RunError> {
        let failed = |source| RunError::DataDir {
            path: path.to_owned(),
            source,
        };
        create_folder(path, 0o700).map_err(failed)?;
        let Some(held) = HeldFolder::take(path, &format!("media-agent {name}")).map_err(failed)? else {
            return Err(RunError::DataDirInUse {
                path: path.to_owned(),
            });
        };
        let taken = Self {
            path: path.to_owned(),
            _held: held,
        };
        taken.keep_cluster_with_journal().map_err(failed)?;
        // What an earlier process renamed into place, perhaps just before a kill, counts from here on.
        sync_folder(path).map_err(failed)?;
        Ok(taken)
    }

    /// Earlier versions had the file one folder up.
    fn keep_cluster_with_journal(&self) -> std::io::Result<()> {
        let before = self.path.join(CLUSTER);
        if !before.exists() {
            return Ok(());
        }
        create_folder(&self.journal(), 0o700)?;
        std::fs::rename(before, self.cluster_file())?;
        sync_folder(&self.journal())
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    pub(crate) fn repository_file(&self) -> PathBuf {
        self.path.join("repository-id")
    }

    pub(crate) fn known_chunks(&self) -> PathBuf {
        self.path.join("known-chunks")
    }

    pub(crate) fn local_socket(&self) -> PathBuf {
        self.path.join("local")
    }

    /// With the journal, too: it is of the same cluster.
    pub(crate) fn recollection(&self) -> PathBuf {
        self.journal().join("group.toml")
    }

    /// Beside the journal: whoever takes a journal elsewhere takes along whose it is.
    pub(crate) fn cluster_file(&self) -> PathBuf {
        self.journal().join(CLUSTER)
    }
}

#[cfg(test)]
mod tests {
    use super::DataDir;
    use crate::error::RunError;

    #[test]
    fn one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let (path, name) = (dir.path().join("new"), "media-1".parse().unwrap());
        let first = DataDir::take(&path, &name).unwrap();
        assert!(matches!(
            DataDir::take(&path, &name).unwrap_err(),
            RunError::DataDirInUse { .. }
        ));
        drop(first);
        DataDir::take(&path, &name).unwrap();
    }
}
