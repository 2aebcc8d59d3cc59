//! Adds blobs to a repository, from several threads at once.
//!
//! The way of a blob: claimed in `pending`, so that only one of several equal ones is stored; compressed, sealed and
//! hashed by the calling thread into an open pack that it alone has for that moment (`slots`); the full pack goes to a
//! writer thread (`threads`); when it is durable, an index file names it (`index_files`).
//! No lock is held while bytes are worked on. Memory is bounded by the pack buffers (`buffers`), and when none is free,
//! adding waits. Called by the media agent.

mod buffers;
mod index_files;
mod pending;
mod progress;
mod shared;
mod slots;
mod threads;

use std::sync::Arc;

use crossbeam_channel::Sender;
use parking_lot::{Mutex, RwLock};

use crate::compress::{MAX_BLOB, verify_compressed};
use crate::crypto::{NONCE, OVERHEAD};
use crate::error::{Damage, RepositoryError, Result};
use crate::id::{BlobId, BlobKind};
use crate::lock::LockGuard;
use crate::pack::{PackBuilder, Payload};
use crate::repository::Repository;
use crate::tree::{EncodedTree, Frame, Tree, TreeEncoder};
use crate::writer::shared::Shared;
use crate::writer::slots::Slots;
use crate::writer::threads::{QueuedPack, WriterThreads};

/// Packs in the making take memory; more than this gains nothing.
const MAX_OPEN_PACKS: usize = 8;

/// How a writer works.
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// A pack is closed when it has at least this many bytes (4 KiB to 128 MiB).
    pub pack_size: usize,
    pub zstd_level: i32,
    /// Data packs that are filled at the same time, by as many threads; the number of processors is a good one.
    pub open_packs: usize,
    /// If given, it must still hold whenever an index file is written.
    pub lock: Option<Arc<LockGuard>>,
}

impl Default for WriterOptions {
    fn default() -> WriterOptions {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        WriterOptions {
            pack_size: 16 << 20,
            zstd_level: 1,
            open_packs: processors.min(4),
            lock: None,
        }
    }
}

/// What adding a blob did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Added {
    /// False if the repository or this writer had it already.
    pub new: bool,
    /// Bytes it takes in its pack; zero if it is not new.
    pub stored_bytes: u64,
}

/// What became durable and indexed since the flush before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flushed {
    pub packs: u64,
    pub blobs: u64,
    /// Bytes of the pack files.
    pub bytes: u64,
}

/// What is indexed again because all of what was stored of it before is missing or damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Anew {
    pub blobs: u64,
    /// Plain.
    pub bytes: u64,
}

/// Adds blobs. After an error of the storage every further call gives that error: nothing may refer to what is
/// perhaps not there. Dropping a writer that was not flushed gives up what is not indexed yet.
pub struct Writer {
    shared: Arc<Shared>,
    data: Slots,
    trees: Slots,
    /// Held for reading while a blob is added, for writing while a flush takes the open packs: so a flush waits for
    /// blobs that another thread was told are already being stored.
    adding: RwLock<()>,
    flushing: Mutex<()>,
    queue: Sender<QueuedPack>,
    threads: WriterThreads,
}

impl Repository {
    /// A new writer. The index must be loaded before, or everything is stored again.
    pub fn writer(&self, options: WriterOptions) -> Result<Writer> {
        self.remove_stale_temporaries_now_and_then();
        let open_packs = options.open_packs.clamp(1, MAX_OPEN_PACKS);
        let level = options.zstd_level;
        let shared = Arc::new(Shared::new(self.clone(), options, open_packs));
        let (threads, queue) = WriterThreads::start(&shared)?;
        Ok(Writer {
            data: Slots::new(BlobKind::Data, open_packs, level)?,
            trees: Slots::new(BlobKind::Tree, 1, level)?,
            adding: RwLock::new(()),
            flushing: Mutex::new(()),
            shared,
            queue,
            threads,
        })
    }
}

