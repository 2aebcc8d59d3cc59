//! A repository that was opened: the handle through which everything else goes.
//! `init` opens and initialises, `read` reads blobs, `reader` many of them, `snapshots` keeps snapshots; locks and the writer have files of
//! their own. Called by the media agent.

mod init;
mod read;
mod reader;
mod snapshots;

use std::sync::{Arc, Once};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use init::InitOptions;
pub use reader::BlobReader;
pub use snapshots::SnapshotList;

use crate::crypto::{Config, MasterKey};
use crate::error::{RepositoryError, Result};
use crate::id::{BlobId, BlobKind};
use crate::index::{Index, IndexLoad};
use crate::object;
use crate::storage::{FileKind, Storage};

/// A handle; clones share the key and the loaded index.
#[derive(Debug, Clone)]
pub struct Repository {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    storage: Arc<dyn Storage>,
    key: MasterKey,
    config: Config,
    index: Index,
    cleaned: Once,
}

impl Repository {
    fn new(storage: Arc<dyn Storage>, key: MasterKey, config: Config) -> Repository {
        Repository {
            inner: Arc::new(Inner {
                storage,
                key,
                config,
                index: Index::new(),
                cleaned: Once::new(),
            }),
        }
    }

    /// The identifier given when it was initialised.
    pub fn id(&self) -> &str {
        &self.inner.config.id
    }

    pub fn location(&self) -> &str {
        self.inner.storage.location()
    }

    /// Reads index files that are new since the last call and forgets those that are gone. A handle that was just
    /// opened knows no blobs before the first call.
    pub fn reload_index(&self) -> Result<IndexLoad> {
        self.index().reload(self.storage(), self.key())
    }

    /// Whether a loaded index names the blob.
    pub fn contains(&self, kind: BlobKind, id: &BlobId) -> bool {
        self.index().contains(kind, id)
    }

    /// Removes temporary files of interrupted writes that are older than a day; gives their number. The first writer
    /// of a handle does it too.
    pub fn remove_stale_temporaries(&self) -> Result<usize> {
        self.storage()
            .remove_stale_temporaries(Duration::from_secs(24 * 3600))
    }

    /// Removes them once for every handle. A failure is no reason not to write.
    pub(crate) fn remove_stale_temporaries_once(&self) {
        self.inner
            .cleaned
            .call_once(|| match self.remove_stale_temporaries() {
                Ok(0) => {}
                Ok(files) => tracing::info!(files, "files of interrupted writes removed"),
                Err(error) => tracing::warn!(%error, "files of interrupted writes stay"),
            });
    }

    pub(crate) fn storage(&self) -> &dyn Storage {
        &*self.inner.storage
    }

    pub(crate) fn key(&self) -> &MasterKey {
        &self.inner.key
    }

    pub(crate) fn index(&self) -> &Index {
        &self.inner.index
    }

    /// Seals and writes an index, snapshot or lock; its name is the returned checksum.
    pub(crate) fn save_object(&self, kind: FileKind, value: &impl Serialize) -> Result<BlobId> {
        let (id, bytes) = object::encode(value, self.key())?;
        self.storage().write(kind, &id.to_string(), &bytes)?;
        Ok(id)
    }

    /// As [`Repository::save_object`], for what is to have no effect if it cannot be made durable: a rename whose directory
    /// could not be synced can be seen all the same. Not for an index: others may rely on it already, and its packs are there.
    pub(crate) fn save_or_take_back(&self, kind: FileKind, value: &impl Serialize) -> Result<BlobId> {
        let (id, bytes) = object::encode(value, self.key())?;
        let name = id.to_string();
        let written = self.storage().write(kind, &name, &bytes);
        if written.is_err() {
            match self.storage().remove(kind, &name) {
                Ok(()) => tracing::warn!(file = name, "a {kind} that is perhaps not durable was taken back"),
                Err(error) if error.is_not_found() => {}
                Err(error) => tracing::error!(
                    file = name, %error,
                    "a {kind} that is perhaps not durable could not be taken back; if it is still there, remove it"
                ),
            }
        }
        written.map(|()| id)
    }

    pub(crate) fn load_object<T: DeserializeOwned>(&self, kind: FileKind, name: &str) -> Result<T> {
        let sealed = self.storage().read(kind, name)?;
        object::decode(name, sealed, self.key())
            .map_err(|damage| RepositoryError::damaged_file(self.location(), kind, name, damage))
    }
}
