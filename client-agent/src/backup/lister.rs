//! The sink of a dry run: lists what a backup would take and leave out, and counts it. What that is, the walk decides.

use std::time::{Duration, Instant};

use outlast_kit::calls::accessat;
use outlast_proto::v1::{DryRunEntry, DryRunItem, DryRunPart, EntryFate, FileException, Node, NodeType};
use rustix::fs::{Access, AtFlags};
use rustix::io::Errno;

use super::budget::Stopping;
use super::health::Health;
use super::read::not_opened;
use super::root::Root;
use super::sink::{LeftOut, Met, Sink};
use super::walk::NO_FILES;
use crate::host::paths::{join, shown};

/// Of one part. Small, so that parts hold up nothing else of the session, however slow the network is.
const MOST_BYTES: usize = 32 << 10;
/// What an entry takes in a message beside its texts.
const AROUND: usize = 24;
/// Whoever watches sees what there is so far.
const SEND_AFTER: Duration = Duration::from_secs(1);

/// Which entries are wanted, of all items together.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) left_out_only: bool,
    /// So many more.
    pub(super) most: u64,
}

/// Takes a part, or says that nobody wants it.
pub(super) type Send<'a> = dyn FnMut(DryRunPart) -> Result<(), Stopping> + 'a;

/// One item's.
pub(super) struct Lister<'a> {
    item: String,
    wanted: &'a mut Wanted,
    health: &'a Health,
    send: &'a mut Send<'a>,
    base_path: Vec<u8>,
    /// Of the item, and then of the directory entered last.
    path: Vec<u8>,
    /// The length of `path` before each directory that was entered.
    levels: Vec<usize>,
    entries: Vec<DryRunEntry>,
    bytes: usize,
    sent: Instant,
    totals: DryRunItem,
}

impl<'a> Lister<'a> {
    pub(super) fn new(
        item: String,
        wanted: &'a mut Wanted,
        health: &'a Health,
        send: &'a mut Send<'a>,
    ) -> Self {
        Self {
            item,
            wanted,
            health,
            send,
            base_path: Vec::new(),
            path: Vec::new(),
            levels: Vec::new(),
            entries: Vec::new(),
            bytes: 0,
            sent: Instant::now(),
            totals: DryRunItem::default(),
        }
    }

    /// The last part of the item, but for what it fails with.
    pub(super) fn end(self) -> DryRunPart {
        DryRunPart {
            item: self.item,
            entries: self.entries,
            remarks: Vec::new(),
            item_ended: Some(self.totals),
        }
    }

    /// The path of a node of the directory entered last; of the item itself, if none was.
    fn path_of(&self, name: &[u8]) -> Vec<u8> {
        if self.levels.is_empty() {
            return self.path.clone();
        }
        join(&self.path, name)
    }

    fn taken(&mut self, path: &[u8], node: &Node) -> Result<(), Stopping> {
        if self.wanted.left_out_only {
            return self.add(None);
        }
        let kind = NodeType::try_from(node.r#type).unwrap_or_default();
        self.add(Some(DryRunEntry {
            fate: EntryFate::Taken.into(),
            path: shown(path),
            r#type: word(kind).to_owned(),
            size: (kind == NodeType::File).then_some(node.size),
            ..DryRunEntry::default()
        }))
    }

    /// Lists an entry, if it is one that is wanted; in any case this is where the walk stops that nobody waits for.
    fn add(&mut self, entry: Option<DryRunEntry>) -> Result<(), Stopping> {
        if self.health.is_over() {
            return Err(Stopping);
        }
        if let Some(entry) = entry.filter(|_| self.wanted.most > 0) {
            self.wanted.most -= 1;
            self.bytes += AROUND + entry.path.len() + entry.pattern.len() + entry.reason.len();
            self.entries.push(entry);
        }
        if self.bytes >= MOST_BYTES || (self.bytes > 0 && self.sent.elapsed() >= SEND_AFTER) {
            let entries = std::mem::take(&mut self.entries);
            (self.bytes, self.sent) = (0, Instant::now());
            (self.send)(DryRunPart {
                item: self.item.clone(),
                entries,
                ..DryRunPart::default()
            })?;
        }
        Ok(())
    }
}

impl Sink for Lister<'_> {
    fn begin(&mut self, root: &Root) {
        self.base_path.clone_from(&root.base_path);
        self.path.clone_from(&root.path);
    }

    fn enter(&mut self, node: Node) -> Result<(), Stopping> {
        self.totals.directories += 1;
        let path = self.path_of(&node.name);
        self.levels.push(self.path.len());
        self.path.clone_from(&path);
        self.taken(&path, &node)
    }

    fn leave(&mut self) -> Result<(), Stopping> {
        let length = self.levels.pop().unwrap_or_default();
        self.path.truncate(length);
        self.add(None)
    }

    fn other(&mut self, node: Node) -> Result<(), Stopping> {
        self.totals.files += 1;
        self.health.done(1);
        let path = self.path_of(&node.name);
        self.taken(&path, &node)
    }

    fn file(&mut self, met: Met<'_>) -> Result<(), Stopping> {
        // Asks without opening it, by the rights that the reading would have.
        let flags = AtFlags::EACCESS | AtFlags::SYMLINK_NOFOLLOW;
        let path = self.path_of(&met.node.name);
        if accessat(met.folder, met.name.as_slice(), Access::READ_OK, flags) == Err(Errno::ACCESS) {
            let reason = not_opened(Errno::ACCESS);
            return self.exception(super::exception::exception(&path, reason));
        }
        self.totals.files += 1;
        self.totals.bytes = self.totals.bytes.saturating_add(met.node.size);
        self.health.done(1);
        self.taken(&path, &met.node)
    }

    fn exception(&mut self, exception: FileException) -> Result<(), Stopping> {
        self.totals.exceptions += 1;
        self.add(Some(DryRunEntry {
            fate: EntryFate::Exception.into(),
            path: exception.path,
            reason: exception.reason,
            ..DryRunEntry::default()
        }))
    }

    fn left_out(&mut self, relative: &[u8], kind: NodeType, why: LeftOut<'_>) -> Result<(), Stopping> {
        self.totals.left_out += 1;
        let (pattern, reason) = match why {
            LeftOut::Excluded(patterns) => {
                let pattern = patterns.culprit(relative, kind == NodeType::Directory);
                (pattern.unwrap_or_default(), "")
            }
            LeftOut::NoFiles => ("", NO_FILES),
        };
        self.add(Some(DryRunEntry {
            fate: EntryFate::LeftOut.into(),
            path: shown(&join(&self.base_path, relative)),
            r#type: word(kind).to_owned(),
            pattern: pattern.to_owned(),
            reason: reason.to_owned(),
            ..DryRunEntry::default()
        }))
    }

    fn flush(&mut self) -> Result<(), Stopping> {
        // What is left goes with the end of the item.
        Ok(())
    }
}

/// As `restore-point ls` calls it.
fn word(kind: NodeType) -> &'static str {
    match kind {
        NodeType::File => "file",
        NodeType::Directory => "dir",
        NodeType::Symlink => "symlink",
        NodeType::BlockDevice => "dev",
        NodeType::CharacterDevice => "chardev",
        NodeType::Fifo => "fifo",
        NodeType::Socket => "socket",
        NodeType::Unspecified => "",
    }
}