impl Writer {
    /// Adds a blob, whose `id` the caller computed from `plain`, and compresses it.
    pub fn add_blob(&self, kind: BlobKind, id: BlobId, plain: &[u8]) -> Result<Added> {
        refuse_too_large(kind, id, plain.len())?;
        self.add(kind, id, &Payload::Plain(plain))
    }

    /// Adds a blob that is a zstd frame already. The caller has checked it with `verify_compressed`.
    pub fn add_compressed(&self, kind: BlobKind, id: BlobId, frame: &[u8], plain_len: u32) -> Result<Added> {
        refuse_too_large(kind, id, frame.len().max(plain_len as usize))?;
        if plain_len == 0 {
            // The format writes "not compressed" as a plain length of zero.
            return self.add(kind, id, &Payload::Plain(&[]));
        }
        let plain_len = Some(plain_len);
        self.add(
            kind,
            id,
            &Payload::Ready {
                bytes: frame,
                plain_len,
            },
        )
    }

    /// Adds a blob, whose `id` the caller computed from `plain`, and stores it as it is: somebody found that compressing it
    /// does not pay.
    pub fn add_uncompressed(&self, kind: BlobKind, id: BlobId, plain: &[u8]) -> Result<Added> {
        refuse_too_large(kind, id, plain.len())?;
        let (bytes, plain_len) = (plain, None);
        self.add(kind, id, &Payload::Ready { bytes, plain_len })
    }

    /// Checks a chunk as a client sent it and adds it. It is checked also if it is known already: the client has to
    /// show that it has the chunk, not only its name. `scratch` is reused from call to call.
    pub fn add_untrusted(
        &self,
        id: BlobId,
        frame: &[u8],
        plain_len: u32,
        scratch: &mut Vec<u8>,
    ) -> Result<Added> {
        verify_compressed(&id, frame, plain_len, scratch)?;
        self.add_compressed(BlobKind::Data, id, frame, plain_len)
    }

    /// Adds a tree and gives its id.
    pub fn add_tree(&self, tree: &Tree) -> Result<(BlobId, Added)> {
        let blob = tree.encode();
        let id = BlobId::of(&blob);
        Ok((id, self.add_blob(BlobKind::Tree, id, &blob)?))
    }

    /// A tree to be written entry by entry.
    pub fn new_tree(&self) -> TreeEncoder {
        TreeEncoder::new(self.shared.zstd_level)
    }

    /// Adds a tree that was written entry by entry and gives its id.
    pub fn add_encoded_tree(&self, tree: TreeEncoder) -> Result<(BlobId, Added)> {
        let kind = BlobKind::Tree;
        match tree.finish()? {
            EncodedTree::Plain(blob) => {
                let id = BlobId::of(&blob);
                Ok((id, self.add_blob(kind, id, &blob)?))
            }
            // It fills a pack: this one is sealed and written from where the tree was compressed.
            EncodedTree::Compressed { id, frame, plain_len }
                if frame.bytes().len() >= self.shared.pack_size =>
            {
                refuse_too_large(kind, id, frame.bytes().len())?;
                let add = || self.store_alone((kind, id), frame, plain_len);
                Ok((id, self.add_new(kind, id, add)?))
            }
            EncodedTree::Compressed { id, frame, plain_len } => {
                Ok((id, self.add_compressed(kind, id, frame.bytes(), plain_len)?))
            }
        }
    }

    /// Whether the blob is in a loaded index or was added to this writer.
    pub fn contains(&self, kind: BlobKind, id: &BlobId) -> bool {
        self.shared.is_known(kind, id)
    }

    /// Makes everything added so far durable and indexed. Adding goes on meanwhile; what is added during a flush may
    /// or may not be part of it.
    pub fn flush(&self) -> Result<Flushed> {
        let _one_at_a_time = self.flushing.lock();
        self.shared.check()?;
        {
            let _nobody_adds = self.adding.write();
            for slots in [&self.data, &self.trees] {
                for pack in slots.take_packs() {
                    self.submit(pack)
                        .inspect_err(|error| self.shared.fail(error.clone()))?;
                }
            }
        }
        self.shared.progress.wait_until_durable(|| self.shared.check())?;
        self.shared.write_all_indexes()?;
        self.shared.check()?;
        Ok(self.shared.take_flushed())
    }

