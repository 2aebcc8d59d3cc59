//! A repository that was opened: the handle through which everything else goes.
//! `init` opens and initialises, `identity` knows it again, `read` reads blobs, `reader` many of them, `sealed_pieces` a long one piece by piece, `damage` keeps in mind what is wrong, `leftovers` what could not be removed, `snapshots` keeps snapshots, `known_snapshots` those that were read,
//! `unnamed` finds packs without an index; locks and the writer have files of
//! their own. Called by the media agent.

mod damage;
mod identity;
mod init;
mod known_snapshots;
mod leftovers;
mod read;
mod reader;
mod sealed_pieces;
mod snapshots;
mod unnamed;
mod unreadable;
mod whole_packs;

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use init::InitOptions;
pub use reader::{BlobReader, TreesReader};
pub(crate) use sealed_pieces::{OpenedPieces, SealedPieces};
pub use snapshots::SnapshotList;
pub use unnamed::IndexLook;

use crate::crypto::MasterKey;
use crate::error::{RepositoryError, Result};
use crate::id::{BlobId, BlobKind};
use crate::index::{Index, IndexLoad};
use crate::object;
use crate::repository::damage::DamageNotes;
use crate::repository::leftovers::Leftovers;
use crate::storage::{CONFIG_NAME, FileKind, Recognise, Storage};

use identity::Identity;
use known_snapshots::KnownSnapshots;
use unnamed::IndexSeen;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A handle; clones share the key and the loaded index.
#[derive(Debug, Clone)]
pub struct Repository {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    storage: Arc<dyn Storage>,
    identity: Arc<Identity>,
    index: Index,
    damage: DamageNotes,
    known_snapshots: KnownSnapshots,
    /// Of the last look for packs without an index; held while one is made.
    index_looked: Mutex<Option<IndexSeen>>,
    leftovers: Mutex<Arc<Leftovers>>,
    /// When files of interrupted writes were looked for last.
    cleaned: Mutex<Option<Instant>>,
}

/// Holds the place of a repository while something is done with it: what is mounted over it meanwhile, or made there anew, is
/// not taken for it and gets nothing of what is written.
#[derive(Debug)]
pub struct Hold(Arc<dyn Storage>);

impl Hold {
    fn of(storage: &Arc<dyn Storage>) -> Result<Hold> {
        storage.hold()?;
        Ok(Hold(Arc::clone(storage)))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl Repository {
    fn new(storage: Arc<dyn Storage>, identity: Identity) -> Repository {
        let identity = Arc::new(identity);
        storage.bind(Some(Arc::clone(&identity) as Arc<dyn Recognise>));
        Repository {
            inner: Arc::new(Inner {
                storage,
                identity,
                index: Index::new(),
                damage: DamageNotes::default(),
                known_snapshots: KnownSnapshots::default(),
                index_looked: Mutex::default(),
                leftovers: Mutex::default(),
                cleaned: Mutex::default(),
            }),
        }
    }

    /// The identifier given when it was initialised.
    pub fn id(&self) -> &str {
        &self.inner.identity.config.id
    }

    /// Holds its place; see [`Hold`]. Locks do it by themselves.
    pub fn hold(&self) -> Result<Hold> {
        Hold::of(&self.inner.storage)
    }

    /// Whether its place still holds this very repository, with its key (S-14a). Cheap: two small files are read.
    pub fn prove(&self) -> Result<()> {
        self.storage().prove()
    }

    pub fn location(&self) -> &str {
        self.inner.storage.location()
    }

    /// SHA-256 of the sealed config as it lies there: whoever meets the repository's files knows it by that.
    pub fn config_sha256(&self) -> Result<BlobId> {
        Ok(BlobId::of(&self.storage().read(FileKind::Config, CONFIG_NAME)?))
    }

    /// Reads index files that are new since the last call and forgets those that are gone. A handle that was just
    /// opened knows no blobs before the first call. What others have found damaged is read, too.
    pub fn reload_index(&self) -> Result<IndexLoad> {
        let _hold = self.hold()?;
        self.prove()?;
        self.recall_damage()?;
        self.index().reload(self.storage(), self.key())
    }

    /// Whether a loaded index names the blob in a pack of which nothing is known that would keep it from being read.
    pub fn contains(&self, kind: BlobKind, id: &BlobId) -> bool {
        self.index().contains(kind, id)
    }

    /// Removes temporary files of interrupted writes that are older than a day; gives their number. Writers do it too, once a day.
    pub fn remove_stale_temporaries(&self) -> Result<usize> {
        self.storage().remove_stale_temporaries(DAY)
    }

    /// Removes them if that was not done today. A failure is no reason not to write; the next writer tries again.
    pub(crate) fn remove_stale_temporaries_now_and_then(&self) {
        let mut cleaned = self.inner.cleaned.lock();
        if cleaned.is_some_and(|at| at.elapsed() < DAY) {
            return;
        }
        match self.remove_stale_temporaries() {
            Ok(files) => {
                *cleaned = Some(Instant::now());
                if files > 0 {
                    tracing::info!(files, "files of interrupted writes removed");
                }
            }
            Err(error) => tracing::warn!(%error, "files of interrupted writes stay until the next attempt"),
        }
    }

    pub(crate) fn storage(&self) -> &dyn Storage {
        &*self.inner.storage
    }

    pub(crate) fn key(&self) -> &MasterKey {
        &self.inner.identity.key
    }

    pub(crate) fn index(&self) -> &Index {
        &self.inner.index
    }

    fn known_snapshots(&self) -> &KnownSnapshots {
        &self.inner.known_snapshots
    }

    fn damage(&self) -> &DamageNotes {
        &self.inner.damage
    }

    /// Seals and writes an index, snapshot or lock, if the repository is still there; its name is the returned checksum.
    pub(crate) fn save_object(&self, kind: FileKind, value: &impl Serialize) -> Result<BlobId> {
        let (id, bytes) = self.seal_if_there(value)?;
        self.storage().write(kind, &id.to_string(), &bytes)?;
        Ok(id)
    }

    /// As [`Repository::save_object`], for what is to have no effect if it cannot be made durable: a rename whose directory
    /// could not be synced can be seen all the same. Not for an index: others may rely on it already, and its packs are there.
    pub(crate) fn save_or_take_back(&self, kind: FileKind, value: &impl Serialize) -> Result<BlobId> {
        let (id, bytes) = self.seal_if_there(value)?;
        let name = id.to_string();
        let written = self.storage().write(kind, &name, &bytes);
        if written.is_err() {
            // On a file system that is read-only, nothing was written.
            if self.storage().exists(kind, &name).is_ok_and(|there| !there) {
                return written.map(|()| id);
            }
            match self.remove_or_remember(kind, &name) {
                Ok(()) => tracing::warn!(file = name, "a {kind} that is perhaps not durable was taken back"),
                Err(error) => tracing::error!(
                    file = name, %error,
                    "a {kind} that is perhaps not durable could not be taken back; that is tried again until this agent ends"
                ),
            }
        }
        written.map(|()| id)
    }

    /// Everything that becomes final with its file goes through here: nothing does where the repository is not any more.
    fn seal_if_there(&self, value: &impl Serialize) -> Result<(BlobId, Vec<u8>)> {
        self.prove()?;
        object::encode(value, self.key())
    }

    pub(crate) fn load_object<T: DeserializeOwned>(&self, kind: FileKind, name: &str) -> Result<T> {
        let sealed = self.read_or_judge(kind, name, || self.storage().read(kind, name))?;
        object::decode(name, sealed, self.key())
            .map_err(|damage| RepositoryError::damaged_file(self.location(), kind, name, damage))
    }
}
