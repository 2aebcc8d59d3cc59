//! Writes index files for packs that are durable, never for others. Called by `writer` at a flush and by `threads`
//! whenever there is enough for a full file, so that a crash costs little and memory stays bounded.

use crate::error::Result;
use crate::id::{IndexId, PackId};
use crate::index::IndexFile;
use crate::pack::PackedBlob;
use crate::storage::FileKind;
use crate::writer::Flushed;
use crate::writer::progress::DurablePack;
use crate::writer::shared::Shared;

/// As many as restic puts into one index file.
const BLOBS_PER_FILE: usize = 50_000;

impl Shared {
    /// Writes index files until fewer blobs than a full one are left.
    pub(super) fn write_full_indexes(&self) -> Result<()> {
        self.write_indexes(true)
    }

    /// Writes index files until nothing is left.
    pub(super) fn write_all_indexes(&self) -> Result<()> {
        self.write_indexes(false)
    }

    fn write_indexes(&self, only_if_full: bool) -> Result<()> {
        // A flush that gets in here knows that no other thread is still writing one.
        let _one_at_a_time = self.indexing.lock();
        loop {
            self.check()?;
            if self.has_failed() {
                return Ok(());
            }
            let taken = self.progress.take_durable(BLOBS_PER_FILE, only_if_full);
            if taken.is_empty() {
                return Ok(());
            }
            self.write_index(taken)
                .inspect_err(|error| self.fail(error.clone()))?;
        }
    }

    fn write_index(&self, taken: Vec<DurablePack>) -> Result<()> {
        let bytes = taken.iter().map(|pack| pack.bytes).sum();
        let packs: Vec<(PackId, Vec<PackedBlob>)> =
            taken.into_iter().map(|pack| (pack.id, pack.blobs)).collect();
        self.check_lock()?;
        let id = self
            .repository
            .save_object(FileKind::Index, &IndexFile::of(&packs))?;
        let index = self.repository.index();
        let anew = packs.iter().flat_map(|(_, blobs)| blobs);
        self.count_anew(anew.filter(|blob| index.is_lost(blob.kind, &blob.id)));
        index.add_file(IndexId::from_bytes(*id.as_bytes()), &packs);
        let blobs = packs.iter().flat_map(|(_, blobs)| blobs);
        self.count_flushed(Flushed {
            packs: packs.len() as u64,
            blobs: blobs.clone().count() as u64,
            bytes,
        });
        // After they got into the index: see `Pending::claim`.
        blobs.for_each(|blob| self.pending.remove(blob.kind, blob.id));
        Ok(())
    }
}
