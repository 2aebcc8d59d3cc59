//! Chunks: which are needed, and the threads that verify and store them.
//!
//! A chunk counts as there only when its bytes were checked against its id, so a client can harm nobody but itself.
//! Whether the repository has a chunk is told only to a client that sent it or whose snapshots reach it, unless the
//! storage unit's clients share chunks: who names a foreign chunk is asked for it like for any other.
//! The queue is bounded: when the disk is slow the engine waits, and with it the stream. Used by `item` and `commit`.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::thread::Scope;

use crossbeam_channel::{Receiver, Sender, bounded};
use outlast_media_core::Halt;
use outlast_proto::v1;
use outlast_proto::words::limits::MOST_CHUNK;
use outlast_repository::{Added, BlobId, BlobKind, RepositoryError, SnapshotId, Writer, verify_compressed};
use parking_lot::{Condvar, Mutex};

use super::engine::Base;
use crate::attempts::{Control, End};
use crate::fault::Fault;
use crate::known_chunks::{LoadError, OwnChunks};

/// The largest chunk of the cutting rule (docs/protocol.md).
const MAX_CHUNK: u32 = MOST_CHUNK as u32;
/// Chunks asked for and not stored yet; the client's own bounds keep it far below.
const MAX_OUTSTANDING: usize = 65_536;
/// Messages, each of about a MiB of chunks.
const QUEUED: usize = 8;
const MAX_WORKERS: usize = 4;

/// A chunk the client was asked for.
#[derive(Clone, Copy)]
struct Needed {
    length: u32,
    has_come: bool,
}

#[derive(Default)]
struct State {
    needed: HashMap<BlobId, Needed>,
    /// What the client may name; there from its first offers on, unless chunks are shared.
    own: Option<OwnChunks>,
    /// Chunks that have come and are not stored yet.
    under_way: usize,
    fault: Option<Fault>,
    bytes_new: u64,
    bytes_stored: u64,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The chunks of one message.
type Batch = Vec<(BlobId, v1::Chunk)>;
/// A chunk with its length and what storing it came to; none if it was not tried.
type Stowed = (BlobId, u32, Option<Result<Added, RepositoryError>>);

pub(super) struct Chunks<'a> {
    shared: Arc<Shared>,
    base: &'a Base,
    writer: &'a Writer,
    control: &'a Arc<Control>,
    queue: Sender<Batch>,
    /// Number of the last offers; they are counted over the whole stream.
    last_offers: Cell<u64>,
}

/// What was stored since the last time it was asked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stored {
    pub(super) bytes_new: u64,
    pub(super) bytes_stored: u64,
}

impl<'a> Chunks<'a> {
    /// Starts the threads; they end when this is dropped.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        base: &'a Base,
        writer: &'a Writer,
        control: &'a Arc<Control>,
    ) -> Self
    where
        'a: 'scope,
    {
        let shared: Arc<Shared> = Arc::default();
        let (queue, jobs) = bounded(QUEUED);
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        for _ in 0..threads.min(MAX_WORKERS) {
            let worker = Worker {
                shared: Arc::clone(&shared),
                jobs: jobs.clone(),
                unit: base.context.unit.name.clone(),
                writer,
                control,
            };
            scope.spawn(move || worker.run());
        }
        Self {
            shared,
            base,
            writer,
            control,
            queue,
            last_offers: Cell::new(0),
        }
    }

    /// Finds out which chunks the client may name; the first time only. A first backup has no snapshots to walk, and one
    /// without offers needs no answer.
    pub(super) fn know_own(&self) -> Result<(), End> {
        let Some(known) = &self.base.context.known_chunks else {
            return Ok(());
        };
        if self.shared.state.lock().own.is_some() {
            return Ok(());
        }
        let owner = self.base.ticket.owner();
        let is_halted = || self.control.halted().is_some();
        let own = match known.load(&self.base.repository, &owner, &is_halted) {
            Ok(own) => own,
            Err(LoadError::Halted) => return Err(End::Halted),
            Err(LoadError::Storage(error)) => return Err(self.base.storage_fault(&error).into()),
        };
        self.shared.state.lock().own = Some(own);
        Ok(())
    }

    /// An item's snapshot was written.
    pub(super) fn committed(&self, snapshot: SnapshotId, parent: Option<SnapshotId>) {
        if let Some(own) = &mut self.shared.state.lock().own {
            own.committed(snapshot, parent);
        }
    }

    /// The attempt is over: what is known of its client is kept for the next one.
    pub(super) fn keep_own(&self) {
        let own = self.shared.state.lock().own.take();
        if let (Some(known), Some(own)) = (&self.base.context.known_chunks, own) {
            known.keep(self.base.repository.id(), &self.base.ticket.owner(), own);
        }
    }

    /// Offers come in the order of their numbers, whatever item they belong to.
    pub(super) fn expect_offers(&self, number: u64) -> Result<(), Fault> {
        let last = self.last_offers.replace(number);
        if number == last + 1 {
            return Ok(());
        }
        Err(protocol(format!("offers {number} came after offers {last}")))
    }

    /// Whether the client must send a chunk of this id and length.
    pub(super) fn is_needed(&self, id: BlobId, length: u32) -> Result<bool, Fault> {
        if !(1..=MAX_CHUNK).contains(&length) {
            return Err(protocol(format!("a chunk of {length} bytes was offered")));
        }
        let lies = || protocol(format!("chunk {id} was offered with a wrong length"));
        let mut state = self.shared.state.lock();
        if let Some(needed) = state.needed.get(&id) {
            return if needed.length == length {
                Ok(false)
            } else {
                Err(lies())
            };
        }
        let may_name = match &state.own {
            Some(own) => own.contains(&id),
            None => self.base.context.known_chunks.is_none(),
        };
        // In this order: nothing here may differ by what the repository has of others.
        if may_name && self.writer.contains(BlobKind::Data, &id) {
            let known = self.base.repository.blob_len(BlobKind::Data, &id);
            return if known.is_none_or(|known| known == length) {
                Ok(false)
            } else {
                Err(lies())
            };
        }
        if state.needed.len() >= MAX_OUTSTANDING {
            return Err(protocol("too many chunks were offered and not sent".to_owned()));
        }
        let has_come = false;
        state.needed.insert(id, Needed { length, has_come });
        Ok(true)
    }

    /// Takes the chunks of a message in; waits while the disk is slow.
    pub(super) fn take(&self, chunks: Vec<v1::Chunk>) -> Result<(), Fault> {
        let mut batch = Vec::with_capacity(chunks.len());
        {
            let mut state = self.shared.state.lock();
            if let Some(fault) = &state.fault {
                return Err(fault.clone());
            }
            for chunk in chunks {
                let id = blob_id(&chunk.id)?;
                match state.needed.get_mut(&id) {
                    Some(needed) if !needed.has_come && needed.length == chunk.length => {
                        needed.has_come = true;
                    }
                    _ => return Err(protocol(format!("chunk {id} was sent but not needed"))),
                }
                batch.push((id, chunk));
            }
            state.under_way += batch.len();
        }
        self.queue
            .send(batch)
            .map_err(|_| Fault::access("the threads that store chunks have ended"))
    }

    /// The length of the largest chunk that was asked for and has not come yet.
    pub(super) fn largest_missing(&self) -> Option<u32> {
        let state = self.shared.state.lock();
        let missing = state.needed.values().filter(|needed| !needed.has_come);
        missing.map(|needed| needed.length).max()
    }

    /// Waits until everything that came is stored; all that was needed must have come.
    pub(super) fn settle(&self) -> Result<(), Fault> {
        let mut state = self.shared.state.lock();
        while state.under_way > 0 && state.fault.is_none() {
            self.shared.changed.wait(&mut state);
        }
        match (&state.fault, state.needed.keys().next()) {
            (Some(fault), _) => Err(fault.clone()),
            (None, Some(id)) => Err(protocol(format!(
                "chunk {id} was needed and never sent before the item ended"
            ))),
            (None, None) => Ok(()),
        }
    }

    /// The item failed: what did not come will not come.
    pub(super) fn forget_missing(&self) {
        self.shared
            .state
            .lock()
            .needed
            .retain(|_, needed| needed.has_come);
    }

    pub(super) fn stored(&self) -> Stored {
        let state = self.shared.state.lock();
        Stored {
            bytes_new: state.bytes_new,
            bytes_stored: state.bytes_stored,
        }
    }
}

