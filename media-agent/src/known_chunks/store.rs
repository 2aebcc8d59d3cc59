//! Loads what a client may name, from its cache file and its snapshots, and keeps it for the next attempt.
//!
//! No decision about an offer is made here. Called by `backup::chunks` on the engine's thread.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use outlast_kit::files::{create_folder, write_durably};
use outlast_repository::{Repository, RepositoryError, SnapshotId};
use parking_lot::Mutex;

use super::cache;
use super::own::OwnChunks;
use super::reach::Reach;
use super::snapshots::{Root, Snapshots};
use crate::storage::SnapshotOwner;

/// Of one storage unit, for all its clients.
pub(crate) struct KnownChunks {
    folder: PathBuf,
    snapshots: Snapshots,
    /// Held while a cache file is written: two attempts of a client may end at the same moment.
    writing: Mutex<()>,
}

/// What a client may name could not be found out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The attempt was told to end meanwhile.
    #[error("the attempt ends")]
    Halted,
    #[error(transparent)]
    Storage(#[from] RepositoryError),
}

impl KnownChunks {
    /// Cache files lie in `folder`, one for each client; it is made when the first is written.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            snapshots: Snapshots::default(),
            writing: Mutex::new(()),
        }
    }

    /// What the owner's snapshots reach. The index must be loaded.
    pub(crate) fn load(
        &self,
        repository: &Repository,
        owner: &SnapshotOwner,
        is_halted: &dyn Fn() -> bool,
    ) -> Result<OwnChunks, LoadError> {
        let snapshots = self.snapshots.of(repository, owner)?;
        if snapshots.is_empty() {
            return Ok(OwnChunks::default());
        }
        let began = Instant::now();
        let mut own = self
            .cached(repository.id(), owner, &snapshots)
            .unwrap_or_default();
        let mut reach = Reach::new(repository, is_halted);
        // A host on which nothing changes makes one snapshot of the same tree after the other.
        for root in own.covered.iter().filter_map(|id| snapshots.get(id)) {
            reach.take_as_read(&root.tree);
        }
        let mut walked = 0;
        for (id, root) in &snapshots {
            if own.covered.contains(id) {
                continue;
            }
            walked += 1;
            if reach.add(root.tree, &mut own.set)? && !root.is_checkpoint {
                own.covered.insert(*id);
                own.has_changed = true;
            }
        }
        tracing::info!(
            client = owner.client,
            chunks = own.set.len(),
            snapshots = snapshots.len(),
            walked,
            seconds = began.elapsed().as_secs_f64(),
            "the chunks this client may name are known"
        );
        Ok(own)
    }

    /// What the cache file says, if it counts and all its snapshots are still there.
    fn cached(
        &self,
        repository: &str,
        owner: &SnapshotOwner,
        snapshots: &BTreeMap<SnapshotId, Root>,
    ) -> Option<OwnChunks> {
        let path = self.file_of(owner);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                if error.kind() != std::io::ErrorKind::NotFound {
                    tracing::warn!(file = %path.display(), %error, "a cache file cannot be read; it is made anew");
                }
                return None;
            }
        };
        match cache::decode(&bytes, repository, owner) {
            // What only a snapshot that is gone reached is nobody's any more.
            Ok(own) => own
                .covered
                .iter()
                .all(|id| snapshots.contains_key(id))
                .then_some(own),
            Err(reason) => {
                tracing::warn!(file = %path.display(), %reason, "a cache file does not count; it is made anew");
                None
            }
        }
    }

    /// Writes the cache file, if there is news. Without one the next attempt walks the snapshots again.
    pub(crate) fn keep(&self, repository: &str, owner: &SnapshotOwner, mut own: OwnChunks) {
        if !own.has_changed {
            return;
        }
        let path = self.file_of(owner);
        let bytes = cache::encode(repository, owner, &mut own);
        drop(own);
        let _one_at_a_time = self.writing.lock();
        let written = create_folder(&self.folder, 0o700).and_then(|()| write_durably(&path, &bytes, 0o600));
        if let Err(error) = written {
            tracing::warn!(file = %path.display(), %error, "a cache file could not be written");
        }
    }

    fn file_of(&self, owner: &SnapshotOwner) -> PathBuf {
        // Names of agents are file names by their alphabet.
        self.folder.join(format!("{}.chunks", owner.client))
    }
}
