//! The work of an attempt: does the steps that the backup's machine asks for, on this world's storage unit and with its time between.

use outlast_media_core::attempt::{Event, Worked};
use outlast_media_core::backup::{Backup, Came, Snapshot, Step};
use outlast_media_core::survey::Ticketed;
use outlast_media_core::{AttemptId, Done, End, Fault};
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{self, backup_down, backup_up};
use outlast_proto::words::{Counters, ItemOutcome, SnapshotId, StatusCode, Timestamp, TreeId};

use super::found;
use crate::journal::Then;
use crate::media::{Media, Ticket};
use crate::net::{Cx, MS, S, Time, Timer};
use crate::storage::{Kind, Snap};

/// At so many of a hundred messages a checkpoint is due.
const CHECKPOINTS: u64 = 4;
/// At so many of ten thousand looks a lock is lost, or damage has come.
const MISHAPS: u64 = 40;
/// The part of a step that waits for room in the journal.
const NO_ROOM: u32 = 9;

/// The work of an attempt.
pub(crate) struct Work {
    pub(super) backup: Backup,
    /// What is being done; none: the work is over.
    step: Option<Step>,
    /// How far a step is that has several parts.
    part: u32,
    /// The client has begun the item; so much of it has come and is not stored.
    unsettled: bool,
    /// Stored for a pack that is not written yet.
    loose: Vec<u64>,
    /// Everything the item refers to.
    blobs: Vec<u64>,
    /// The snapshot that is being written.
    last: Option<SnapshotId>,
    lock_is_lost: bool,
    /// What is stored now is a checkpoint's.
    is_checkpoint: bool,
    /// Damage came that touches what the item relies on.
    suffers: bool,
    /// Data came since a checkpoint was last tried, or an item was over.
    is_new: bool,
    /// Events that found no room.
    unwritten: Vec<What>,
    made_checkpoints: bool,
}

impl Work {
    pub(super) fn new(ticket: &Ticket) -> Self {
        let items = ticket.items.iter().map(|item| Ticketed {
            finished: item.finished,
            with_exceptions: item.with_exceptions,
        });
        Self {
            backup: Backup::new(ticket.id, items.collect(), ticket.surveys),
            step: None,
            part: 0,
            unsettled: false,
            loose: Vec::new(),
            blobs: Vec::new(),
            last: None,
            lock_is_lost: false,
            is_checkpoint: false,
            suffers: false,
            is_new: false,
            unwritten: Vec::new(),
            made_checkpoints: false,
        }
    }

    fn is_receiving(&self) -> bool {
        matches!(self.step, Some(Step::Receive))
    }
}

impl Media {
    fn work(&mut self, id: AttemptId) -> Option<&mut Work> {
        Some(&mut self.run(id)?.work)
    }

    pub(super) fn begin_work(&mut self, cx: &mut Cx, id: AttemptId) {
        if let Some(work) = self.work(id) {
            let first = work.backup.begin();
            self.do_steps(cx, id, first);
        }
    }

    /// What the work waited for is done.
    pub(crate) fn advance(&mut self, cx: &mut Cx, id: AttemptId) {
        let Some(step) = self.work(id).and_then(|work| work.step.clone()) else {
            return;
        };
        if let Some(came) = self.finish_step(cx, id, &step) {
            self.came(cx, id, came);
        }
    }

    /// What can be left at once is; everything else first comes to its end.
    pub(super) fn halt_work(&mut self, cx: &mut Cx, id: AttemptId) {
        if self.work(id).is_some_and(|work| work.is_receiving()) {
            self.came(cx, id, Err(End::Halted));
        }
    }

    /// What waits for the client does not any more; everything else first comes to its end.
    pub(super) fn leave_work(&mut self, cx: &mut Cx, id: AttemptId) {
        if self.work(id).is_some_and(|work| work.is_receiving()) {
            self.came(cx, id, Ok(Came::CheckpointDue));
        }
    }

    fn came(&mut self, cx: &mut Cx, id: AttemptId, came: Result<Came, End>) {
        let Some(run) = self.run(id) else { return };
        let course = run.attempt.told().course();
        let next = run.work.backup.next(came, course);
        self.do_steps(cx, id, next);
    }

    /// Does what takes no time, until something takes some.
    fn do_steps(&mut self, cx: &mut Cx, id: AttemptId, mut step: Step) {
        loop {
            let Some(run) = self.run(id) else { return };
            (run.work.step, run.work.part) = (Some(step.clone()), 0);
            let course = run.attempt.told().course();
            if let Step::Over(outcome) = step {
                return self.work_is_over(cx, id, outcome);
            }
            let Some(came) = self.begin_step(cx, id, &step) else {
                return;
            };
            let Some(work) = self.work(id) else { return };
            step = work.backup.next(came, course);
        }
    }

