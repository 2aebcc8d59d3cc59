//! One attempt at its media agent: the machines of `outlast-media-core` over this world's disks. A kill can come between any two steps.
//!
//! `life` does what the attempt's machine says; here is the work, in the order of the product's backup engine: take over what earlier
//! attempts finished, then item by item pack, index, snapshot, journal.

use std::time::Duration;

use outlast_media_core::attempt::{Attempt, Event, Terms, Worked};
use outlast_media_core::{AttemptId, Done, End, Greeting, Tally};
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{self, backup_down, backup_up};
use outlast_proto::words::{Counters, SnapshotId};

use crate::journal::Then;
use crate::line::Line;
use crate::media::{Media, Ticket};
use crate::net::{ConnId, Cx, MS, S, Time, Timer};
use crate::storage::Snap;

mod checkpoint;
mod commit;
mod items;
mod life;
mod stream;

use checkpoint::Stage;
pub(crate) use items::{adopted, found};
use life::UnderWay;
pub(crate) use life::{LOCK_WAIT, at};

const RECONNECT_FOR: Time = 300 * S;

/// Where the work of an attempt is.
#[derive(Clone, Debug)]
enum Phase {
    /// It has not begun, or is over.
    None,
    /// For what earlier attempts finished.
    Looking,
    Adopting {
        left: Vec<(u32, SnapshotId, Snap)>,
        adopted: Vec<u32>,
    },
    Starting {
        item: u32,
    },
    Receiving {
        item: u32,
        exceptions: u64,
    },
    /// In the middle of an item.
    Checkpoint {
        item: u32,
        exceptions: u64,
        stage: Stage,
    },
    Packing {
        item: u32,
        exceptions: u64,
    },
    Indexing {
        item: u32,
        exceptions: u64,
        pack: u64,
    },
    Snapping {
        item: u32,
        exceptions: u64,
        pack: u64,
    },
    Snapped {
        item: u32,
        snapshot: SnapshotId,
        counters: Counters,
    },
    Committing {
        item: u32,
    },
}

/// An attempt under way.
pub(crate) struct Run {
    ticket: Ticket,
    attempt: Attempt,
    /// What takes time at the moment, of the attempt's life.
    under_way: Option<UnderWay>,
    /// For when it was last to be woken.
    wakes_at: Option<Duration>,
    phase: Phase,
    /// A stream that waits to be taken up; dead if it broke meanwhile.
    entrance: Option<(ConnId, Greeting)>,
    /// The stream with which the work begins.
    first: Option<ConnId>,
    pub(crate) line: Line<backup_down::Body, backup_up::Body>,
    has_line: bool,
    tally: Tally,
    done: Vec<u32>,
    made_checkpoints: bool,
}

impl Run {
    pub(crate) fn new(ticket: Ticket, terms: Terms, lost_at: Option<Duration>) -> Self {
        Self {
            ticket,
            attempt: Attempt::new(terms, lost_at, life::grace()),
            under_way: None,
            wakes_at: None,
            phase: Phase::None,
            entrance: None,
            first: None,
            line: Line::new(),
            has_line: false,
            tally: Tally::default(),
            done: Vec::new(),
            made_checkpoints: false,
        }
    }

    /// It goes on although it may not do without a primary.
    pub(crate) fn outstays(&self) -> bool {
        self.attempt.works() && !self.ticket.resilient && self.attempt.told().halted().is_none()
    }

    fn is_halted(&self) -> bool {
        self.attempt.told().halted().is_some()
    }
}

impl Media {
    fn run(&mut self, id: AttemptId) -> Option<&mut Run> {
        self.process.as_mut()?.runs.get_mut(&id)
    }

    fn step(&mut self, cx: &mut Cx, id: AttemptId, low: Time, high: Time) {
        let takes = cx.rng.range(low, high);
        cx.timer(self.proc(), takes, Timer::Step(id));
    }

    /// What the attempt waited for has come.
    pub(crate) fn advance(&mut self, cx: &mut Cx, id: AttemptId) {
        let Some(run) = self.run(id) else { return };
        match run.phase.clone() {
            Phase::None | Phase::Receiving { .. } => {}
            Phase::Looking => self.look(cx, id),
            Phase::Adopting { left, adopted } => self.adopt(cx, id, left, adopted),
            Phase::Starting { item } => self.receive(cx, id, item),
            Phase::Checkpoint {
                item,
                exceptions,
                stage,
            } => self.checkpoint(cx, id, (item, exceptions), stage),
            Phase::Packing { item, exceptions } => self.pack(cx, id, item, exceptions),
            Phase::Indexing {
                item,
                exceptions,
                pack,
            } => self.index(cx, id, item, exceptions, pack),
            Phase::Snapping {
                item,
                exceptions,
                pack,
            } => self.snap(cx, id, item, exceptions, pack),
            Phase::Snapped {
                item,
                snapshot,
                counters,
            } => self.journal_item(cx, id, item, snapshot, counters),
            Phase::Committing { item } => {
                run.done.push(item);
                run.line.say(backup_down::Body::ItemCommitted(v1::ItemCommitted {
                    item,
                    ..Default::default()
                }));
                self.pump(cx, id);
                self.next_item(cx, id);
            }
        }
    }

