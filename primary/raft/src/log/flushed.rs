//! What happens when the log's writer thread has synced a write: the mark is raised, then whoever waits is told.
//! Nothing else runs on that thread. Made by [`store`](super::store), called by the `raft-log` crate.

use std::io;
use std::sync::Arc;

use openraft::storage::IOFlushed;
use raft_log::Callback;
use tokio::sync::oneshot;

use crate::log::mark::Mark;
use crate::types::Config;

enum Waiting {
    Entries(IOFlushed<Config>),
    Vote(oneshot::Sender<io::Result<()>>),
}

/// Tells one waiting caller about one write, exactly once.
pub(crate) struct Flushed {
    mark: Arc<Mark>,
    end: u64,
    waiting: Option<Waiting>,
}

impl Flushed {
    /// For entries that end at offset `end`.
    pub(crate) fn entries(mark: Arc<Mark>, end: u64, done: IOFlushed<Config>) -> Self {
        Self {
            mark,
            end,
            waiting: Some(Waiting::Entries(done)),
        }
    }

    /// For a vote (or a last flush) that ends at offset `end`; the mark is made durable with it.
    pub(crate) fn vote(mark: Arc<Mark>, end: u64) -> (Self, oneshot::Receiver<io::Result<()>>) {
        let (tell, told) = oneshot::channel();
        (
            Self {
                mark,
                end,
                waiting: Some(Waiting::Vote(tell)),
            },
            told,
        )
    }

    fn tell(&mut self, result: io::Result<()>) {
        match self.waiting.take() {
            Some(Waiting::Entries(done)) => done.io_completed(result),
            // The caller is gone only when the node is being torn down.
            Some(Waiting::Vote(tell)) => drop(tell.send(result)),
            None => {}
        }
    }

    fn raise(&self) -> io::Result<()> {
        self.mark.raise(self.end)?;
        match self.waiting {
            Some(Waiting::Vote(_)) => self.mark.sync(),
            _ => Ok(()),
        }
    }
}

impl Callback for Flushed {
    fn send(mut self, result: Result<(), io::Error>) {
        let result = result.and_then(|()| self.raise());
        self.tell(result);
    }
}

impl Drop for Flushed {
    // A writer thread that died on a disk error drops what was queued behind it without a word. Nobody may go on
    // waiting for that, nor take it for written.
    fn drop(&mut self) {
        self.tell(Err(io::Error::other("the log's writer has stopped")));
    }
}