    fn work_is_over(&mut self, cx: &mut Cx, id: AttemptId, outcome: Result<Done, End>) {
        let Some(work) = self.work(id) else { return };
        work.step = None;
        if let Err(End::Left) = &outcome {
            cx.oracle.leaves(id, work.is_new);
        }
        let worked = Worked {
            outcome,
            counters: work.backup.counters(),
            unwritten: std::mem::take(&mut work.unwritten),
            made_checkpoints: work.made_checkpoints,
        };
        self.happens(cx, id, Event::Worked(worked));
    }

    /// What came of a step, if it takes no time.
    fn begin_step(&mut self, cx: &mut Cx, id: AttemptId, step: &Step) -> Option<Result<Came, End>> {
        match step {
            Step::MendIndex | Step::Look | Step::Remove(_) | Step::TakeBack(_) => self.wait(cx, id, 50 * MS),
            Step::Save(snapshot) => return self.write_snapshot(cx, id, snapshot),
            Step::Flush => self.flush(cx, id),
            Step::Journal(_) if self.has_mishap(cx) => {
                if let Some(work) = self.work(id) {
                    work.part = NO_ROOM;
                }
                self.wait(cx, id, 20 * S);
            }
            Step::Journal(events) => self.journal_events(cx, id, events.clone()),
            Step::JournalIfRoom(What::Checkpoint(_)) if cx.rng.percent(3) => return Some(Ok(Came::NoRoom)),
            Step::JournalIfRoom(event) => self.journal_events(cx, id, vec![event.clone()]),
            Step::Begin(item) => {
                let began = backup_down::Body::BeginItem(v1::BeginItem {
                    item: *item,
                    ..Default::default()
                });
                let work = self.work(id)?;
                work.blobs.clear();
                (work.unsettled, work.is_new, work.suffers) = (false, false, false);
                cx.oracle.begins_item(id, *item, &cx.unit);
                self.say(cx, id, began);
                return Some(Ok(Came::Done));
            }
            Step::Receive => {
                if self.run(id).is_some_and(|run| run.is_halted()) {
                    return Some(Err(End::Halted));
                }
                if self.run(id).is_some_and(|run| run.is_leaving()) {
                    return Some(Ok(Came::CheckpointDue));
                }
                self.receive_soon(cx, id);
            }
            Step::AwaitChunks => {
                self.work(id)?.is_new = false;
                let comes = cx.rng.percent(90);
                return Some(Ok(if comes { Came::Done } else { Came::NotNow }));
            }
            Step::Tell(committed) => {
                self.work(id)?.is_new = false;
                self.say(cx, id, backup_down::Body::ItemCommitted(committed.clone()));
                return Some(Ok(Came::Done));
            }
            Step::LookAtFinished(_) => return Some(Ok(Came::Missing(Vec::new()))),
            Step::Examine(found) => {
                let is_damaged = self.has_mishap(cx);
                if is_damaged {
                    cx.oracle.is_unsound(found.finished.snapshot, &cx.unit);
                }
                return Some(Ok(Came::Sound(!is_damaged)));
            }
            Step::CheckLock => return Some(self.check_lock(id)),
            Step::LookAgain => return Some(Ok(self.look_again(cx, id))),
            Step::Settle => self.settle(cx, id),
            Step::SavePartial { .. } | Step::FinishTree => {
                self.work(id)?.is_checkpoint = matches!(step, Step::SavePartial { .. });
                return Some(Ok(self.store_tree(cx, id)));
            }
            Step::LookAtEnd | Step::Over(_) => return Some(Ok(Came::Done)),
        }
        // What is done at once has come by now.
        matches!(step, Step::Settle).then_some(Ok(Came::Done))
    }

    /// What came of a step that took its time; none if there is more of it.
    fn finish_step(&mut self, cx: &mut Cx, id: AttemptId, step: &Step) -> Option<Result<Came, End>> {
        match step {
            Step::Look => {
                let found = found(&cx.unit, id);
                return Some(Ok(Came::Found(found)));
            }
            Step::Save(_) => {
                self.sync(cx);
                let snapshot = self.work(id)?.last?;
                let at = Timestamp::default();
                return Some(Ok(Came::Saved { snapshot, at }));
            }
            Step::Flush => return self.flush_on(cx, id),
            Step::Journal(events) => return self.journalled(cx, id, events),
            Step::Remove(snapshot) => self.remove_checkpoint(cx, id, *snapshot),
            Step::TakeBack(snapshot) => cx.unit.remove(*snapshot),
            Step::Receive => return None,
            _ => {}
        }
        Some(Ok(Came::Done))
    }