/// Parses an id from a message.
pub(super) fn blob_id(bytes: &[u8]) -> Result<BlobId, Fault> {
    let bytes = bytes
        .try_into()
        .map_err(|_| protocol("a chunk's id has 32 bytes".to_owned()))?;
    Ok(BlobId::from_bytes(bytes))
}

fn protocol(text: String) -> Fault {
    Fault::access(format!("the client broke the protocol: {text}"))
}

struct Worker<'a> {
    shared: Arc<Shared>,
    jobs: Receiver<Batch>,
    unit: String,
    writer: &'a Writer,
    control: &'a Arc<Control>,
}

impl Worker<'_> {
    fn run(self) {
        let mut scratch = Vec::new();
        while let Ok(batch) = self.jobs.recv() {
            let mut failed = self.shared.state.lock().fault.is_some();
            let stowed = batch.into_iter().map(|(id, chunk)| {
                // After a fault the rest is only taken out of the way.
                let stored = (!failed).then(|| self.store(id, &chunk, &mut scratch));
                failed |= matches!(stored, Some(Err(_)));
                (id, chunk.length, stored)
            });
            let stowed = stowed.collect();
            self.note(stowed);
        }
    }

    fn store(&self, id: BlobId, chunk: &v1::Chunk, scratch: &mut Vec<u8>) -> Result<Added, RepositoryError> {
        if chunk.compressed {
            verify_compressed(&id, &chunk.data, chunk.length, scratch)?;
            return self
                .writer
                .add_compressed(BlobKind::Data, id, &chunk.data, chunk.length);
        }
        if chunk.data.len() != chunk.length as usize || BlobId::of(&chunk.data) != id {
            return Err(RepositoryError::Refused {
                kind: BlobKind::Data,
                id,
                damage: outlast_repository::Damage::HashMismatch,
            });
        }
        self.writer.add_uncompressed(BlobKind::Data, id, &chunk.data)
    }

    fn note(&self, stowed: Vec<Stowed>) {
        let mut state = self.shared.state.lock();
        state.under_way -= stowed.len();
        for (id, length, stored) in stowed {
            match stored {
                Some(Ok(added)) => {
                    state.needed.remove(&id);
                    if let Some(own) = &mut state.own {
                        own.prove(&id);
                    }
                    if added.new {
                        state.bytes_new += u64::from(length);
                        state.bytes_stored += added.stored_bytes;
                    }
                }
                Some(Err(error)) => {
                    let fault = crate::fault::storage(&self.unit, &error);
                    // The engine may be waiting for the client, who may be waiting for nothing.
                    self.control.halt(Halt::Fault(fault.clone()));
                    state.fault.get_or_insert(fault);
                }
                None => {}
            }
        }
        drop(state);
        self.shared.changed.notify_all();
    }
}
