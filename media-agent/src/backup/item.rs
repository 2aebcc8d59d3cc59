//! One item of a backup: the client's messages from `ItemBegin` to `ItemEnd`.
//!
//! Knows the order of messages; the walk's rules are the tree builder's, the chunks' are `chunks`'. Called by `engine`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use outlast_kit::stream::BackupProtocol;
use outlast_media_core::backup::{Backup, Came};
use outlast_proto::v1::backup_down::Body as Down;
use outlast_proto::v1::backup_up::Body as Up;
use outlast_proto::v1::{
    BegunFile, CurrentPath, Entries, FileException, ItemBegin, ItemEnd, Needed, Offers, Verdicts,
};
use outlast_proto::words::Counters;
use outlast_repository::{BlobId, RepositoryError, SnapshotId, Timestamp, Writer};

use super::checkpoint::{Checkpoints, Marked};
use super::chunks::{Chunks, Stored, blob_id};
use super::engine::Base;
use super::silence::Silences;
use super::trees::WriterTrees;
use crate::attempts::{End, Wire};
use crate::fault::{Fault, told_by_client};
use crate::storage::{Content, are_young_marked, follow, owner_of};
use crate::tickets::Item;
use crate::tree_builder::{BuildError, Carried, ItemPath, TreeBuilder, Trust, find_in_parent};

/// Messages that wait for a checkpoint, in bytes. More than a client sends without answers that keeps to the protocol.
const MAX_HELD: usize = 32 << 20;
const PER_MESSAGE: usize = 128;
const MIB: u32 = 1 << 20;
/// Of a parent that does not say which files may yet change without a new ctime, no file counts as unchanged that changed later than so
/// many seconds before the snapshot was written: longer than a backup takes, and more than clocks are apart.
pub(super) const BEFORE_MARKS: i64 = 24 * 3600;

/// Messages that wait for a checkpoint, in order.
#[derive(Default)]
struct Held {
    messages: VecDeque<Up>,
    bytes: usize,
}

impl Held {
    fn push(&mut self, message: Up) {
        self.bytes += message.encoded_len() + PER_MESSAGE;
        self.messages.push_back(message);
    }

    fn pop(&mut self) -> Option<Up> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.encoded_len() + PER_MESSAGE;
        Some(message)
    }

    /// Whether it is no use to wait for more: there is no room, or the client said that nothing follows.
    fn is_enough(&self) -> bool {
        self.bytes >= MAX_HELD || matches!(self.messages.back(), Some(Up::ItemEnd(_)))
    }
}

/// What counts as stored by the item, through all its walks.
#[derive(Clone)]
pub(super) struct Written {
    before: Stored,
    tree_bytes: Arc<AtomicU64>,
}

impl Written {
    /// From now on.
    pub(super) fn since(before: Stored) -> Self {
        let tree_bytes = Arc::default();
        Self { before, tree_bytes }
    }
}

/// A walk through an item.
pub(super) struct ItemRun<'a> {
    pub(super) base: &'a Base,
    pub(super) chunks: &'a Chunks<'a>,
    pub(super) number: u32,
    pub(super) item: &'a Item,
    pub(super) builder: TreeBuilder<WriterTrees<'a>>,
    /// The parent snapshot, if it is still there.
    pub(super) parent: Option<SnapshotId>,
    written: Written,
    /// The client has begun it.
    begun: bool,
    held: Held,
    /// How far the item had come at the last one.
    marked_at: Counters,
    /// The client tells of each file that it reads whether it may yet change without a new ctime.
    pub(super) marks_young: bool,
    /// The client can go on in the middle of a file.
    client_goes_on: bool,
    /// Left out by the policy's patterns, as the client says at the end.
    excluded: u64,
    /// Paths of which it was told that their file system does not answer.
    silences: Silences,
    /// How much damage was known before anything was relied on.
    pub(super) damage_before: u64,
}