    /// They are durable, or there may be room for them now: unless the attempt is to end, then they go with its end.
    fn journalled(&mut self, cx: &mut Cx, id: AttemptId, events: &[What]) -> Option<Result<Came, End>> {
        let run = self.run(id)?;
        if run.work.part != NO_ROOM {
            return Some(Ok(Came::Done));
        }
        if run.is_halted() {
            run.work.unwritten.extend_from_slice(events);
            return Some(Err(End::Halted));
        }
        run.work.part = 0;
        self.journal_events(cx, id, events.to_vec());
        None
    }

    fn wait(&mut self, cx: &mut Cx, id: AttemptId, most: Time) {
        let takes = cx.rng.range(MS, most);
        cx.timer(self.proc(), takes, Timer::Step(id));
    }

    fn journal_events(&mut self, cx: &mut Cx, id: AttemptId, events: Vec<What>) {
        // Whoever looks sees the snapshot that was written last.
        if let Some(work) = self.work(id) {
            work.last = None;
        }
        let events = events.into_iter().map(|what| self.event(cx, id, what));
        let events = events.collect();
        self.append(cx, events, Then::Advance(id));
    }

    fn say(&mut self, cx: &mut Cx, id: AttemptId, body: backup_down::Body) {
        if let Some(run) = self.run(id) {
            run.line.say(body);
        }
        self.pump(cx, id);
    }

    /// Something happens that is rare, where agents are not spared.
    fn has_mishap(&self, cx: &mut Cx) -> bool {
        !cx.oracle.spares_agents && cx.rng.range(1, 10_000) <= MISHAPS
    }

    fn check_lock(&mut self, id: AttemptId) -> Result<Came, End> {
        if self.work(id).is_none_or(|work| !work.lock_is_lost) {
            return Ok(Came::Done);
        }
        let fault = Fault::new(StatusCode::STORAGE_WRITE_ERROR, "the lock was lost");
        Err(End::Fault(fault))
    }

    /// A lock that is lost lets a prune in, which removes what no snapshot refers to that it sees; damage takes the same here.
    fn something_goes(&mut self, cx: &mut Cx, id: AttemptId, may_be_damage: bool) {
        let is_lock = self.has_mishap(cx);
        let is_damage = !is_lock && may_be_damage && self.has_mishap(cx);
        let Some(work) = self.work(id).filter(|_| is_lock || is_damage) else {
            return;
        };
        work.lock_is_lost |= is_lock;
        work.suffers |= is_damage;
        cx.unit.prune(&work.blobs, work.last);
    }

    /// Nothing that a later attempt could go on from is lost by it (F-05).
    fn remove_checkpoint(&self, cx: &mut Cx, id: AttemptId, snapshot: SnapshotId) {
        let kept = cx.unit.newest_checkpoint_but(id, snapshot);
        cx.oracle.checkpoint_goes(id, snapshot, kept);
        cx.unit.remove(snapshot);
    }

    fn look_again(&mut self, cx: &mut Cx, id: AttemptId) -> Came {
        if self.work(id).is_none_or(|work| !work.suffers) {
            return Came::Done;
        }
        let said = What::Detail(v1::DetailSaid {
            severity: v1::Severity::Warning.into(),
            text: format!("damage {}", cx.fresh()),
        });
        let fault = Fault::new(StatusCode::STORAGE_WRITE_ERROR, "damage keeps coming");
        Came::Suffers { said, fault }
    }

    /// What came of the client is stored.
    fn settle(&mut self, cx: &mut Cx, id: AttemptId) {
        let blob = cx.fresh();
        let Some(work) = self.work(id) else { return };
        if std::mem::take(&mut work.unsettled) {
            work.loose.push(blob);
            work.blobs.push(blob);
        }
    }

    /// A tree refers to everything that came, settled or not.
    fn store_tree(&mut self, cx: &mut Cx, id: AttemptId) -> Came {
        let (lost, tree) = (cx.fresh(), cx.fresh());
        if let Some(work) = self.work(id) {
            if work.unsettled {
                work.blobs.push(lost);
            }
            work.loose.push(tree);
            work.blobs.push(tree);
        }
        let counters = Counters {
            files: 3,
            bytes: 5,
            ..Counters::default()
        };
        let tree = TreeId([7; 32]);
        Came::Tree { tree, counters }
    }

    /// Packs first.
    fn flush(&mut self, cx: &mut Cx, id: AttemptId) {
        let n = self.n;
        if let Some(work) = self.work(id) {
            for blob in &work.loose {
                cx.unit.write_pack(n, *blob);
            }
        }
        self.wait(cx, id, 100 * MS);
    }

