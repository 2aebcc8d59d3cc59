//! The log as openraft writes it. Appends return at once and report when they are synced (one sync for all that wait:
//! the `raft-log` crate's writer thread); a vote waits for its sync, or the node could vote twice. Reading is in
//! [`reader`](super::reader).

use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend};
use raft_log::RaftLog;
use raft_log::api::raft_log_writer::RaftLogWriter;
use raft_log::types::Segment;

use crate::files::{DirLock, Identity};
use crate::format::LogIdForm;
use crate::log::flushed::Flushed;
use crate::log::mark::Mark;
use crate::log::record::{EntryRecord, Records, VoteRecord};
use crate::types::{Config, Entry, LogId, Vote};

/// A handle to the log. All clones are the same log.
#[derive(Clone)]
pub(crate) struct LogStore {
    shared: Arc<Shared>,
}

struct Shared {
    /// `None` once closed: handles may outlive the node, its files may not.
    log: RwLock<Option<Held>>,
    mark: Arc<Mark>,
    identity: Identity,
    purgeable: Mutex<Option<LogIdForm>>,
}

struct Held {
    log: RaftLog<Records>,
    /// Given back when the log's writer thread has ended, and not before.
    _lock: DirLock,
}

impl LogStore {
    pub(crate) fn new(log: RaftLog<Records>, mark: Mark, identity: Identity, lock: DirLock) -> Self {
        let log = RwLock::new(Some(Held { log, _lock: lock }));
        Self {
            shared: Arc::new(Shared {
                log,
                mark: Arc::new(mark),
                identity,
                purgeable: Mutex::default(),
            }),
        }
    }

    /// Syncs what was accepted, stops the writer thread and gives files and directory back. Blocks.
    pub(crate) fn close(&self) -> io::Result<()> {
        let Some(mut held) = self.shared.log.write().map_err(poisoned)?.take() else {
            return Ok(());
        };
        let log = &mut held.log;
        let end = log.stat().open_chunk.global_end;
        let (flushed, synced) = Flushed::vote(self.shared.mark.clone(), end);
        let flushed = log.flush(true, Some(flushed)).map_err(|error| cause(log, error));
        let synced = flushed.and_then(|()| synced.blocking_recv().map_err(|_| closed())?);
        // Joins the thread, and then lets go of the lock.
        drop(held);
        synced
    }

    /// Makes the mark durable: called when a snapshot lets the log be purged.
    pub(crate) fn sync_mark(&self) -> io::Result<()> {
        self.shared.mark.sync()
    }

    /// What of the log durable snapshots make up for: [`RaftLogStorage::purge`] goes no further, whatever it is asked.
    pub(crate) fn allow_purge(&self, upto: Option<LogIdForm>) {
        // Nothing that holds it panics.
        let mut allowed = self
            .shared
            .purgeable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *allowed = upto.max(*allowed);
    }

    /// The last entry that was purged, and the last one there is.
    pub(crate) fn ends(&self) -> io::Result<(Option<LogIdForm>, Option<LogIdForm>)> {
        let guard = self.shared.log.read().map_err(poisoned)?;
        let state = open(&guard)?.log_state();
        let purged = state.purged().copied();
        Ok((purged, state.last().copied().max(purged)))
    }

    /// Up to where entries are known to be committed.
    pub(crate) fn committed(&self) -> io::Result<Option<LogIdForm>> {
        let guard = self.shared.log.read().map_err(poisoned)?;
        Ok(open(&guard)?.log_state().committed().copied())
    }

    /// Which entry stands at `index`, if that is known.
    pub(crate) fn id_at(&self, index: u64) -> io::Result<Option<LogIdForm>> {
        let (purged, _) = self.ends()?;
        if purged.is_some_and(|purged| purged.index == index) {
            return Ok(purged);
        }
        let entries = self.read(index, index.saturating_add(1), u64::MAX)?;
        Ok(entries.first().map(|entry| entry.log_id.into()))
    }

    /// Whose log it is.
    pub(crate) fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    pub(crate) fn vote(&self) -> io::Result<Option<Vote>> {
        Ok(open(&self.shared.log.read().map_err(poisoned)?)?
            .log_state()
            .vote()
            .map(|vote| vote.0))
    }

