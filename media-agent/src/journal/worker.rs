//! The journal's owner: one loop that gathers what waits, writes it as one frame, syncs once and answers all.
//!
//! Runs on a blocking thread because every step is disk. Started by `handle`.

use outlast_media_core::session::Status;
use outlast_media_core::{AttemptId, NewRecord, Standing};
use outlast_proto::v1::JournalEvent;
use outlast_proto::words::{JournalId, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};

use super::error::JournalError;
use super::handle::status_of;
use super::store::Store;

/// How many waiting appends share one sync.
const MAX_GROUP: usize = 256;

type Reply<T> = oneshot::Sender<Result<T, JournalError>>;

/// Everything one can ask of the journal.
pub(super) enum Request {
    Append(Vec<NewRecord>, Reply<()>),
    Acknowledge(JournalId, u64),
    Read {
        from: u64,
        limit: usize,
        reply: Reply<Vec<JournalEvent>>,
    },
    Standing(AttemptId, Reply<Standing>),
    /// A primary of this version has answered.
    Meet {
        version: String,
        at: Timestamp,
        reply: Reply<()>,
    },
    IsResilient(AttemptId, Reply<bool>),
    BeginNew(Reply<()>),
}

pub(super) struct Worker {
    pub(super) store: Store,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) status: watch::Sender<Status>,
}

impl Worker {
    /// Serves until every handle is gone, or the disk can no longer be trusted.
    pub(super) fn run(mut self) -> Result<(), JournalError> {
        while let Some(request) = self.requests.blocking_recv() {
            let mut held = Some(request);
            while let Some(request) = held.take() {
                held = match request {
                    Request::Append(records, reply) => self.append(records, reply)?,
                    other => {
                        self.answer(other)?;
                        None
                    }
                };
            }
        }
        self.store.close()
    }

    /// Writes this append and those that wait behind it; hands back the first request that is none.
    fn append(&mut self, records: Vec<NewRecord>, reply: Reply<()>) -> Result<Option<Request>, JournalError> {
        let mut group = vec![(records, reply)];
        let mut other = None;
        while group.len() < MAX_GROUP {
            match self.requests.try_recv() {
                Ok(Request::Append(records, reply)) => group.push((records, reply)),
                Ok(request) => {
                    other = Some(request);
                    break;
                }
                Err(_) => break,
            }
        }
        let (all, replies): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let written = self.store.append(all.concat());
        let apart = matches!(
            &written,
            Err(JournalError::TooLarge { .. } | JournalError::Full { .. })
        );
        if !apart || replies.len() == 1 {
            return self.settle(written, replies).map(|()| other);
        }
        // Together it was too much; each gets an answer of its own.
        for (records, reply) in all.into_iter().zip(replies) {
            let written = self.store.append(records);
            self.settle(written, vec![reply])?;
        }
        Ok(other)
    }

    fn settle(
        &mut self,
        written: Result<(), JournalError>,
        replies: Vec<Reply<()>>,
    ) -> Result<(), JournalError> {
        self.publish();
        for reply in replies {
            // Whoever asked may have gone; the records are durable all the same.
            let _ = reply.send(written.clone());
        }
        match written {
            Err(error @ (JournalError::Io { .. } | JournalError::Closed)) => Err(error),
            _ => Ok(()),
        }
    }

    fn answer(&mut self, request: Request) -> Result<(), JournalError> {
        match request {
            Request::Acknowledge(journal, sequence) => {
                if journal == self.store.journal_id() {
                    self.store.acknowledge(sequence)?;
                    self.publish();
                }
            }
            Request::Read { from, limit, reply } => drop(reply.send(self.store.read(from, limit))),
            Request::Standing(id, reply) => drop(reply.send(Ok(self.store.known().standing(id)))),
            Request::IsResilient(id, reply) => drop(reply.send(Ok(self.store.known().is_resilient(id)))),
            Request::Meet { version, at, reply } => {
                let written = self.store.meet(&version, at);
                self.settle(written, vec![reply])?;
            }
            Request::BeginNew(reply) => {
                let begun = self.store.begin_new();
                self.publish();
                drop(reply.send(begun));
            }
            Request::Append(records, reply) => {
                let written = self.store.append(records);
                self.settle(written, vec![reply])?;
            }
        }
        Ok(())
    }

    fn publish(&mut self) {
        self.status.send_replace(status_of(&self.store));
    }
}
