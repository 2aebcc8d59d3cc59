//! The state as openraft drives it: takes the lock on [`Core`], off the async threads. What is done under the lock
//! stands in [`core`](super::core); building snapshots in [`build`](super::build).

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::storage::{EntryResponder, RaftStateMachine};

use crate::log::LogStore;
use crate::state::build::Builder;
use crate::state::core::Core;
use crate::state::kept;
use crate::state::snapshot::SnapshotFile;
use crate::types::{Config, LogId, Snapshot, SnapshotMeta, StoredMembership};

/// Entries applied per sled batch. More would delay the first one's reply.
const APPLY_BATCH: usize = 256;

/// A handle to the state. All clones are the same state.
#[derive(Clone)]
pub(crate) struct StateStore {
    /// `None` once closed: handles may outlive the node, its files may not.
    core: Arc<Mutex<Option<Core>>>,
    /// Behind `core`: with the log goes the lock on the directory.
    log: LogStore,
    snapshots: PathBuf,
    parts: Arc<AtomicU64>,
}

impl StateStore {
    /// `snapshots` is the directory of those that `core` has.
    pub(crate) fn new(core: Core, log: LogStore, snapshots: PathBuf) -> Self {
        log.allow_purge(core.purgeable());
        Self {
            core: Arc::new(Mutex::new(Some(core))),
            log,
            snapshots,
            parts: Arc::default(),
        }
    }

    /// Runs `f` with the core on a thread that may block.
    pub(crate) async fn with<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Core) -> io::Result<R> + Send + 'static,
    ) -> io::Result<R> {
        let store = self.clone();
        blocking(move || store.with_blocking(f)).await
    }

    pub(crate) fn with_blocking<R>(&self, f: impl FnOnce(&mut Core) -> io::Result<R>) -> io::Result<R> {
        let mut guard = self
            .core
            .lock()
            .map_err(|_| io::Error::other("the state's thread panicked"))?;
        f(guard
            .as_mut()
            .ok_or_else(|| io::Error::other("the state is closed"))?)
    }

    /// Makes a built, synced snapshot the current one, and lets the log forget what its predecessor holds. Blocks.
    pub(crate) fn adopt(&self, file: SnapshotFile) -> io::Result<SnapshotFile> {
        // How much of the log was promised is then known also after a power cut.
        self.log.sync_mark()?;
        let (file, purgeable) = self.with_blocking(|core| Ok((core.adopt(file)?, core.purgeable())))?;
        self.log.allow_purge(purgeable);
        Ok(file)
    }

    /// A path for a snapshot under way, different for each call.
    pub(crate) fn part(&self, what: &str) -> PathBuf {
        let number = self.parts.fetch_add(1, Ordering::Relaxed);
        kept::under_way(&self.snapshots, &format!("{what}-{number}"))
    }

    /// Flushes the rows and gives the files back. Blocks.
    pub(crate) fn close(&self) -> io::Result<()> {
        let core = self
            .core
            .lock()
            .map_err(|_| io::Error::other("the state's thread panicked"))?
            .take();
        core.map_or(Ok(()), |core| Ok(core.flush()?))
    }
}

/// Runs `f` where it may block, and waits for it; its panic becomes an error.
pub(crate) async fn blocking<R: Send + 'static>(
    f: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> io::Result<R> {
    tokio::task::spawn_blocking(f).await.map_err(io::Error::other)?
}

impl RaftStateMachine<Config> for StateStore {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        self.with_blocking(|core| {
            let meta = core.meta();
            Ok((meta.applied.map(Into::into), meta.membership.clone().try_into()?))
        })
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Config>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batches = entries.ready_chunks(APPLY_BATCH);
        while let Some(batch) = batches.next().await {
            let batch = batch.into_iter().collect::<Result<Vec<_>, _>>()?;
            let (entries, responders): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            let replies = self.with(move |core| core.apply(&entries)).await?;
            for (responder, reply) in responders.into_iter().zip(replies) {
                if let Some(responder) = responder {
                    responder.send(reply);
                }
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        // Here and not in the builder: the view has to be taken before the next entry is applied.
        Builder::new(self.clone())
    }

    async fn install_snapshot(&mut self, _: &SnapshotMeta, snapshot: SnapshotFile) -> Result<(), io::Error> {
        // The file carries its own metadata, under its own checksum.
        let purgeable = self
            .with(move |core| core.install(snapshot).map(|()| core.purgeable()))
            .await?;
        self.log.allow_purge(purgeable);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let current = self.with_blocking(|core| Ok(core.snapshot().cloned()))?;
        current
            .map(|file| {
                Ok(Snapshot {
                    meta: file.meta()?,
                    snapshot: file,
                })
            })
            .transpose()
    }
}
