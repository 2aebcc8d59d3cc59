//! What the threads of a writer share. Called by all files of `writer`.

use parking_lot::Mutex;

use crate::error::{RepositoryError, Result};
use crate::id::{BlobId, BlobKind};
use crate::lock::LockGuard;
use crate::pack::PackedBlob;
use crate::repository::Repository;
use crate::writer::buffers::Buffers;
use crate::writer::pending::Pending;
use crate::writer::progress::Progress;
use crate::writer::threads::WRITER_THREADS;
use crate::writer::{Anew, Flushed, WriterOptions};

pub(super) struct Shared {
    pub(super) repository: Repository,
    pub(super) pack_size: usize,
    pub(super) zstd_level: i32,
    pub(super) buffers: Buffers,
    pub(super) progress: Progress,
    pub(super) pending: Pending,
    /// Held while index files are written.
    pub(super) indexing: Mutex<()>,
    lock: Option<std::sync::Arc<LockGuard>>,
    failure: Mutex<Option<RepositoryError>>,
    has_failed: std::sync::atomic::AtomicBool,
    flushed: Mutex<Flushed>,
    anew: Mutex<Anew>,
}

impl Shared {
    pub(super) fn new(repository: Repository, options: WriterOptions, open_packs: usize) -> Shared {
        let pack_size = options.pack_size.clamp(4 << 10, 128 << 20);
        // One for each open data pack, one for the tree pack, one for each pack being written, so that filling goes
        // on while writing does.
        let buffers = Buffers::new(pack_size, open_packs + 1 + WRITER_THREADS);
        Shared {
            repository,
            pack_size,
            zstd_level: options.zstd_level,
            buffers,
            progress: Progress::default(),
            pending: Pending::new(),
            indexing: Mutex::new(()),
            lock: options.lock,
            failure: Mutex::new(None),
            has_failed: false.into(),
            flushed: Mutex::new(Flushed::default()),
            anew: Mutex::new(Anew::default()),
        }
    }

    pub(super) fn claim(&self, kind: BlobKind, id: BlobId) -> bool {
        self.pending
            .claim(kind, id, || self.repository.contains(kind, &id))
    }

    pub(super) fn is_known(&self, kind: BlobKind, id: &BlobId) -> bool {
        // In this order: a blob gets into the index before it leaves `pending`.
        self.pending.contains(kind, id) || self.repository.contains(kind, id)
    }

    /// The error that ended this writer, if one did.
    pub(super) fn check(&self) -> Result<()> {
        if !self.has_failed() {
            return Ok(());
        }
        self.failure.lock().clone().map_or(Ok(()), Err)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(std::sync::atomic::Ordering::Acquire)
    }

    /// Ends this writer with an error; the first one counts.
    pub(super) fn fail(&self, error: RepositoryError) {
        self.failure.lock().get_or_insert(error);
        self.has_failed.store(true, std::sync::atomic::Ordering::Release);
    }

    /// Nobody wants the rest any more.
    pub(super) fn abandon(&self) {
        self.has_failed.store(true, std::sync::atomic::Ordering::Release);
    }

    pub(super) fn threads_died(&self) -> RepositoryError {
        RepositoryError::WriterDied {
            location: self.repository.location().to_owned(),
        }
    }

    pub(super) fn check_lock(&self) -> Result<()> {
        self.lock.as_ref().map_or(Ok(()), |lock| lock.check())
    }

    pub(super) fn count_flushed(&self, more: Flushed) {
        let mut flushed = self.flushed.lock();
        flushed.packs += more.packs;
        flushed.blobs += more.blobs;
        flushed.bytes += more.bytes;
    }

    pub(super) fn count_anew<'a>(&self, blobs: impl Iterator<Item = &'a PackedBlob>) {
        let mut anew = self.anew.lock();
        for blob in blobs {
            anew.blobs += 1;
            anew.bytes += u64::from(blob.plain_len());
        }
    }

    pub(super) fn anew(&self) -> Anew {
        *self.anew.lock()
    }

    pub(super) fn take_flushed(&self) -> Flushed {
        std::mem::take(&mut *self.flushed.lock())
    }
}
