//! The steps of one attempt at its media agent, in the order of the product's `conduct` and its backup engine: prepare, wait for the
//! client, mark, take over what earlier attempts finished, item by item pack, index, snapshot, journal; then the one end. A kill can
//! come between any two.

use outlast_media_core::{AttemptId, Done, End, Ending, Fault, Greeting, Halt, NewRecord, Tally};
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{self, backup_down, backup_up};
use outlast_proto::words::{Counters, SnapshotId, StatusCode};

use crate::journal::Then;
use crate::line::Line;
use crate::media::{Media, Ticket};
use crate::net::{ConnId, Cx, MS, Msg, Proc, S, Time, Timer};
use crate::storage::Snap;

mod checkpoint;
mod commit;
mod items;
mod stream;

use checkpoint::Stage;
pub(crate) use items::{adopted, found};

const RECONNECT_FOR: Time = 300 * S;

/// Where an attempt is.
#[derive(Clone, Debug)]
enum Phase {
    /// Lower attempts of the job are still ending.
    After,
    Preparing,
    Client,
    Marking,
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
    Ending(Ending),
}

/// An attempt under way.
pub(crate) struct Run {
    ticket: Ticket,
    phase: Phase,
    halt: Option<Halt>,
    client_wait: Option<Time>,
    after: Vec<AttemptId>,
    /// A stream that waits to be taken up; dead if it broke meanwhile.
    entrance: Option<(ConnId, Greeting)>,
    pub(crate) line: Line<backup_down::Body, backup_up::Body>,
    has_line: bool,
    tally: Tally,
    done: Vec<u32>,
}

impl Run {
    pub(crate) fn new(ticket: Ticket, client_wait: Option<Time>, after: Vec<AttemptId>) -> Self {
        Self {
            ticket,
            phase: Phase::After,
            halt: None,
            client_wait,
            after,
            entrance: None,
            line: Line::new(),
            has_line: false,
            tally: Tally::default(),
            done: Vec::new(),
        }
    }

    pub(crate) fn waits_for_client(&self) -> bool {
        matches!(self.phase, Phase::Client) && self.client_wait.is_some()
    }

    /// It is resilient as soon as its client comes.
    pub(crate) fn may_get_mark(&self) -> bool {
        self.waits_for_client() && self.ticket.resilient
    }

    /// It goes on although it may not do without a primary.
    pub(crate) fn outstays(&self) -> bool {
        self.is_marked() && !self.ticket.resilient && self.halt.is_none()
    }

    /// Its mark is durable and its end is not decided.
    pub(crate) fn is_marked(&self) -> bool {
        self.has_line && !matches!(self.phase, Phase::Marking | Phase::Ending(_))
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
            Phase::After => {
                if run.after.is_empty() {
                    run.phase = Phase::Preparing;
                    self.step(cx, id, MS, 300 * MS);
                }
            }
            Phase::Preparing => self.wait_for_client(cx, id),
            Phase::Client | Phase::Receiving { .. } => {}
            Phase::Marking => {
                run.phase = Phase::Looking;
                self.step(cx, id, MS, 50 * MS);
                self.may_do_without_primary(cx, id);
            }
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
            Phase::Ending(ending) => self.end(cx, id, &ending),
        }
    }

    fn go_to(&mut self, cx: &mut Cx, id: AttemptId, phase: Phase) {
        if let Some(run) = self.run(id) {
            run.phase = phase;
        }
        self.step(cx, id, MS, 100 * MS);
    }

    fn wait_for_client(&mut self, cx: &mut Cx, id: AttemptId) {
        let Some(run) = self.run(id) else { return };
        run.phase = Phase::Client;
        if run.entrance.is_some() {
            return self.mark(cx, id);
        }
        if run.halt.is_some() {
            return self.finish(cx, id, Err(End::Halted));
        }
        if let Some(wait) = run.client_wait {
            cx.timer(self.proc(), wait, Timer::ClientWait(id));
        }
        self.may_do_without_primary(cx, id);
    }

    pub(crate) fn client_wait_is_over(&mut self, cx: &mut Cx, id: AttemptId) {
        if self.run(id).is_some_and(|run| run.waits_for_client()) {
            let fault = Fault::new(
                StatusCode::CANNOT_CONNECT_TO_CLIENT,
                "the client did not open its stream",
            );
            self.finish(cx, id, Err(End::Fault(fault)));
        }
    }

    /// The client is here.
    fn mark(&mut self, cx: &mut Cx, id: AttemptId) {
        let number = cx.fresh();
        let Some(run) = self.run(id) else { return };
        let Some((conn, greeting)) = run.entrance.take() else {
            return;
        };
        run.phase = Phase::Marking;
        run.has_line = true;
        let marked = What::Marked(v1::AttemptMarked {
            resilient: run.ticket.resilient,
            client_start_id: greeting.client_start,
            ..Default::default()
        });
        let admitted = NewRecord::Admitted(run.ticket.signed.clone());
        // Says for everybody to see whether an event counted twice.
        let token = What::Detail(v1::DetailSaid {
            severity: v1::Severity::Info.into(),
            text: format!("token {number}"),
        });
        let records = vec![admitted, self.event(cx, id, marked), self.event(cx, id, token)];
        self.append(cx, records, Then::Advance(id));
        self.switch_to(cx, id, conn);
    }

    /// Ends the attempt for this reason, unless it has one already.
    pub(crate) fn halt(&mut self, cx: &mut Cx, id: AttemptId, why: Halt) {
        let Some(run) = self.run(id) else { return };
        run.halt.get_or_insert(why);
        if matches!(run.phase, Phase::Client | Phase::Receiving { .. }) {
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
        if run.halt.is_some() {
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

    fn finish(&mut self, cx: &mut Cx, id: AttemptId, outcome: Result<Done, End>) {
        let Some(run) = self.run(id) else { return };
        let ending = Ending::of(outcome, run.halt.clone());
        let counters = run.tally.counters;
        run.phase = Phase::Ending(ending.clone());
        if let Ending::Ended(_) = ending {
            cx.unit.remove_checkpoints(id);
        }
        match ending.event(&counters) {
            Some(what) => {
                let end = self.event(cx, id, what);
                self.append(cx, vec![end], Then::Advance(id));
            }
            None => self.end(cx, id, &ending),
        }
    }

    /// The end is durable: the client is told, and attempts that waited go on.
    fn end(&mut self, cx: &mut Cx, id: AttemptId, ending: &Ending) {
        let over = ending.over(true).expect("it is durable");
        self.pump(cx, id);
        let Some(process) = &mut self.process else { return };
        process.roster.over(id, Some(over.clone()));
        let Some(run) = process.runs.remove(&id) else {
            return;
        };
        let streams = run
            .line
            .conn
            .into_iter()
            .chain(run.entrance.map(|(conn, _)| conn));
        let mut waiting = Vec::new();
        for (other, later) in &mut process.runs {
            if later.after.contains(&id) {
                later.after.retain(|after| *after != id);
                waiting.push(*other);
            }
        }
        for conn in streams {
            process.streams.remove(&conn);
            cx.send(
                Proc::Media(self.n),
                conn,
                Msg::StreamDown(0, 0, Some(backup_down::Body::Over(over.clone()))),
            );
            cx.close(Proc::Media(self.n), conn);
        }
        for id in waiting {
            self.advance(cx, id);
        }
    }
}