    /// Then an index file, when they are durable.
    fn flush_on(&mut self, cx: &mut Cx, id: AttemptId) -> Option<Result<Came, End>> {
        self.sync(cx);
        let n = self.n;
        let work = self.work(id)?;
        work.part += 1;
        if work.part > 1 {
            // Nobody looks at a checkpoint again before somebody needs it.
            let is_item = self.work(id).is_some_and(|work| !work.is_checkpoint);
            self.something_goes(cx, id, is_item);
            return Some(Ok(Came::Done));
        }
        for blob in std::mem::take(&mut work.loose) {
            cx.unit.write_index(n, blob);
        }
        self.wait(cx, id, 100 * MS);
        None
    }

    /// It has its name when it is synced.
    fn write_snapshot(
        &mut self,
        cx: &mut Cx,
        id: AttemptId,
        snapshot: &Snapshot,
    ) -> Option<Result<Came, End>> {
        let number = cx.fresh();
        let work = self.work(id)?;
        let snap = match snapshot {
            Snapshot::Adopted(found) => {
                let snap = cx.unit.snapshot(found.finished.snapshot).cloned();
                snap.map(|snap| Snap { id, ..snap })
            }
            Snapshot::Item {
                item,
                outcome,
                counters,
            } => {
                cx.oracle.saves(id, *item, counters.exceptions);
                Some(Snap {
                    id,
                    item: *item,
                    kind: Kind::Item,
                    outcome: *outcome,
                    counters: *counters,
                    packs: work.blobs.clone(),
                })
            }
            Snapshot::Checkpoint { item, .. } => {
                work.made_checkpoints = true;
                Some(Snap {
                    id,
                    item: *item,
                    kind: Kind::Checkpoint,
                    outcome: ItemOutcome::InProgress,
                    counters: Counters::default(),
                    packs: work.blobs.clone(),
                })
            }
        };
        let Some(snap) = snap else {
            let fault = Fault::new(StatusCode::STORAGE_WRITE_ERROR, "a snapshot is gone");
            return Some(Err(End::Fault(fault)));
        };
        let snapshot = cx.unit.write_snapshot(self.n, number, snap);
        self.work(id)?.last = Some(snapshot);
        self.something_goes(cx, id, false);
        self.wait(cx, id, 100 * MS);
        None
    }

    /// What is in the repository by now is there for good.
    fn sync(&self, cx: &mut Cx) {
        cx.unit.sync(self.n, cx.mistakes.no_pack_sync);
    }

    fn receive_soon(&mut self, cx: &mut Cx, id: AttemptId) {
        cx.timer(self.proc(), 0, Timer::Work(id));
    }

    /// Takes the client's messages as far as the engine wants them.
    pub(crate) fn receive(&mut self, cx: &mut Cx, id: AttemptId) {
        while let Some(run) = self.run(id).filter(|run| run.work.is_receiving()) {
            let is_waiting = run.line.has_waiting();
            // The engine is busy now and then, and messages wait.
            if is_waiting && cx.rng.percent(20) {
                let takes = cx.rng.range(MS, 3 * S);
                cx.timer(self.proc(), takes, Timer::Work(id));
                break;
            }
            if is_waiting && cx.rng.percent(CHECKPOINTS) && self.run(id).is_some_and(|run| run.work.unsettled)
            {
                self.came(cx, id, Ok(Came::CheckpointDue));
                break;
            }
            let Some(body) = self.run(id).and_then(|run| run.line.process()) else {
                break;
            };
            self.take(cx, id, body);
        }
        self.pump(cx, id);
    }

    fn take(&mut self, cx: &mut Cx, id: AttemptId, body: backup_up::Body) {
        cx.oracle.data_came(id);
        let Some(work) = self.work(id) else { return };
        (work.unsettled, work.is_new) = (true, true);
        match body {
            backup_up::Body::Exceptions(found) => {
                let batches: Vec<What> = found
                    .exceptions
                    .into_iter()
                    .filter_map(|exception| work.backup.except(exception))
                    .collect();
                for batch in batches {
                    let batch = self.event(cx, id, batch);
                    self.append(cx, vec![batch], Then::Nothing);
                }
            }
            backup_up::Body::ItemEnd(v1::ItemEnd {
                error: Some(error), ..
            }) => self.came(cx, id, Ok(Came::Failed(error))),
            backup_up::Body::ItemEnd(end) => {
                cx.oracle
                    .received(id, end.item, work.backup.exceptions().count_of_item());
                self.came(cx, id, Ok(Came::ItemEnd));
            }
            _ => {}
        }
    }
}
