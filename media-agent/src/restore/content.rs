//! Reads the chunks of files ahead of the stream, several at once, and hands them out in order.
//!
//! Bounded by count and bytes. Used by `engine`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::Scope;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use outlast_repository::{BlobId, BlobKind, BlobReader, Repository, RepositoryError};

const READERS: usize = 3;
const MAX_AHEAD: usize = 32;
const MAX_AHEAD_BYTES: u64 = 8 << 20;

pub(super) type Answer = Result<Bytes, RepositoryError>;

/// The threads that read.
pub(super) struct Readers<'a> {
    repository: &'a Repository,
    jobs: Sender<(BlobId, Sender<Answer>)>,
}

impl<'a> Readers<'a> {
    pub(super) fn start<'scope>(scope: &'scope Scope<'scope, '_>, repository: &'a Repository) -> Self
    where
        'a: 'scope,
    {
        // Never holds more than `MAX_AHEAD`, by the one who sends.
        let (jobs, queue) = unbounded::<(BlobId, Sender<Answer>)>();
        let reader: Arc<BlobReader> = Arc::new(repository.reader());
        for _ in 0..READERS {
            let (queue, reader) = (queue.clone(), Arc::clone(&reader));
            scope.spawn(move || {
                while let Ok((id, answer)) = queue.recv() {
                    // Whoever asked may have given up.
                    let _ = answer.send(reader.read_blob(BlobKind::Data, &id));
                }
            });
        }
        Self { repository, jobs }
    }

    /// The chunks of `ids`, in that order.
    pub(super) fn read(&self, ids: Vec<BlobId>) -> ReadAhead<'_> {
        ReadAhead {
            readers: self,
            todo: ids.into(),
            ahead: VecDeque::new(),
            bytes: 0,
        }
    }
}

pub(super) struct ReadAhead<'a> {
    readers: &'a Readers<'a>,
    todo: VecDeque<BlobId>,
    ahead: VecDeque<(u64, Receiver<Answer>)>,
    bytes: u64,
}

impl Iterator for ReadAhead<'_> {
    type Item = Answer;

    fn next(&mut self) -> Option<Answer> {
        self.fill();
        let (length, answer) = self.ahead.pop_front()?;
        self.bytes -= length;
        // A reader that panicked has said so in the log.
        Some(answer.recv().unwrap_or_else(|_| {
            Err(RepositoryError::WriterDied {
                location: self.readers.repository.location().to_owned(),
            })
        }))
    }
}

impl ReadAhead<'_> {
    fn fill(&mut self) {
        while self.ahead.len() < MAX_AHEAD && (self.ahead.is_empty() || self.bytes < MAX_AHEAD_BYTES) {
            let Some(id) = self.todo.pop_front() else {
                return;
            };
            let length = self
                .readers
                .repository
                .blob_len(BlobKind::Data, &id)
                .unwrap_or_default();
            let (reply, answer) = bounded(1);
            if self.readers.jobs.send((id, reply)).is_err() {
                return;
            }
            self.bytes += u64::from(length);
            self.ahead.push_back((u64::from(length), answer));
        }
    }
}
