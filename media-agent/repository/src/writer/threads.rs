//! The threads that write finished packs. Two, so that one writes while the other waits for the disk's
//! acknowledgement. Called by `writer`.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};

use crate::error::{RepositoryError, Result};
use crate::pack::SealedPack;
use crate::storage::FileKind;
use crate::writer::progress::DurablePack;
use crate::writer::shared::Shared;

pub(super) const WRITER_THREADS: usize = 2;

/// A pack on its way to disk. However it ends, also by a panic, its end is made known: flushes wait for it.
pub(super) struct QueuedPack {
    pack: Option<SealedPack>,
    number: u64,
    shared: Arc<Shared>,
}

pub(super) struct WriterThreads {
    running: Vec<JoinHandle<()>>,
}

impl QueuedPack {
    pub(super) fn new(pack: SealedPack, shared: &Arc<Shared>) -> QueuedPack {
        QueuedPack {
            number: shared.progress.begin(),
            pack: Some(pack),
            shared: shared.clone(),
        }
    }

    fn write(mut self) {
        let Some(pack) = self.pack.take() else { return };
        let shared = &self.shared;
        let written = shared.check().and_then(|()| {
            if shared.has_failed() {
                return Ok(None);
            }
            let name = pack.id.to_string();
            shared
                .repository
                .storage()
                .write(FileKind::Pack, &name, pack.bytes())?;
            Ok(Some(()))
        });
        let (id, bytes) = (pack.id, pack.bytes().len() as u64);
        let (blobs, buffer) = pack.into_parts();
        shared.buffers.give_back(buffer);
        match written {
            Ok(Some(())) => {
                shared
                    .progress
                    .end(self.number, Some(DurablePack { id, blobs, bytes }));
                if let Err(error) = shared.write_full_indexes() {
                    shared.fail(error);
                }
            }
            Ok(None) => {}
            Err(error) => shared.fail(error),
        }
    }
}

impl Drop for QueuedPack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.fail(self.shared.threads_died());
        }
        self.shared.progress.end(self.number, None);
    }
}

impl WriterThreads {
    pub(super) fn start(shared: &Arc<Shared>) -> Result<(WriterThreads, Sender<QueuedPack>)> {
        let (queue, packs) = crossbeam_channel::bounded(WRITER_THREADS);
        let mut threads = WriterThreads {
            running: Vec::with_capacity(WRITER_THREADS),
        };
        for _ in 0..WRITER_THREADS {
            let packs: Receiver<QueuedPack> = packs.clone();
            let thread = std::thread::Builder::new()
                .name("pack-writer".to_owned())
                .spawn(move || packs.into_iter().for_each(QueuedPack::write))
                .map_err(|source| RepositoryError::Io {
                    path: shared.repository.location().to_owned(),
                    source: Arc::new(source),
                })?;
            threads.running.push(thread);
        }
        Ok((threads, queue))
    }

    /// Waits for the threads, whose queue is closed.
    pub(super) fn join(&mut self) {
        for thread in self.running.drain(..) {
            // A panic was already made the writer's error.
            let _ = thread.join();
        }
    }
}
