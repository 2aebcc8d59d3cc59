//! What media agents do: what their journals may say, what they write and remove, what clients are told.

use outlast_core::rows::History;
use outlast_media_core::AttemptId;
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{AttemptOver, JournalEvent};
use outlast_proto::words::{ItemOutcome, SnapshotId, StatusCode};

use super::Oracle;
use crate::storage::Unit;

/// Ends that an attempt has only by its journal; with others a stream may be refused.
const BY_JOURNAL: [StatusCode; 6] = [
    StatusCode::SUCCESSFUL,
    StatusCode::EXCEPTIONS,
    StatusCode::CANCELED,
    StatusCode::CONNECTION_BROKEN,
    StatusCode::CANNOT_CONNECT_TO_CLIENT,
    StatusCode::STORAGE_WRITE_ERROR,
];

impl Oracle {
    /// An event is durable: what of it is a promise from now on.
    pub(crate) fn journalled(&mut self, event: &JournalEvent, unit: &Unit) {
        let (Some(what), Ok(id)) = (&event.what, AttemptId::of_message(event.attempt.as_ref())) else {
            return;
        };
        match what {
            What::Marked(marked) => {
                self.begun.insert(id);
                if marked.resilient {
                    self.marked.insert(id);
                }
            }
            What::Interrupted(_) => {
                self.interrupted.insert(id);
            }
            What::Ended(ended) => {
                let code = u16::try_from(ended.status_code).expect("a status code");
                self.witness(id, StatusCode(code));
            }
            What::ItemEnded(item) => {
                self.ended_items.insert((id, item.item));
                self.is_durable(id, &item.snapshot, unit);
            }
            What::Checkpoint(made) => {
                let snapshot = self.is_durable(id, &made.snapshot, unit);
                self.checkpoints.extend(snapshot);
            }
            What::ItemStarted(_)
            | What::Exceptions(_)
            | What::Detail(_)
            | What::MarkLost(_)
            | What::Surveyed(_) => {}
        }
    }

    /// DESIGN 4: the order of writing is pack, index, snapshot, journal.
    fn is_durable(&mut self, id: AttemptId, snapshot: &[u8], unit: &Unit) -> Option<SnapshotId> {
        let snapshot = SnapshotId::from_wire("snapshot", snapshot).expect("an id")?;
        if !unit.is_durable(snapshot) {
            let text = format!("the journal of {id} speaks of snapshot {snapshot}, which is not durable");
            self.contradict("DESIGN 4", text);
        }
        Some(snapshot)
    }

    /// An attempt's end is durable.
    fn witness(&mut self, id: AttemptId, code: StatusCode) {
        let said = self.witnessed.insert(id, code);
        // What a disk that was set back has forgotten may come to another end.
        if said.is_some() && !self.excused.contains(&id) {
            let text = format!("attempt {id} has ended twice in journals: {said:?}, {code}");
            self.contradict("S-12", text);
        }
    }

    /// A client begins to read an item: again, if something of it went missing.
    pub(crate) fn begins(&mut self, id: AttemptId, item: u32) {
        self.said.remove(&(id, item));
    }

    /// A client names a file that counts.
    pub(crate) fn said(&mut self, id: AttemptId, item: u32, path: String) {
        self.said.entry((id, item)).or_default().insert(path);
    }

    fn said_of(&self, id: AttemptId, item: u32) -> u64 {
        self.said.get(&(id, item)).map_or(0, |said| said.len() as u64)
    }

    /// Data of an attempt has come to its media agent.
    pub(crate) fn data_came(&mut self, id: AttemptId) {
        if !self.begun.contains(&id) {
            self.contradict("R-02", format!("data of {id} came, and its mark is not durable"));
        }
    }

    /// All of an item has come to its media agent, with so much that counts (F-10).
    pub(crate) fn received(&mut self, id: AttemptId, item: u32, count: u64) {
        let said = self.said_of(id, item);
        if said != count {
            let text = format!("the client of {id} said {said} exceptions of item {item}, and {count} came");
            self.contradict("F-10", text);
        }
    }

    /// The snapshot of an item says how many exceptions it has.
    pub(crate) fn saves(&mut self, id: AttemptId, item: u32, count: u64) {
        let said = self.said_of(id, item);
        if said != count {
            let text = format!(
                "the client of {id} said {said} exceptions of item {item}, and its snapshot says {count}"
            );
            self.contradict("S-02", text);
        }
    }

    /// An attempt removes one of its checkpoints; this one is left.
    pub(crate) fn checkpoint_goes(&mut self, id: AttemptId, snapshot: SnapshotId, left: Option<SnapshotId>) {
        if self.checkpoints.contains(&snapshot) && left.is_none_or(|left| left < snapshot) {
            self.contradict("F-05", format!("{id} removes its newest checkpoint {snapshot}"));
        }
    }

    /// S-02: an item is what its restore point says it is, and what its client could not read is named.
    pub(super) fn look_at_points_of(&mut self, id: AttemptId, history: &History, unit: &Unit) {
        if self.excused.contains(&id) {
            return;
        }
        for (number, item) in (0..).zip(&history.items) {
            let snap = item.restore_point.and_then(|point| unit.snapshot(point));
            let Some(snap) = snap else { continue };
            if item.outcome.is_finished() && item.outcome != snap.outcome {
                let text = format!(
                    "item {number} of attempt {id} is {}, and its restore point says {}",
                    item.outcome, snap.outcome
                );
                return self.contradict("S-02", text);
            }
            let of_it = self.said.get(&(id, number)).filter(|_| snap.id == id);
            let is_named = |path: &&String| history.exceptions.iter().any(|named| named.path == **path);
            let missing = of_it.and_then(|said| said.iter().find(|path| !is_named(path)));
            if let (Some(path), ItemOutcome::DoneWithExceptions | ItemOutcome::Done) = (missing, item.outcome)
            {
                return self.contradict(
                    "S-02",
                    format!("the history of attempt {id} does not name {path}"),
                );
            }
        }
    }

    /// A client is told how its attempt has ended.
    pub(crate) fn told_over(&mut self, id: AttemptId, over: &AttemptOver) {
        let code = u16::try_from(over.code).map_or(StatusCode::SUPERSEDED, StatusCode);
        let is_durable = self.witnessed.get(&id) == Some(&code);
        if BY_JOURNAL.contains(&code) && !is_durable && !self.excused.contains(&id) {
            let text = format!("the client of {id} is told {code}, and no journal says so");
            self.contradict("S-12", text);
        }
    }

    /// A client is told that an item is over.
    pub(crate) fn told_item(&mut self, id: AttemptId, item: u32) {
        if !self.ended_items.contains(&(id, item)) && !self.excused.contains(&id) {
            let text =
                format!("the client of {id} is told of the end of item {item}, and no journal says so");
            self.contradict("DESIGN 3", text);
        }
    }
}
