//! Checkpoints: what an item has come to so far, as a snapshot from which a later attempt can go on (F-05, F-06). Made with and
//! without a primary.
//!
//! Says when one is due and writes it; what comes before what is the core's to say, that no chunk is missing at that moment `item`'s work.
//! What is in its mark is `mark`'s, reading one `resume`'s.

use std::time::Duration;

use outlast_media_core::backup::Came;

use outlast_proto::v1::FileException;
use outlast_proto::words::{self, Counters, TreeId};
use outlast_repository::{
    BlobId, BlobKind, Node, NodeKind, RepositoryError, Snapshot, SnapshotId, Timestamp, Writer,
    go_mode_from_st_mode,
};

use super::engine::Base;
use super::mark::Mark;
use crate::attempts::End;
use crate::storage::{CHECKPOINT_TIME, YOUNG_MARKED, checkpoint_host, checkpoint_tags};
use crate::tree_builder::Partial;

pub(super) const MARK: &str = ".outlast-checkpoint.json";
/// The item's root in the tree of a checkpoint, whatever its path is.
pub(super) const ITEM: &str = "item";

/// The checkpoints of an attempt.
pub(super) struct Checkpoints<'a> {
    base: &'a Base,
    /// By the monotonic clock; none: none are made.
    due_at: Option<Duration>,
    is_being_made: bool,
    /// The tree that was saved last.
    saved: Option<Saved>,
}

/// What a checkpoint's snapshot names.
struct Saved {
    tree: BlobId,
    path: String,
    marks_young: bool,
}

/// What is written down beside the tree.
pub(super) struct Marked<'a> {
    pub(super) item: u32,
    pub(super) path: &'a str,
    pub(super) partial: Partial,
    pub(super) counters: Counters,
    /// Files that may yet change without a new ctime are marked.
    pub(super) marks_young: bool,
    /// Those of the item that are named.
    pub(super) exceptions: &'a [FileException],
}

impl<'a> Checkpoints<'a> {
    pub(super) fn new(base: &'a Base) -> Self {
        let mut checkpoints = Self {
            base,
            due_at: None,
            is_being_made: false,
            saved: None,
        };
        checkpoints.put_off();
        checkpoints
    }

    pub(super) fn are_due(&self) -> bool {
        self.due_at
            .is_some_and(|due| self.base.context.clock.monotonic() >= due)
    }

    /// One is tried.
    pub(super) fn begin(&mut self) {
        self.is_being_made = true;
    }

    /// The next is due an interval after this one, whatever came of it.
    pub(super) fn put_off_after_one(&mut self) {
        if std::mem::take(&mut self.is_being_made) {
            self.put_off();
        }
    }

    fn put_off(&mut self) {
        let interval = self.base.ticket.checkpoint_interval;
        let now = self.base.context.clock.monotonic();
        self.due_at = interval.map(|interval| now.saturating_add(interval));
    }

    /// Stores its trees. Everything that they refer to must be stored.
    pub(super) fn save_tree(&mut self, writer: &Writer, marked: Marked<'_>) -> Result<Came, End> {
        let base = self.base;
        let (path, counters, marks_young) = (marked.path.to_owned(), marked.counters, marked.marks_young);
        let tree = save_tree(writer, marked, now(base)).map_err(|error| base.storage_fault(&error))?;
        self.saved = Some(Saved {
            tree,
            path,
            marks_young,
        });
        Ok(Came::Tree {
            tree: TreeId(*tree.as_bytes()),
            counters,
        })
    }

    /// The snapshot that names the tree that was saved last; after so many before.
    pub(super) fn snapshot(&self, item: u32, number: u32) -> Option<Snapshot> {
        let (base, saved) = (self.base, self.saved.as_ref()?);
        let time = Timestamp::new(CHECKPOINT_TIME + i64::from(number) + 1, 0);
        let host = checkpoint_host(base.ticket.client.as_str());
        let mut snapshot = Snapshot::new(time, saved.tree, vec![saved.path.clone()], host);
        snapshot.tags = checkpoint_tags(&base.ticket, item);
        snapshot
            .tags
            .extend(saved.marks_young.then(|| YOUNG_MARKED.to_owned()));
        base.progress.checkpoint_begins();
        Some(snapshot)
    }

    /// The end of the attempt removes what is left.
    pub(super) fn remove(&self, id: words::SnapshotId) {
        let (base, id) = (self.base, SnapshotId::from_bytes(id.0));
        let removed = base
            .lock
            .check()
            .and_then(|()| base.repository.remove_snapshot(&id));
        if let Err(error) = removed {
            tracing::warn!(snapshot = %id, %error, "a checkpoint is not removed yet");
        }
    }
}

fn now(base: &Base) -> Timestamp {
    crate::stamps::to_repository(base.context.clock.now())
}

/// The root tree: the mark, and the item as it is.
fn save_tree(writer: &Writer, marked: Marked<'_>, made_at: Timestamp) -> Result<BlobId, RepositoryError> {
    let text = Mark::new(
        marked.item,
        &marked.partial,
        marked.counters,
        marked.exceptions,
        made_at,
    )
    .to_bytes();
    let chunk = BlobId::of(&text);
    writer.add_blob(BlobKind::Data, chunk, &text)?;
    let mark = Node {
        name: MARK.into(),
        kind: NodeKind::File,
        mode: go_mode_from_st_mode(0o100_600),
        mtime: made_at,
        atime: made_at,
        ctime: made_at,
        size: text.len() as u64,
        links: 1,
        content: Some(vec![chunk]),
        ..Node::default()
    };
    let item = Node {
        name: ITEM.into(),
        ..marked.partial.root
    };
    let mut tree = writer.new_tree();
    tree.push(&mark)?;
    tree.push(&item)?;
    Ok(writer.add_encoded_tree(tree)?.0)
}
