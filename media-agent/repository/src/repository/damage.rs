//! What was found missing or damaged: it counts as absent from then on, for everybody who uses this repository.
//!
//! Packs are listed and their sizes compared; what reads find is noted, and written to files of its own kind, sealed like an
//! index and added to only. Missing and cut packs are not written down: every listing finds them, and finds them whole
//! again if somebody brings them back. Called by `read` and by the media agent.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::error::{RepositoryError, Result};
use crate::id::{BlobId, BlobKind, PackId};
use crate::index::Flawed;
use crate::repository::Repository;
use crate::storage::{FileKind, Found};

const VERSION: u32 = 1;

#[derive(Debug, Default)]
pub(super) struct DamageNotes {
    state: Mutex<State>,
    /// Held while a list is written.
    writing: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Everything that was news, absent packs too.
    count: u64,
    unwritten: Vec<Entry>,
    /// Lists that were read or written.
    known: HashSet<String>,
}

#[derive(Serialize, Deserialize)]
struct DamageFile {
    version: u32,
    #[serde(default)]
    damaged: Vec<Entry>,
}

/// A blob, or a whole pack.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    pack: PackId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blob: Option<BlobEntry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct BlobEntry {
    #[serde(rename = "type")]
    kind: BlobKind,
    id: BlobId,
}

impl Repository {
    /// How much damage was found so far, by listing, by reading, and by others: it rises with each piece.
    pub fn damage_found(&self) -> u64 {
        self.damage().state.lock().count
    }

    /// What of the loaded index is missing or damaged.
    pub fn flawed(&self) -> Flawed {
        self.index().flawed()
    }

    /// Whether what the loaded index was read from is still there, and the packs that it names: who holds a lock may find them gone
    /// all the same, for not everybody asks for locks. Reads nothing that is new.
    pub fn look_again(&self) -> Result<()> {
        self.prove()?;
        let gone = self.index().forget_gone(self.storage())?;
        if gone > 0 {
            self.damage().state.lock().count += 1;
            tracing::error!(
                files = gone,
                repository = self.location(),
                "index files are gone; what only they named counts as absent"
            );
        }
        self.look_for_packs()
    }

    /// Looks for every pack of the loaded index. One that is missing, or has another size than its blobs need, counts as
    /// absent until a later call finds it whole.
    pub fn look_for_packs(&self) -> Result<()> {
        let listed: HashMap<PackId, u64> = self
            .storage()
            .list(FileKind::Pack)?
            .into_iter()
            .filter_map(|(name, size)| Some((name.parse().ok()?, size)))
            .collect();
        for (pack, expected) in self.index().expected_packs() {
            let is_whole = match listed.get(&pack) {
                Some(size) => *size == expected || expected == 0,
                None => false,
            };
            // Written since the list was made, perhaps.
            let is_absent = !is_whole && self.is_absent(&pack, expected)?;
            if is_absent {
                self.must_be_its_folder(&pack)?;
            }
            self.set_absent(pack, is_absent);
        }
        Ok(())
    }

    /// What is only hidden by a mount is not to be stored anew, least of all there.
    fn must_be_its_folder(&self, pack: &PackId) -> Result<()> {
        match self.storage().mounted_over(&pack.to_string())? {
            None => Ok(()),
            Some(folder) => Err(RepositoryError::Replaced {
                location: self.location().to_owned(),
                expected: self.id().to_owned(),
                found: Found::MountedOver { folder },
            }),
        }
    }