    /// Entries in `from..to`, fewer when they add up to more than `bytes`, but at least one.
    pub(crate) fn read(&self, from: u64, to: u64, bytes: u64) -> io::Result<Vec<Entry>> {
        let guard = self.shared.log.read().map_err(poisoned)?;
        let (mut entries, mut size) = (Vec::new(), 0);
        for record in open(&guard)?.read(from, to) {
            let (log_id, payload) = record?;
            size += <Records as raft_log::Types>::payload_size(&payload);
            entries.push(Entry {
                log_id: log_id.into(),
                payload: payload.0,
            });
            if size >= bytes {
                break;
            }
        }
        Ok(entries)
    }

    fn write<R>(&self, change: impl FnOnce(&mut RaftLog<Records>) -> io::Result<R>) -> io::Result<R> {
        let mut guard: RwLockWriteGuard<'_, _> = self.shared.log.write().map_err(poisoned)?;
        let log = &mut guard.as_mut().ok_or_else(closed)?.log;
        change(log).map_err(|error| cause(log, error))
    }
}

/// When the writer thread has died, what it died of is worth more than that nothing can be sent to it.
fn cause(log: &RaftLog<Records>, error: io::Error) -> io::Error {
    log.wait_worker_idle().err().unwrap_or(error)
}

fn open<'a>(guard: &'a RwLockReadGuard<'_, Option<Held>>) -> io::Result<&'a RaftLog<Records>> {
    Ok(&guard.as_ref().ok_or_else(closed)?.log)
}

fn closed() -> io::Error {
    io::Error::other("the log is closed")
}

fn poisoned<T>(_: T) -> io::Error {
    io::Error::other("a thread panicked while it held the log")
}

fn end(segment: Segment) -> u64 {
    segment.offset + segment.size
}

impl RaftLogStorage<Config> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Config>, io::Error> {
        let (purged, last) = self.ends()?;
        Ok(LogState {
            last_purged_log_id: purged.map(LogId::from),
            last_log_id: last.map(LogId::from),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.shared.identity.promise()?;
        let synced = self.write(|log| {
            let segment = log.save_vote(VoteRecord(*vote))?;
            let (flushed, synced) = Flushed::vote(self.shared.mark.clone(), end(segment));
            log.flush(true, Some(flushed))?;
            Ok(synced)
        })?;
        synced.await.map_err(|_| closed())?
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let Some(committed) = committed.map(LogIdForm::from) else {
            return Ok(());
        };
        self.write(|log| {
            if log
                .log_state()
                .committed()
                .is_some_and(|saved| *saved >= committed)
            {
                return Ok(());
            }
            log.commit(committed)?;
            // Only saves work at the next start; the next append's sync takes it along.
            log.flush(false, None)
        })
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let guard = self.shared.log.read().map_err(poisoned)?;
        Ok(open(&guard)?.log_state().committed().copied().map(LogId::from))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Config>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.shared.identity.promise()?;
        let records = entries
            .into_iter()
            .map(|entry| (LogIdForm::from(entry.log_id), EntryRecord(entry.payload)));
        self.write(|log| {
            let segment = log.append(records)?;
            log.flush(
                true,
                Some(Flushed::entries(self.shared.mark.clone(), end(segment), callback)),
            )
        })
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let first = last_log_id.map_or(0, |id| id.index + 1);
        self.write(|log| {
            if log.log_state().last().is_none_or(|last| last.index < first) {
                return Ok(());
            }
            log.truncate(first)?;
            // Durable with whatever is appended next; until then the old entries are as true as none.
            log.flush(false, None)
        })
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let asked = LogIdForm::from(log_id);
        let allowed = *self.shared.purgeable.lock().map_err(poisoned)?;
        self.write(|log| {
            // What openraft asks for reaches to the newest snapshot; kept is what leads there from the one before. A log
            // that ends before the newest, which then came from the leader, leads nowhere.
            let leads_there = log
                .log_state()
                .last()
                .is_some_and(|last| last.index >= asked.index);
            let upto = if leads_there {
                allowed.map(|id| id.min(asked))
            } else {
                Some(asked)
            };
            let Some(upto) = upto else { return Ok(()) };
            log.purge(upto)?;
            // Files go only after the record that says so is synced; the crate sees to the order.
            log.flush(true, None)
        })
    }
}
