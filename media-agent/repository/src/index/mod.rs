//! The index: in which pack, and where in it, every blob is.
//! `file` is the form on disk, `table` the compact one in memory (`blobs` most of it, `trust` what of it is damaged), this file what keeps the two in step.
//! Called by `repository` and `writer`.

mod blobs;
mod file;
mod table;
mod trust;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use parking_lot::{Mutex, RwLock};

pub(crate) use file::IndexFile;
pub use table::Flawed;
pub(crate) use table::{IdHasher, Location};

use crate::crypto::MasterKey;
use crate::error::{RepositoryError, Result};
use crate::id::{BlobId, BlobKind, IndexId, PackId};
use crate::index::table::Table;
use crate::pack::PackedBlob;
use crate::storage::{FileKind, Storage};

/// What is known after a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexLoad {
    /// Index files in memory.
    pub files: usize,
    /// Distinct blobs in them.
    pub blobs: usize,
    /// Memory they take.
    pub bytes_in_memory: usize,
}

/// The loaded index. Readers, writers and a reload work on it at the same time.
pub(crate) struct Index {
    table: RwLock<Table>,
    reload: Mutex<()>,
    aside: Mutex<Aside>,
}

/// What index files tell beside the blobs.
#[derive(Default)]
struct Aside {
    /// Files that could not be read when they were last looked at. They count as absent.
    damaged: BTreeSet<IndexId>,
    /// Packs that are about to be removed, by who says so.
    to_delete: HashMap<IndexId, Vec<PackId>>,
    /// How many files went away after they were read.
    gone: usize,
}

impl Index {
    pub(crate) fn new() -> Index {
        Index {
            table: RwLock::new(Table::new()),
            reload: Mutex::new(()),
            aside: Mutex::default(),
        }
    }

    /// Whether a copy of the blob is there that is not known to be damaged.
    pub(crate) fn contains(&self, kind: BlobKind, id: &BlobId) -> bool {
        self.table.read().contains(kind, id)
    }

    /// Whether the blob is known, and every copy of it is damaged or missing.
    pub(crate) fn is_lost(&self, kind: BlobKind, id: &BlobId) -> bool {
        self.table.read().is_lost(kind, id)
    }

    /// A blob was read as damaged. Whether that is news, and whether its pack is given up because of it.
    pub(crate) fn distrust_blob(&self, pack: PackId, kind: BlobKind, id: BlobId) -> (bool, bool) {
        self.table.write().distrust_blob(pack, kind, id)
    }

    /// Nothing in the pack is to be trusted. Whether that is news.
    pub(crate) fn distrust_pack(&self, pack: PackId) -> bool {
        self.table.write().distrust_pack(pack)
    }

    /// The pack is missing or cut, or is whole again. Whether that is news.
    pub(crate) fn set_absent(&self, pack: PackId, is_absent: bool) -> bool {
        self.table.write().set_absent(pack, is_absent)
    }

    pub(crate) fn is_absent(&self, pack: &PackId) -> bool {
        self.table.read().is_absent(pack)
    }

    /// All packs that index files name, and the size their files should have; zero: not known.
    pub(crate) fn expected_packs(&self) -> HashMap<PackId, u64> {
        self.table.read().expected_packs()
    }

    /// The size that the pack's file should have; zero: not known.
    pub(crate) fn expected_size(&self, pack: &PackId) -> u64 {
        self.table.read().expected_size(pack)
    }

    pub(crate) fn flawed(&self) -> Flawed {
        self.table.read().flawed()
    }

    /// A place of a blob; a good one if there is any.
    pub(crate) fn location(&self, kind: BlobKind, id: &BlobId) -> Option<Location> {
        self.table.read().location(kind, id)
    }

    /// All known places of a blob, good ones first; more than one only if it was stored twice.
    pub(crate) fn locations(&self, kind: BlobKind, id: &BlobId) -> Vec<Location> {
        self.table.read().locations(kind, id)
    }

    /// Takes over an index file that was just written.
    pub(crate) fn add_file(&self, id: IndexId, packs: &[(PackId, Vec<PackedBlob>)]) {
        self.table.write().add_file(id, packs);
    }