impl<'a> ItemRun<'a> {
    /// Prepares the comparison with the parent snapshot, and with the checkpoint that the item goes on from; `None` if the item's path can be none.
    pub(super) fn new(
        base: &'a Base,
        writer: &'a Writer,
        chunks: &'a Chunks<'a>,
        (number, item): (u32, &'a Item),
        (written, carried): (Written, Option<Carried>),
    ) -> Result<Option<Self>, Fault> {
        let Some(path) = ItemPath::parse(&item.path) else {
            return Ok(None);
        };
        let damage_before = base.repository.damage_found();
        let trees = WriterTrees {
            reader: base.repository.trees(),
            writer,
            stored: Arc::clone(&written.tree_bytes),
        };
        let parent = match item.parent {
            None => None,
            Some(id) => parent_tree(base, id, item).map_err(|error| base.storage_fault(&error))?,
        };
        let root = match &parent {
            None => None,
            Some((_, tree, _)) => find_in_parent(|id| base.repository.open_tree(id), tree, &path)
                .map_err(|error| base.storage_fault(&error))?,
        };
        let trust = parent.map_or(Trust::Marked, |(_, _, trust)| trust);
        let builder = TreeBuilder::new(trees, path, root).trusting(trust);
        Ok(Some(Self {
            base,
            chunks,
            number,
            item,
            builder: match carried {
                Some(carried) => builder.going_on(carried),
                None => builder,
            },
            parent: parent.map(|(id, ..)| id),
            written,
            begun: false,
            held: Held::default(),
            marked_at: Counters::default(),
            marks_young: false,
            client_goes_on: false,
            excluded: 0,
            silences: Silences::default(),
            damage_before,
        }))
    }

    /// Follows the client through the item, to its end or until a checkpoint is due.
    pub(super) fn receive(
        &mut self,
        wire: &mut Wire<BackupProtocol>,
        backup: &mut Backup,
        checkpoints: &Checkpoints<'_>,
    ) -> Result<Came, End> {
        let number = self.number;
        loop {
            let is_due = self.begun && checkpoints.are_due();
            if is_due || wire.control.is_leaving() {
                return Ok(Came::CheckpointDue);
            }
            let begun = self.begun;
            let message = match self.held.pop() {
                Some(message) => message,
                None => match wire.receive_unless_leaving()? {
                    Some(message) => message,
                    None => return Ok(Came::CheckpointDue),
                },
            };
            match message {
                Up::Path(path) => self.path(path)?,
                Up::ItemBegin(ItemBegin {
                    item,
                    marks_young,
                    goes_on,
                }) if !begun && item == number => {
                    (self.begun, self.marks_young, self.client_goes_on) = (true, marks_young, goes_on);
                }
                Up::ItemEnd(ItemEnd {
                    item,
                    error,
                    excluded,
                }) if begun && item == number && self.held.messages.is_empty() => {
                    self.excluded = excluded;
                    return Ok(error.map_or(Came::ItemEnd, |error| Came::Failed(told_by_client(error))));
                }
                Up::Entries(entries) if begun => wire.send(self.entries(&entries)?)?,
                Up::Offers(offers) if begun => wire.send(self.offers(&offers)?)?,
                Up::Chunks(chunks) if begun => self.chunks.take(chunks.chunks)?,
                Up::FileEnds(ends) if begun => {
                    for end in &ends.ends {
                        self.builder.file_end(end).map_err(|error| self.fault(error))?;
                    }
                }
                Up::Exceptions(found) if begun => self.except(found.exceptions, backup)?,
                Up::Hello(_)
                | Up::ItemBegin(_)
                | Up::ItemEnd(_)
                | Up::Entries(_)
                | Up::Offers(_)
                | Up::Chunks(_)
                | Up::FileEnds(_)
                | Up::Exceptions(_)
                | Up::Goodbye(_) => {
                    let text =
                        format!("the client broke the protocol: a message does not belong to item {number}");
                    return Err(Fault::access(text).into());
                }
            }
            let left_out = self.builder.take_exceptions();
            self.except(left_out, backup)?;
            let mut so_far = backup.counters();
            so_far.add(&self.counters());
            so_far.exceptions = backup.exceptions().count();
            self.base.progress.set(so_far);
        }
    }

    /// Notes what could not be kept.
    fn except(&self, found: Vec<FileException>, backup: &mut Backup) -> Result<(), End> {
        for exception in found {
            let batch = backup.except(exception);
            batch.map_or(Ok(()), |batch| self.base.journal(vec![batch]))?;
        }
        Ok(())
    }

    /// Where the client is; and what a file system does not answer to is told in the job's details, once for each path.
    fn path(&mut self, path: CurrentPath) -> Result<(), Fault> {
        let CurrentPath {
            path,
            waits_for,
            seconds,
            remark,
        } = path;
        self.base.progress.set_path(path.clone());
        if !remark.is_empty() {
            return self.silences.remark(self.base, path, remark);
        }
        let next = "the job goes on when it does, or can be canceled";
        self.silences.tell(self.base, path, (waits_for, seconds), next)
    }

    /// Whether it did since the last checkpoint, those of earlier attempts too: they would be passed over for one that has less.
    pub(super) fn got_on(&self) -> bool {
        self.builder.counters() != self.marked_at && self.builder.has_passed_checkpoint()
    }

    /// The item as it is now, for a checkpoint; none if there is nothing yet. Everything that came must be stored.
    pub(super) fn mark<'e>(
        &mut self,
        exceptions: u64,
        named: &'e [FileException],
    ) -> Result<Option<Marked<'e>>, Fault>
    where
        'a: 'e,
    {
        self.marked_at = self.builder.counters();
        let partial = self.builder.partial().map_err(|error| self.fault(error))?;
        let counters = Counters {
            exceptions,
            ..self.counters()
        };
        Ok(partial.map(|partial| Marked {
            item: self.number,
            path: &self.item.path,
            partial,
            counters,
            marks_young: self.marks_young,
            exceptions: named,
        }))
    }

