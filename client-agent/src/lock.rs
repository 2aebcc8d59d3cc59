//! One process for each data directory: two would answer for the same tickets.

use std::io;
use std::path::{Path, PathBuf};

use outlast_kit::data_folder::HeldFolder;
use outlast_proto::words::AgentName;

/// The directory cannot be ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{} is in use by another client agent; stop that one or give this one its own data_dir", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Its lock file.
    #[error("cannot lock {}: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Takes the directory until what is given back is dropped or the process ends.
pub(crate) fn take(data_dir: &Path, name: &AgentName) -> Result<HeldFolder, LockError> {
    match HeldFolder::take(data_dir, &format!("client-agent {name}")) {
        Ok(Some(held)) => Ok(held),
        Ok(None) => Err(LockError::InUse {
            path: data_dir.to_owned(),
        }),
        Err(source) => Err(LockError::Io {
            path: data_dir.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::{LockError, take};

    #[test]
    fn a_data_directory_has_one_owner_at_a_time() {
        let temp = tempfile::tempdir().unwrap();
        let name = "laptop".parse().unwrap();
        let first = take(temp.path(), &name).unwrap();
        let second = take(temp.path(), &name).unwrap_err();
        assert!(matches!(second, LockError::InUse { .. }), "{second}");
        drop(first);
        take(temp.path(), &name).unwrap();
    }
}