    /// Looks at one pack closely: an index may know less of it than there is in it.
    fn is_absent(&self, pack: &PackId, expected: u64) -> Result<bool> {
        let size = match self.storage().size(FileKind::Pack, &pack.to_string()) {
            Ok(size) if size == expected && size > 0 => return Ok(false),
            Ok(size) => size,
            Err(error) if error.is_not_found() => return Ok(true),
            Err(error) => return Err(error),
        };
        match self.pack_blobs(pack, size) {
            Ok(_) => Ok(false),
            Err(RepositoryError::Damaged { .. }) => Ok(true),
            Err(error) if error.is_not_found() => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn set_absent(&self, pack: PackId, is_absent: bool) {
        if !self.index().set_absent(pack, is_absent) {
            return;
        }
        if is_absent {
            self.damage().state.lock().count += 1;
            tracing::error!(
                %pack, repository = self.location(),
                "a pack is missing or not whole; what is in it counts as absent"
            );
        } else {
            tracing::info!(%pack, repository = self.location(), "a pack that was missing is whole again");
        }
    }

    /// A copy of a blob could not be read. If that is because it is damaged, it is no copy any more.
    pub(super) fn note_damage(&self, kind: BlobKind, id: &BlobId, pack: &PackId, error: &RepositoryError) {
        if !matches!(error, RepositoryError::Damaged { .. }) || self.index().is_absent(pack) {
            return;
        }
        let expected = self.index().expected_size(pack);
        if self.is_absent(pack, expected).unwrap_or(false) {
            return self.set_absent(*pack, true);
        }
        let (is_news, gives_up_pack) = self.index().distrust_blob(*pack, kind, *id);
        if !is_news {
            return;
        }
        tracing::error!(%kind, %id, %pack, %error, "damage was found; what is damaged counts as absent");
        let mut state = self.damage().state.lock();
        state.count += 1;
        state.unwritten.push(Entry {
            pack: *pack,
            blob: Some(BlobEntry { kind, id: *id }),
        });
        if gives_up_pack {
            tracing::error!(%pack, "so much of a pack is damaged that all of it counts as absent");
            state.unwritten.push(Entry {
                pack: *pack,
                blob: None,
            });
        }
    }

    /// There is damage that is news; whoever relies on something finished looks at it again.
    pub(super) fn count_damage(&self) {
        self.damage().state.lock().count += 1;
    }

    /// Writes down what reads have found; it is durable, and others know it, when this returns.
    pub fn remember_damage(&self) -> Result<()> {
        let _one_at_a_time = self.damage().writing.lock();
        let damaged = std::mem::take(&mut self.damage().state.lock().unwritten);
        if damaged.is_empty() {
            return Ok(());
        }
        let file = DamageFile {
            version: VERSION,
            damaged,
        };
        let written = self.save_object(FileKind::Damage, &file);
        let mut state = self.damage().state.lock();
        match written {
            Ok(name) => {
                state.known.insert(name.to_string());
                Ok(())
            }
            Err(error) => {
                state.unwritten.extend(file.damaged);
                Err(error)
            }
        }
    }

    /// Reads what was found by others, or by an earlier process. A list that cannot be read keeps nobody from working.
    pub(super) fn recall_damage(&self) -> Result<()> {
        for (name, _) in self.storage().list(FileKind::Damage)? {
            if self.damage().state.lock().known.contains(&name) {
                continue;
            }
            match self.damage_file(&name) {
                Ok(Some(file)) => self.take_in(file.damaged),
                Ok(None) => {}
                Err(error) if error.is_not_found() => continue,
                Err(error @ RepositoryError::Damaged { .. }) => {
                    tracing::warn!(%error, "a list of damage cannot be read");
                }
                Err(error) => return Err(error),
            }
            self.damage().state.lock().known.insert(name);
        }
        Ok(())
    }

    fn damage_file(&self, name: &str) -> Result<Option<DamageFile>> {
        let file: DamageFile = self.load_object(FileKind::Damage, name)?;
        if file.version > VERSION {
            let version = file.version;
            tracing::warn!(
                name,
                version,
                "a list of damage was written by a newer version of this program"
            );
            return Ok(None);
        }
        Ok(Some(file))
    }

    fn take_in(&self, damaged: Vec<Entry>) {
        for entry in damaged {
            let is_news = match entry.blob {
                Some(blob) => self.index().distrust_blob(entry.pack, blob.kind, blob.id).0,
                None => self.index().distrust_pack(entry.pack),
            };
            self.damage().state.lock().count += u64::from(is_news);
        }
    }
}
