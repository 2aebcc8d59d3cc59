//! The walk's output, gathered into bounded batches and held back when too much of it is unanswered.

use std::sync::Arc;

use outlast_proto::v1::{Entry, FileException, LeaveDirectory, Node, entry};
use outlast_proto::words::limits::NODE_COST;
use prost::Message as _;

use super::budget::{Budget, Stopping};
use super::exception;
use super::sink::{Met, Sink};
use crate::host::node::Seen;

/// Limits of one `Entries` message.
const MOST_ENTRIES: usize = 256;
const MOST_BYTES: usize = 256 << 10;

/// A regular file that has content or may have some, as the walk saw it.
#[derive(Debug)]
pub(super) struct WalkedFile {
    pub(super) number: u64,
    /// Its directory, relative to the item's base.
    pub(super) folder: Arc<[u8]>,
    pub(super) name: Vec<u8>,
    pub(super) seen: Seen,
    /// Where its reading may begin, if it is still what the walk saw: what is before that the media agent has.
    pub(super) from: u64,
}

/// What goes into one `Entries` message, and what is known about it.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) entries: Vec<Entry>,
    pub(super) files: Vec<WalkedFile>,
    pub(super) exceptions: Vec<FileException>,
    /// The highest node number so far, also of earlier batches.
    pub(super) last: u64,
    pub(super) folders: u64,
    /// Nodes whose content nobody will ask for.
    pub(super) others: u64,
    /// What was taken of [`Limits::ahead`]: for entries and files, and for exceptions.
    pub(super) cost: usize,
    pub(super) exceptions_cost: usize,
}

/// Gathers and sends batches.
pub(super) struct Batcher<'a> {
    batch: Batch,
    bytes: usize,
    next_number: u64,
    limits: &'a Limits,
    send: &'a mut dyn FnMut(Batch),
}

/// How far the walk may run ahead.
pub(super) struct Limits {
    /// Files with content that are not done yet.
    pub(super) files: Budget,
    /// `Entries` messages without an answer.
    pub(super) batches: Budget,
    /// What nodes and files take of the memory, here and at the media agent, while a file before them or their own content is awaited;
    /// and what exceptions take that were not sent.
    pub(super) ahead: Budget,
}

impl<'a> Batcher<'a> {
    pub(super) fn new(limits: &'a Limits, send: &'a mut dyn FnMut(Batch)) -> Self {
        Self {
            batch: Batch::default(),
            bytes: 0,
            next_number: 0,
            limits,
            send,
        }
    }

    fn numbered(&mut self, mut node: Node) -> Node {
        node.number = self.next_number;
        self.next_number += 1;
        node
    }

    fn add(&mut self, kind: entry::Kind) -> Result<(), Stopping> {
        let entry = Entry { kind: Some(kind) };
        // Tag and length of the entry in its message come on top.
        let bytes = entry.encoded_len() + 8;
        self.bytes += bytes;
        self.batch.cost += bytes + NODE_COST;
        self.batch.entries.push(entry);
        if self.batch.entries.len() >= MOST_ENTRIES || self.bytes >= MOST_BYTES {
            return self.flush();
        }
        Ok(())
    }
}

impl Sink for Batcher<'_> {
    fn enter(&mut self, node: Node) -> Result<(), Stopping> {
        let node = self.numbered(node);
        self.batch.folders += 1;
        self.add(entry::Kind::Enter(node))
    }

    fn leave(&mut self) -> Result<(), Stopping> {
        self.add(entry::Kind::Leave(LeaveDirectory {}))
    }

    fn other(&mut self, node: Node) -> Result<(), Stopping> {
        let node = self.numbered(node);
        self.batch.others += 1;
        self.add(entry::Kind::Node(node))
    }

    fn file(&mut self, met: Met<'_>) -> Result<(), Stopping> {
        if !self.limits.files.try_take(1) {
            // Whoever shall free a place must first hear of the files gathered so far.
            self.flush()?;
            self.limits.files.take(0, 1)?;
        }
        let mut node = self.numbered(met.node);
        // Only of a file with a length the content is asked for; what it really has, its end says.
        node.size = node.size.max(1);
        // Its path may come again, in an exception.
        self.batch.cost += met.folder_path.len() + met.name.len();
        self.batch.files.push(WalkedFile {
            number: node.number,
            folder: Arc::clone(met.folder_path),
            name: met.name,
            seen: met.seen,
            from: 0,
        });
        self.add(entry::Kind::Node(node))
    }

    fn exception(&mut self, exception: FileException) -> Result<(), Stopping> {
        self.batch.exceptions_cost += exception::cost(&exception);
        self.batch.exceptions.push(exception);
        if self.batch.exceptions.len() >= MOST_ENTRIES || self.batch.exceptions_cost >= MOST_BYTES {
            return self.flush();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Stopping> {
        if self.batch.entries.is_empty() && self.batch.exceptions.is_empty() {
            return Ok(());
        }
        if !self.batch.entries.is_empty() {
            self.limits.batches.take(0, 1)?;
        }
        self.limits
            .ahead
            .take(0, self.batch.cost + self.batch.exceptions_cost)?;
        self.batch.last = self.next_number.saturating_sub(1);
        self.bytes = 0;
        (self.send)(std::mem::take(&mut self.batch));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use outlast_kit::shutdown::Shutdown;
    use outlast_proto::v1::{ExtendedAttribute, FileException, Node};
    use outlast_proto::words::limits::CLIENT_RUNS_AHEAD;

    use super::super::budget::{Budget, Stopping};
    use super::super::sink::Sink as _;
    use super::{Batcher, Limits};

    /// How much is sent of what `add` adds again and again while nobody answers.
    fn sent_ahead(add: impl Fn(&mut Batcher<'_>) -> Result<(), Stopping> + Sync) -> usize {
        let stop = Shutdown::new();
        let limits = Limits {
            files: Budget::new(1 << 20, 0, stop.clone()),
            batches: Budget::new(1 << 20, 0, stop.clone()),
            ahead: Budget::new(CLIENT_RUNS_AHEAD, 0, stop.clone()),
        };
        let sent = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut send = |batch: super::Batch| {
                    let bytes = batch.cost + batch.exceptions_cost;
                    assert!(bytes < 1 << 20, "one message");
                    sent.fetch_add(bytes, Ordering::Relaxed);
                };
                let mut batcher = Batcher::new(&limits, &mut send);
                while add(&mut batcher).is_ok() {}
            });
            // It comes to rest.
            let mut before = usize::MAX;
            while sent.load(Ordering::Relaxed) != before {
                before = sent.load(Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(300));
            }
            stop.begin();
        });
        sent.into_inner()
    }

    #[test]
    fn t90_b07_the_walk_runs_ahead_by_bytes() {
        let large = || Node {
            xattrs: vec![ExtendedAttribute {
                name: b"user.x".to_vec().into(),
                value: vec![7; 200 << 10].into(),
            }],
            ..Node::default()
        };
        let exception = || FileException {
            path: "p".repeat(8000),
            reason: "why".to_owned(),
        };
        let rows = [
            sent_ahead(|batcher| batcher.other(large())),
            sent_ahead(|batcher| batcher.other(Node::default())),
            sent_ahead(|batcher| batcher.exception(exception())),
        ];
        for sent in rows {
            assert!(
                (CLIENT_RUNS_AHEAD / 10 * 9..=CLIENT_RUNS_AHEAD).contains(&sent),
                "{sent} bytes"
            );
        }
    }
}
