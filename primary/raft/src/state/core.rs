//! The machine with its rows and its views: what one owner changes, under one lock, synchronously. No async, no
//! openraft traits; [`store`](super::store) takes the lock and calls in.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use tokio::sync::watch;

use crate::format::{LogIdForm, MembershipForm};
use crate::machine::{Machine, MachineError};
use crate::state::check::{Check, Checks};
use crate::state::frozen::{Frozen, Page};
use crate::state::kept::Kept;
use crate::state::rows::{Change, Meta, MetaChange, Rows, RowsFault};
use crate::state::snapshot::{Head, SnapshotFile};
use crate::types::{Entry, Payload, Reply, StoredMembership};

const PAGE_ROWS: usize = 1_000;

/// Names a view.
pub(crate) type ViewId = u64;

/// See the file's header.
pub(crate) struct Core {
    machine: Box<dyn Machine>,
    rows: Rows,
    views: BTreeMap<ViewId, Frozen>,
    next_view: ViewId,
    snapshots: Kept,
    check_every: u64,
    checks: Checks,
    noted: watch::Sender<Option<Check>>,
}

impl Core {
    pub(crate) fn new(machine: Box<dyn Machine>, rows: Rows, snapshots: Kept, check_every: u64) -> Self {
        Self {
            machine,
            rows,
            views: BTreeMap::new(),
            next_view: 0,
            snapshots,
            check_every,
            checks: Checks::default(),
            noted: watch::Sender::new(None),
        }
    }

    /// The newest place at which the states of all members are compared.
    pub(crate) fn noted(&self) -> watch::Receiver<Option<Check>> {
        self.noted.subscribe()
    }

    pub(crate) fn meta(&self) -> &Meta {
        self.rows.meta()
    }

    /// What was applied in the place of this entry of a leader's, if that is another one.
    pub(crate) fn other_at(&self, there: LogIdForm) -> Option<LogIdForm> {
        let meta = self.meta();
        meta.terms.other_at(meta.applied?, there)
    }

    pub(crate) fn snapshot(&self) -> Option<&SnapshotFile> {
        self.snapshots.newest()
    }

    /// Up to where the log may be purged.
    pub(crate) fn purgeable(&self) -> Option<LogIdForm> {
        self.snapshots.purgeable()
    }

    pub(crate) fn flush(&self) -> Result<(), RowsFault> {
        self.rows.flush()
    }

    /// Applies entries and returns the replies. What is compared is noted on the way.
    pub(crate) fn apply(&mut self, entries: &[Entry]) -> io::Result<Vec<Reply>> {
        let mut replies = Vec::with_capacity(entries.len());
        let every = self.check_every;
        let is_place = |entry: &Entry| entry.log_id.index.is_multiple_of(every);
        for batch in entries.split_inclusive(is_place) {
            replies.extend(self.apply_batch(batch)?);
            if let Some(place) = batch.last().filter(|entry| is_place(entry)) {
                let check = Check {
                    index: place.log_id.index,
                    tally: self.meta().tally,
                };
                self.checks.note(check);
                self.noted.send_replace(Some(check));
            }
        }
        Ok(replies)
    }

    /// Applies entries, stores what they changed in one batch, and only then returns the replies.
    fn apply_batch(&mut self, entries: &[Entry]) -> io::Result<Vec<Reply>> {
        let Some(last) = entries.last() else {
            return Ok(vec![]);
        };
        let applied = LogIdForm::from(last.log_id);
        let (mut replies, mut changed, mut membership) =
            (Vec::with_capacity(entries.len()), BTreeMap::new(), None);
        let (mut before, mut terms) = (self.meta().applied, self.meta().terms.clone());
        for entry in entries {
            let id = LogIdForm::from(entry.log_id);
            terms.follow(before.replace(id), id);
            let mut reply = Reply(Bytes::new());
            match &entry.payload {
                Payload::Blank => {}
                Payload::Normal(command) => {
                    if let Some(check) = Check::read(command) {
                        self.checks.compare(check).map_err(io::Error::other)?;
                        replies.push(reply);
                        continue;
                    }
                    let done = self
                        .machine
                        .apply(entry.log_id.index, &command.0)
                        .map_err(io::Error::other)?;
                    changed.extend(done.changes);
                    reply = Reply(done.reply.into());
                }
                Payload::Membership(members) => {
                    let stored = StoredMembership::new(Some(entry.log_id), members.clone());
                    membership = Some(MembershipForm::from(&stored));
                }
            }
            replies.push(reply);
        }
        let changes = self.with_old(changed)?;
        for view in self.views.values_mut() {
            view.keep(&changes);
        }
        let meta = MetaChange {
            applied,
            membership,
            terms,
        };
        self.rows.write(&changes, meta)?;
        Ok(replies)
    }

    fn with_old(&self, changed: BTreeMap<Vec<u8>, Option<Vec<u8>>>) -> Result<Vec<Change>, RowsFault> {
        changed
            .into_iter()
            .map(|(key, new)| {
                Ok(Change {
                    old: self.rows.get(&key)?,
                    key,
                    new,
                })
            })
            .collect()
    }

    /// Takes a view of the rows as they are now. Whoever takes it drops it.
    pub(crate) fn freeze(&mut self) -> (ViewId, Head) {
        let view = self.next_view;
        self.next_view += 1;
        self.views.insert(view, Frozen::default());
        (view, Head::from(self.rows.meta()))
    }

    pub(crate) fn drop_view(&mut self, view: ViewId) {
        self.views.remove(&view);
    }

    #[cfg(test)]
    pub(crate) fn views(&self) -> usize {
        self.views.len()
    }

    /// The next part of a view; `None` when a snapshot was installed since and the view is gone.
    pub(crate) fn page(&self, view: ViewId, after: Option<&[u8]>) -> io::Result<Option<Page>> {
        let Some(view) = self.views.get(&view) else {
            return Ok(None);
        };
        let rows = self.rows.page(after, PAGE_ROWS)?;
        let full = rows.len() == PAGE_ROWS;
        Ok(Some(view.correct(after, rows, full)))
    }

    /// Makes a built snapshot the current one, unless a newer one came meanwhile. `file` has been synced.
    pub(crate) fn adopt(&mut self, file: SnapshotFile) -> io::Result<SnapshotFile> {
        if let Some(current) = self
            .snapshot()
            .filter(|s| s.head().applied > file.head().applied)
            .cloned()
        {
            std::fs::remove_file(file.path())?;
            return Ok(current);
        }
        self.snapshots.adopt(file)
    }

    /// Replaces the whole state by a snapshot. `file` has been synced.
    pub(crate) fn install(&mut self, file: SnapshotFile) -> io::Result<()> {
        // Named before the rows are replaced: a crash in between installs it again at start.
        let file = self.snapshots.adopt(file)?;
        let Head {
            applied,
            membership,
            terms,
            ..
        } = file.head().clone();
        self.views.clear();
        self.checks.clear();
        let rows = self.rows.replace(file.rows()?, applied, membership, terms)?;
        self.machine
            .restore(rows, applied.map_or(0, |id| id.index))
            .map_err(|e: MachineError| io::Error::other(e))
    }
}