    /// Index files that are there and could not be read.
    pub(crate) fn damaged_files(&self) -> BTreeSet<IndexId> {
        self.aside.lock().damaged.clone()
    }

    /// How many index files went away after they were read.
    pub(crate) fn gone_files(&self) -> usize {
        self.aside.lock().gone
    }

    /// Packs that somebody is about to remove.
    pub(crate) fn packs_to_delete(&self) -> HashSet<PackId> {
        self.aside.lock().to_delete.values().flatten().copied().collect()
    }

    /// Reads the index files that are new and forgets those that are gone. One that is damaged counts as absent: what only it named
    /// does, too, and everything else goes on.
    pub(crate) fn reload(&self, storage: &dyn Storage, key: &MasterKey) -> Result<IndexLoad> {
        let _one_at_a_time = self.reload.lock();
        // Taken before listing: a file that a writer adds in the meantime is in neither and stays.
        let before = self.table.read().files();
        let listed = list(storage)?;
        let missing: Vec<IndexId> = listed.iter().filter(|id| !before.contains(id)).copied().collect();
        let damaged = self.load(&missing, storage, key)?;
        let known = std::mem::replace(&mut self.aside.lock().damaged, damaged.keys().copied().collect());
        for (id, error) in damaged.iter().filter(|(id, _)| !known.contains(id)) {
            tracing::error!(%id, %error, "an index file is damaged and counts as absent");
        }
        self.forget(&before, &listed);
        Ok(self.table.read().load())
    }

    /// Forgets the index files that are gone, and reads none; gives their number.
    pub(crate) fn forget_gone(&self, storage: &dyn Storage) -> Result<usize> {
        let _one_at_a_time = self.reload.lock();
        let before = self.table.read().files();
        Ok(self.forget(&before, &list(storage)?))
    }

    fn forget(&self, before: &HashSet<IndexId>, listed: &HashSet<IndexId>) -> usize {
        let gone: Vec<IndexId> = before.difference(listed).copied().collect();
        if !gone.is_empty() {
            self.table.write().remove_files(&gone);
            let mut aside = self.aside.lock();
            gone.iter().for_each(|id| drop(aside.to_delete.remove(id)));
            aside.gone += gone.len();
        }
        gone.len()
    }

    /// Reads and decodes on several threads; the table is locked only to insert. Gives the files that are damaged.
    fn load(
        &self,
        ids: &[IndexId],
        storage: &dyn Storage,
        key: &MasterKey,
    ) -> Result<BTreeMap<IndexId, RepositoryError>> {
        let damaged = Mutex::new(BTreeMap::new());
        let next = std::sync::atomic::AtomicUsize::new(0);
        let work = || -> Result<()> {
            while let Some(id) = ids.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                match read_file(storage, key, id) {
                    Ok(Some(file)) => self.take_in(*id, file),
                    Ok(None) => {}
                    Err(error @ RepositoryError::Damaged { .. }) => {
                        damaged.lock().insert(*id, error);
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        let threads = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(4)
            .min(ids.len());
        if threads < 2 {
            work()?;
            return Ok(damaged.into_inner());
        }
        std::thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            running.into_iter().try_for_each(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;
        Ok(damaged.into_inner())
    }

    fn take_in(&self, id: IndexId, file: IndexFile) {
        let to_delete = file.to_delete();
        if !to_delete.is_empty() {
            self.aside.lock().to_delete.insert(id, to_delete);
        }
        self.add_file(id, &file.into_packs());
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Index").field(&self.table.read().load()).finish()
    }
}

fn list(storage: &dyn Storage) -> Result<HashSet<IndexId>> {
    let listed = storage.list(FileKind::Index)?;
    Ok(listed.iter().filter_map(|(name, _)| name.parse().ok()).collect())
}

/// One index file; nothing if it was removed since it was listed.
fn read_file(storage: &dyn Storage, key: &MasterKey, id: &IndexId) -> Result<Option<IndexFile>> {
    let name = id.to_string();
    let sealed = match storage.read(FileKind::Index, &name) {
        Ok(sealed) => sealed,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let file = crate::object::decode::<IndexFile>(&name, sealed, key).and_then(IndexFile::checked);
    file.map(Some)
        .map_err(|damage| RepositoryError::damaged_file(storage.location(), FileKind::Index, &name, damage))
}