    /// Waits until no chunk is missing that was asked for. Meanwhile nothing is answered, so that nothing new is asked for; what else
    /// the client says waits. Not for ever: a client may wait for an answer before it goes on. But a large chunk may take its time on
    /// a slow line.
    pub(super) fn chunks_have_come(&mut self, wire: &mut Wire<BackupProtocol>) -> Result<bool, End> {
        while let Some(largest) = self.chunks.largest_missing() {
            let (timing, size) = (&self.base.context.timing, largest.div_ceil(MIB));
            let (patience, leaving) = (timing.checkpoint_wait * size, timing.leave_wait * size);
            let message = match self.held.is_enough() {
                true => None,
                false => wire.receive_within(patience, leaving)?,
            };
            match message {
                Some(Up::Chunks(chunks)) => self.chunks.take(chunks.chunks)?,
                Some(Up::Path(path)) => self.path(path)?,
                Some(other) => self.held.push(other),
                None => {
                    tracing::debug!(attempt = %self.base.ticket.id, "no checkpoint this time: chunks are missing");
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The item's numbers so far (L-04).
    pub(super) fn counters(&self) -> Counters {
        let stored = self.chunks.stored();
        let before = self.written.before;
        let tree_bytes = self.written.tree_bytes.load(Ordering::Relaxed);
        Counters {
            bytes_new: stored.bytes_new - before.bytes_new,
            bytes_stored: stored.bytes_stored - before.bytes_stored + tree_bytes,
            excluded: self.excluded,
            ..self.builder.counters()
        }
    }

    fn entries(&mut self, entries: &Entries) -> Result<Down, Fault> {
        let mut wanted = Vec::new();
        for entry in &entries.entries {
            let number = self.builder.entry(entry).map_err(|error| self.fault(error))?;
            wanted.extend(number);
        }
        let through = self.builder.through();
        let begun = |node: &u64| {
            let offset = self.builder.goes_on_at(*node)?;
            Some(BegunFile { node: *node, offset })
        };
        let begun = match self.client_goes_on {
            true => wanted.iter().filter_map(begun).collect(),
            false => Vec::new(),
        };
        Ok(Down::Verdicts(Verdicts {
            through,
            wanted,
            begun,
        }))
    }

    fn offers(&mut self, offers: &Offers) -> Result<Down, End> {
        self.chunks.expect_offers(offers.number)?;
        self.chunks.know_own()?;
        let mut indexes = Vec::new();
        for (index, offer) in (0..).zip(&offers.offers) {
            let id = blob_id(&offer.id)?;
            self.builder
                .begin_file(offer.node, offer.offset, offer.is_settled)
                .and_then(|()| self.builder.offer(offer.node, id, offer.length))
                .map_err(|error| self.fault(error))?;
            if self.chunks.is_needed(id, offer.length)? {
                indexes.push(index);
            }
        }
        Ok(Down::Needed(Needed {
            number: offers.number,
            indexes,
        }))
    }

    pub(super) fn fault(&self, error: BuildError) -> Fault {
        match error {
            BuildError::Storage(error) => self.base.storage_fault(&error),
            violation @ BuildError::Violation(_) => Fault::access(violation.to_string()),
        }
    }
}

fn is_unusable(error: &RepositoryError) -> bool {
    matches!(
        error,
        RepositoryError::Damaged { .. } | RepositoryError::SeveralSuccessors { .. }
    )
}

/// The root tree of the parent snapshot. One that is gone is no fault, nor is one of another client, whose files must
/// not get into this one's snapshot: then everything counts as changed.
fn parent_tree(
    base: &Base,
    id: SnapshotId,
    item: &Item,
) -> Result<Option<(SnapshotId, BlobId, Trust)>, RepositoryError> {
    let by = item.parent_written_by;
    let content = by.map(|by| Content::written_by(by, &base.ticket, &item.path));
    match follow(&base.repository, &id, &content.unwrap_or_default()) {
        Ok((id, snapshot)) if owner_of(&snapshot) == Some(base.ticket.owner()) => {
            let Timestamp { secs, nanos } = snapshot.time;
            let trust = if are_young_marked(&snapshot) {
                Trust::Marked
            } else {
                Trust::Before(Timestamp::new(secs.saturating_sub(BEFORE_MARKS), nanos))
            };
            Ok(Some((id, snapshot.tree, trust)))
        }
        Ok(_) => {
            tracing::warn!(
                parent = %id, client = %base.ticket.client,
                "the parent snapshot is not this client's; everything is read again"
            );
            Ok(None)
        }
        Err(error) if error.is_not_found() || is_unusable(&error) => {
            tracing::warn!(%error, "the parent snapshot cannot be read; everything is read again");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