    fn go_to(&mut self, cx: &mut Cx, id: AttemptId, phase: Phase) {
        if let Some(run) = self.run(id) {
            run.phase = phase;
        }
        self.step(cx, id, MS, 100 * MS);
    }

    /// The work begins.
    fn begin_work(&mut self, cx: &mut Cx, id: AttemptId) {
        self.go_to(cx, id, Phase::Looking);
    }

    /// What can be left at once is; everything else first comes to its end.
    fn halt_work(&mut self, cx: &mut Cx, id: AttemptId) {
        if self
            .run(id)
            .is_some_and(|run| matches!(run.phase, Phase::Receiving { .. }))
        {
            self.finish(cx, id, Err(End::Halted));
        }
    }

    fn look(&mut self, cx: &mut Cx, id: AttemptId) {
        let Some(run) = self.run(id) else { return };
        let is_open = |item: &u32| {
            run.ticket
                .items
                .get(*item as usize)
                .is_some_and(|item| !item.finished)
        };
        let mut left = Vec::new();
        if outlast_media_core::survey::has_predecessors(id.attempt) {
            left = found(&cx.unit, id)
                .into_iter()
                .filter(|(item, ..)| is_open(item))
                .collect();
        }
        self.adopt(cx, id, left, Vec::new());
    }

    /// Takes over one item after the other; that of an earlier attempt gets a snapshot of this one.
    fn adopt(
        &mut self,
        cx: &mut Cx,
        id: AttemptId,
        mut left: Vec<(u32, SnapshotId, Snap)>,
        mut done: Vec<u32>,
    ) {
        let Some((item, mut snapshot, mut snap)) = left.pop() else {
            if let Some(run) = self.run(id) {
                run.done = done;
            }
            return self.next_item(cx, id);
        };
        if snap.id != id {
            snap.id = id;
            let number = cx.fresh();
            snapshot = cx.unit.write_snapshot(self.n, number, snap.clone());
            self.sync(cx);
        }
        done.push(item);
        if let Some(run) = self.run(id) {
            run.tally.finished(&snap.counters);
            run.phase = Phase::Adopting { left, adopted: done };
        }
        let event = self.event(cx, id, adopted(item, snapshot, &snap));
        self.append(cx, vec![event], Then::Advance(id));
    }

    fn next_item(&mut self, cx: &mut Cx, id: AttemptId) {
        let Some(run) = self.run(id) else { return };
        let open = (0..)
            .zip(&run.ticket.items)
            .find(|(number, item)| !item.finished && !run.done.contains(number));
        let Some((item, _)) = open else {
            for item in run.ticket.items.iter().filter(|item| item.finished) {
                run.tally.finished_before(item.with_exceptions);
            }
            let done = run.tally.clone().done(false, 0);
            return self.finish(cx, id, Ok(done));
        };
        run.tally.begin();
        run.phase = Phase::Starting { item };
        let started = self.event(cx, id, What::ItemStarted(v1::ItemStarted { item }));
        self.append(cx, vec![started], Then::Advance(id));
    }

    fn receive(&mut self, cx: &mut Cx, id: AttemptId, item: u32) {
        let Some(run) = self.run(id) else { return };
        run.phase = Phase::Receiving { item, exceptions: 0 };
        if run.is_halted() {
            return self.finish(cx, id, Err(End::Halted));
        }
        run.line.say(backup_down::Body::BeginItem(v1::BeginItem {
            item,
            ..Default::default()
        }));
        self.pump(cx, id);
        self.work(cx, id);
    }

    /// Takes the client's messages as far as the engine wants them.
    pub(crate) fn work(&mut self, cx: &mut Cx, id: AttemptId) {
        loop {
            let Some(run) = self.run(id) else { return };
            let Phase::Receiving { item, exceptions } = &mut run.phase else {
                break;
            };
            // The engine is busy now and then, and messages wait.
            if run.line.incoming.has_waiting() && cx.rng.percent(20) {
                let takes = cx.rng.range(MS, 3 * S);
                cx.timer(self.proc(), takes, Timer::Work(id));
                break;
            }
            if run.line.incoming.has_waiting() && checkpoint::is_due(cx) {
                let (item, exceptions) = (*item, *exceptions);
                self.begin_checkpoint(cx, id, item, exceptions);
                break;
            }
            match run.line.incoming.process() {
                None => break,
                Some(backup_up::Body::Exceptions(_)) => *exceptions += 1,
                Some(backup_up::Body::ItemEnd(_)) => {
                    let (item, exceptions) = (*item, *exceptions);
                    cx.oracle.received(id, item, exceptions);
                    let phase = Phase::Packing { item, exceptions };
                    self.go_to(cx, id, phase);
                }
                Some(_) => {}
            }
        }
        self.pump(cx, id);
    }

    /// The work is over.
    fn finish(&mut self, cx: &mut Cx, id: AttemptId, outcome: Result<Done, End>) {
        let Some(run) = self.run(id) else { return };
        run.phase = Phase::None;
        let worked = Worked {
            outcome,
            counters: run.tally.counters,
            unwritten: Vec::new(),
            made_checkpoints: run.made_checkpoints,
        };
        self.happens(cx, id, Event::Worked(worked));
    }
}