    /// What this writer has stored anew.
    pub fn anew(&self) -> Anew {
        self.shared.anew()
    }

    /// Flushes and ends the writer.
    pub fn finish(self) -> Result<Flushed> {
        self.flush()
    }

    fn add(&self, kind: BlobKind, id: BlobId, payload: &Payload<'_>) -> Result<Added> {
        self.add_new(kind, id, || self.store(kind, id, payload))
    }

    /// Stores a blob unless it is known; `store` gives the bytes that it takes.
    fn add_new(&self, kind: BlobKind, id: BlobId, store: impl FnOnce() -> Result<u32>) -> Result<Added> {
        let _no_flush = self.adding.read();
        self.shared.check()?;
        if !self.shared.claim(kind, id) {
            return Ok(Added {
                new: false,
                stored_bytes: 0,
            });
        }
        // From here on others rely on this blob being stored, so every error is the writer's end.
        let stored = store().inspect_err(|error| self.shared.fail(error.clone()))?;
        Ok(Added {
            new: true,
            stored_bytes: u64::from(stored),
        })
    }

    fn store(&self, kind: BlobKind, id: BlobId, payload: &Payload<'_>) -> Result<u32> {
        let slots = match kind {
            BlobKind::Data => &self.data,
            BlobKind::Tree => &self.trees,
        };
        let mut slot = slots.take(&self.shared);
        if slot.pack().is_some_and(|pack| !pack.has_room_for(payload)) {
            self.submit_from(&mut slot)?;
        }
        if slot.pack().is_none() {
            let buffer = self.shared.buffers.take(payload.buffer_needed());
            slot.open(buffer);
        }
        let stored = slot.add(id, payload, self.shared.repository.key())?;
        if slot
            .pack()
            .is_some_and(|pack| pack.is_full(self.shared.pack_size))
        {
            self.submit_from(&mut slot)?;
        }
        Ok(stored)
    }

    /// In a pack of its own.
    fn store_alone(&self, (kind, id): (BlobKind, BlobId), frame: Frame, plain_len: u32) -> Result<u32> {
        let (frame, key) = (frame.into_buffer(), self.shared.repository.key());
        let stored = frame.len() + OVERHEAD - NONCE;
        self.submit(PackBuilder::of_one((kind, id), frame, plain_len, key)?)?;
        Ok(u32::try_from(stored).expect("not above MAX_BLOB"))
    }

    fn submit_from(&self, slot: &mut slots::TakenSlot<'_>) -> Result<()> {
        match slot.close() {
            Some(pack) => self.submit(pack),
            None => Ok(()),
        }
    }

    fn submit(&self, pack: PackBuilder) -> Result<()> {
        if pack.is_empty() {
            self.shared.buffers.give_back(pack.into_buffer());
            return Ok(());
        }
        let sealed = pack.seal(self.shared.repository.key())?;
        let queued = QueuedPack::new(sealed, &self.shared);
        self.queue.send(queued).map_err(|_| self.shared.threads_died())
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("location", &self.shared.repository.location())
            .finish_non_exhaustive()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // After a flush nothing is queued. Otherwise the queued packs would be orphans, so they are not written.
        self.shared.abandon();
        let (closed, _) = crossbeam_channel::bounded(0);
        self.queue = closed;
        self.threads.join();
    }
}

fn refuse_too_large(kind: BlobKind, id: BlobId, length: usize) -> Result<()> {
    if length > MAX_BLOB as usize {
        let damage = Damage::TooLarge {
            limit: u64::from(MAX_BLOB),
        };
        return Err(RepositoryError::Refused { kind, id, damage });
    }
    Ok(())
}
