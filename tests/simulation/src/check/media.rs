//! What media agents do: what their journals may say, what they write and remove, what clients are told.

use outlast_core::rows::History;
use outlast_media_core::{AttemptId, Halt};
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{AttemptOver, ItemEnded, JournalEvent, Leaving};
use outlast_proto::words::{Interruption, ItemOutcome, SnapshotId, StatusCode};

use super::Oracle;
use crate::storage::{Kind, Snap, Unit};

/// What the work comes to by itself, whatever was told meanwhile.
const BY_ITSELF: [StatusCode; 4] = [
    StatusCode::SUCCESSFUL,
    StatusCode::EXCEPTIONS,
    StatusCode::FILE_READ_FAILED,
    StatusCode::STORAGE_WRITE_ERROR,
];

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
            What::Interrupted(why) => {
                self.interrupted.insert(id);
                match why.left() {
                    Leaving::Moved => self.leaves_as_told(id),
                    Leaving::Unspecified => {
                        self.is_as_told(id, None);
                        self.has_its_cause(id, Interruption::from_wire(why.cause));
                    }
                }
                if self.given_up.contains(&id) && !self.excused.contains(&id) {
                    let text =
                        format!("{id} goes on in another attempt and has removed what that could go on from");
                    self.contradict("F-05", text);
                }
            }
            What::Ended(ended) => {
                let code = u16::try_from(ended.status_code).expect("a status code");
                self.is_as_told(id, Some(StatusCode(code)));
                self.has_all_items(id, unit);
                self.witness(id, StatusCode(code));
            }
            What::ItemEnded(item) => self.item_ended(id, item, unit),
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

    /// An item ends once, as a whole restore point of the attempt's own (F-04, S-12, S-14b).
    fn item_ended(&mut self, id: AttemptId, item: &ItemEnded, unit: &Unit) {
        if !self.ended_items.insert((id, item.item)) && !self.excused.contains(&id) {
            let text = format!("item {} of {id} has ended twice in journals", item.item);
            self.contradict("S-12", text);
        }
        let Some(snapshot) = self.is_durable(id, &item.snapshot, unit) else {
            return;
        };
        if unit.snapshot(snapshot).is_some_and(|snap| snap.id != id) {
            let text = format!(
                "{id} has finished item {} with the snapshot of another attempt",
                item.item
            );
            self.contradict("F-04", text);
        }
        if item.adopted && self.unsound.contains(&snapshot) {
            let text = format!("{id} takes item {} over, in which damage was found", item.item);
            self.contradict("S-14b", text);
        }
    }

    /// what an attempt has finished its journal says before its end.
    fn has_all_items(&mut self, id: AttemptId, unit: &Unit) {
        let is_unsaid = |item: &u32| !self.ended_items.contains(&(id, *item));
        let unsaid = unit.items_of(id).find(is_unsaid);
        if let Some(item) = unsaid.filter(|_| !self.excused.contains(&id)) {
            let text = format!("{id} has ended, and no journal says that its item {item} is finished");
            self.contradict("X-01", text);
        }
    }

    /// An attempt is told to end: the first reason counts.
    pub(crate) fn is_told(&mut self, id: AttemptId, why: &Halt) {
        self.told.entry(id).or_insert_with(|| why.clone());
    }

    /// Their process is gone.
    pub(crate) fn forget_told<'a>(&mut self, ids: impl IntoIterator<Item = &'a AttemptId>) {
        for id in ids {
            self.told.remove(id);
            self.given_up.remove(id);
        }
    }

    /// The end is the first reason's, or a result; none: it was interrupted.
    fn is_as_told(&mut self, id: AttemptId, code: Option<StatusCode>) {
        let is_so = match (self.told.get(&id), code) {
            (None, _) => true,
            (Some(Halt::Interrupted(_)), None) => true,
            (Some(Halt::Fault(fault)), None) => fault.cause.is_some(),
            (Some(_), None) => false,
            (Some(Halt::Fenced), Some(_)) => false,
            (Some(Halt::Interrupted(_) | Halt::Left(_)), Some(code)) => BY_ITSELF.contains(&code),
            (Some(Halt::Stopped(_)), Some(code)) => code == StatusCode::CANCELED || BY_ITSELF.contains(&code),
            (Some(Halt::Fault(fault)), Some(code)) => code == fault.code || BY_ITSELF.contains(&code),
        };
        if !is_so && !self.excused.contains(&id) {
            let text = format!(
                "{id} was told {:?} first, and ended with {code:?}",
                self.told.get(&id)
            );
            self.contradict("S-12", text);
        }
    }

    /// S-11a: what it was told first is what its journal says.
    fn has_its_cause(&mut self, id: AttemptId, said: Option<Interruption>) {
        let told = match self.told.get(&id) {
            Some(Halt::Fault(fault)) => fault.cause,
            Some(Halt::Interrupted(_)) => None,
            _ => return,
        };
        if told != said && !self.excused.contains(&id) {
            let text = format!("{id} was interrupted for {told:?}, and its journal says {said:?}");
            self.contradict("S-11a", text);
        }
    }

    /// An attempt opens the storage unit: none before it of its job has that still (F-04).
    pub(crate) fn prepares<'a>(&mut self, id: AttemptId, running: impl Iterator<Item = &'a AttemptId>) {
        let before = running
            .copied()
            .find(|other| other.is_through(id) && *other != id);
        if let Some(before) = before {
            self.contradict("F-04", format!("{id} begins while {before} has not ended"));
        }
    }

    /// An attempt is about to be marked.
    pub(crate) fn is_marked_now(&mut self, id: AttemptId) {
        if let Some(why) = self.told.get(&id) {
            let text = format!("{id} is marked and was told to end: {why:?}");
            self.contradict("F-04", text);
        }
    }

    /// An attempt has removed its checkpoints and those before it.
    pub(crate) fn gives_up(&mut self, id: AttemptId) {
        self.given_up.insert(id);
    }

    /// Damage was found in a restore point.
    pub(crate) fn is_unsound(&mut self, snapshot: SnapshotId, unit: &Unit) {
        self.unsound.insert(snapshot);
        let of = unit.snapshot(snapshot).map(|snap| snap.id);
        self.spoiled.extend(of);
    }

    /// F-08: what is finished is not run again.
    pub(crate) fn begins_item(&mut self, id: AttemptId, item: u32, unit: &Unit) {
        let is_it = |snap: &Snap| snap.kind == Kind::Item && snap.item == item && snap.id.is_through(id);
        let mut all = unit.snapshots();
        let found = all.find(|(snapshot, snap)| is_it(snap) && !self.unsound.contains(snapshot));
        if let Some((snapshot, snap)) = found.filter(|_| !self.sets_disks_back) {
            let text = format!(
                "{id} begins item {item}, which {} has finished: {snapshot}",
                snap.id
            );
            self.contradict("F-08", text);
        }
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
            // What a lost media agent has noted of it and nobody heard is lost with it: the tags say how many (B-06).
            let counts = snap.id == id && !self.superseded.contains(&id);
            let of_it = self.said.get(&(id, number)).filter(|_| counts);
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
