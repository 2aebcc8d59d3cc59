//! A client agent: the real machine of what is accepted, begins and is given up; its disk, its reading and its streams modelled.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use outlast_client_core::{Client as Machine, Patience, Record, Start, State};
use outlast_media_core::AttemptId;
use outlast_proto::v1::{
    self, agent_message::Body as Up, backup_down, backup_up, primary_message::Body as Down,
};
use outlast_proto::words::{Attempt, JobKey, StartId};

use crate::attempt::at;
use crate::line::Line;
use crate::media::{PRESENCE, Ticket};
use crate::net::{ConnId, Cx, Input, MS, Msg, Proc, S, Time, Timer};
use crate::raft::NODES;

const RECONNECT_FOR: Duration = Duration::from_secs(300);

mod reading;

/// An attempt on this host.
struct Work {
    ticket: Ticket,
    line: Line<backup_up::Body, backup_down::Body>,
    /// The one before it has to be gone first.
    after: Option<AttemptId>,
    patience: Patience,
    /// When the present stream was opened.
    opened: Time,
    /// The item that is read, and how many messages of it are left.
    reading: Option<(u32, u64)>,
    /// When its media agent last said something.
    heard: Time,
    /// How it ended; its threads are still ending.
    ending: Option<State>,
}

struct Process {
    start_id: String,
    machine: Machine,
    works: BTreeMap<AttemptId, Work>,
    streams: BTreeMap<ConnId, AttemptId>,
    session: Option<ConnId>,
    /// Orders that wait for the disk, the first of which is being written.
    orders: VecDeque<v1::AdmitAttempt>,
    writing: Option<(u64, Record, bool)>,
}

pub(crate) struct Client {
    n: usize,
    disk: BTreeMap<JobKey, Record>,
    process: Option<Process>,
}

impl Client {
    pub(crate) fn new(n: usize) -> Self {
        Self {
            n,
            disk: BTreeMap::new(),
            process: None,
        }
    }

    fn proc(&self) -> Proc {
        Proc::Client(self.n)
    }

    pub(crate) fn start(&mut self, cx: &mut Cx) {
        let start_id = format!("start-{}", cx.fresh());
        let mut machine = Machine::new(StartId(start_id.clone()));
        for record in self.disk.values() {
            machine.found(record.clone());
        }
        self.process = Some(Process {
            start_id,
            machine,
            works: BTreeMap::new(),
            streams: BTreeMap::new(),
            session: None,
            orders: VecDeque::new(),
            writing: None,
        });
        cx.timer(self.proc(), MS, Timer::Connect);
        cx.timer(self.proc(), PRESENCE, Timer::Presence);
    }

    pub(crate) fn crash(&mut self, cx: &mut Cx) {
        self.process = None;
        cx.oracle.nothing_works_on(self.n);
    }

    pub(crate) fn is_at_rest(&self) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| process.works.is_empty())
    }

    pub(crate) fn handle(&mut self, cx: &mut Cx, input: Input) {
        if self.process.is_none() {
            return;
        }
        match input {
            Input::Message(conn, Msg::Down(body)) => self.leader_said(cx, conn, body),
            Input::Message(conn, Msg::StreamDown(sequence, received, body)) => {
                self.media_said(cx, conn, sequence, received, body);
            }
            Input::Message(..) | Input::Datagram(..) => {}
            Input::Closed(conn) => self.closed(cx, conn),
            Input::Timer(Timer::Connect) => self.connect(cx),
            Input::Timer(Timer::Stored(number)) => self.stored(cx, number),
            Input::Timer(Timer::Stream(id)) => self.open_stream(cx, id),
            Input::Timer(Timer::Read(id)) => self.read(cx, id),
            Input::Timer(Timer::Gone(id)) => self.gone(cx, id),
            Input::Timer(Timer::Presence) => self.presence(cx),
            Input::Timer(_) => {}
        }
    }

    // The session.

    fn connect(&mut self, cx: &mut Cx) {
        let me = self.proc();
        let Some(process) = &mut self.process else { return };
        if process.session.is_some() {
            return;
        }
        let primary = Proc::Primary(cx.rng.below(NODES));
        let conn = cx.connect(me, primary);
        process.session = Some(conn);
        let hello = v1::Hello {
            kind: v1::AgentKind::ClientAgent.into(),
            start_id: process.start_id.clone(),
            ..v1::Hello::default()
        };
        cx.send(me, conn, Msg::Up(Up::Hello(hello)));
    }

    fn leader_said(&mut self, cx: &mut Cx, conn: ConnId, body: Down) {
        let Some(process) = &mut self.process else { return };
        if process.session != Some(conn) {
            return;
        }
        match body {
            Down::Welcome(welcome) => self.welcomed(cx, &welcome),
            Down::Admit(order) => {
                process.orders.push_back(order);
                self.admit(cx);
            }
            Down::Closed(closed) => {
                let over = closed.attempts.iter();
                let over = over.filter_map(|id| AttemptId::of_message(Some(id)).ok());
                process.machine.closed(&over.collect());
            }
            _ => {}
        }
    }

    /// Says what it sees of its attempts (C-08).
    fn presence(&mut self, cx: &mut Cx) {
        let me = self.proc();
        cx.timer(me, PRESENCE, Timer::Presence);
        let Some(process) = &self.process else { return };
        let Some(conn) = process.session else { return };
        let ms = |since: Time| (cx.now - since) / MS;
        let running = process.works.iter().filter(|(_, work)| work.ending.is_none());
        let streams = running.map(|(id, work)| {
            let broken_since = u64::try_from(work.line.broken_since().as_micros()).unwrap_or(cx.now);
            let since = if work.line.is_open() {
                work.opened
            } else {
                broken_since
            };
            v1::streams_seen::Stream {
                attempt: Some(id.to_ref()),
                media_agent: work.ticket.media_agent.clone(),
                last_acknowledged_ms_ago: ms(work.heard),
                broken: !work.line.is_open(),
                since_ms: ms(since.min(cx.now)),
                unwelcomed: work.patience.peer_start().is_empty(),
            }
        });
        let ended = process.machine.ended().map(|(id, code)| v1::streams_seen::Ended {
            attempt: Some(id.to_ref()),
            code,
        });
        let seen = v1::StreamsSeen {
            streams: streams.collect(),
            ended: ended.collect(),
        };
        cx.send(me, conn, Msg::Up(Up::Streams(seen)));
    }

    fn welcomed(&mut self, cx: &mut Cx, welcome: &v1::Welcome) {
        let Some(process) = &mut self.process else { return };
        let open = welcome
            .open
            .iter()
            .filter_map(|open| AttemptId::of_message(Some(open)).ok());
        let open: BTreeMap<JobKey, Attempt> = open.map(|id| (id.key(), id.attempt)).collect();
        let welcomed = process.machine.welcomed(&open);
        for job in welcomed.over {
            process.machine.forgotten(job);
            self.disk.remove(&job);
            cx.oracle.forgotten(self.n, job.id);
        }
        for signed in welcomed.earlier.into_iter().filter_map(|record| record.ticket) {
            self.begin(cx, &signed);
        }
    }

    /// Takes the next order to the disk.
    fn admit(&mut self, cx: &mut Cx) {
        let me = self.proc();
        let Some(process) = &mut self.process else { return };
        if process.writing.is_some() {
            return;
        }
        let Some(order) = process.orders.front() else {
            return;
        };
        let signed = order.ticket.clone().unwrap_or_default();
        let Some(ticket) = Ticket::read(&signed) else {
            return;
        };
        match process.machine.admit(ticket.id, &signed, &order.data_addresses) {
            Ok(Some(record)) => {
                let number = cx.fresh();
                let forgets = cx.mistakes.forget_highest_attempt;
                process.writing = Some((number, record, forgets));
                let takes = if forgets {
                    cx.rng.range(S, 10 * S)
                } else {
                    cx.rng.range(MS, 50 * MS)
                };
                cx.timer(me, takes, Timer::Stored(number));
                if forgets {
                    self.admitted(cx, &signed);
                }
            }
            Ok(None) => {
                process.orders.pop_front();
                self.admitted(cx, &signed);
                self.admit(cx);
            }
            Err(_) => {
                process.orders.pop_front();
                self.admit(cx);
            }
        }
    }

    fn stored(&mut self, cx: &mut Cx, number: u64) {
        let Some(process) = &mut self.process else { return };
        let Some((_, record, was_said)) = process.writing.take_if(|(writing, ..)| *writing == number) else {
            return;
        };
        process.orders.pop_front();
        self.disk.insert(record.key(), record.clone());
        process.machine.kept(record.clone());
        if let Some(signed) = record.ticket.filter(|_| !was_said) {
            self.admitted(cx, &signed);
        }
        self.admit(cx);
    }

    /// Says so, and begins.
    fn admitted(&mut self, cx: &mut Cx, signed: &v1::SignedTicket) {
        let Some(ticket) = Ticket::read(signed) else {
            return;
        };
        let id = ticket.id;
        let on_disk = self.disk.get(&id.key()).map_or(0, |record| record.attempt);
        cx.oracle.admitted(self.n, id, Attempt(on_disk));
        let Some(process) = &mut self.process else { return };
        if let Some(conn) = process.session {
            let attempt = Some(id.to_ref());
            cx.send(self.proc(), conn, Msg::Up(Up::Admitted(v1::Admitted { attempt })));
        }
        self.begin(cx, signed);
    }

    // Attempts.

    fn begin(&mut self, cx: &mut Cx, signed: &v1::SignedTicket) {
        let me = self.proc();
        let Some(ticket) = Ticket::read(signed) else {
            return;
        };
        let id = ticket.id;
        let Some(process) = &mut self.process else { return };
        let Start::Begin { after } = process.machine.begin(id) else {
            return;
        };
        let before = after.map(|attempt| id.key().attempt(attempt));
        // A work of the same number that never was welcomed is gone, or going.
        let before = before.filter(|before| process.works.contains_key(before));
        if let Some(before) = before
            && before != id
        {
            self.end(cx, before, State::Ended(None));
        } else if before.is_some() {
            return;
        }
        let Some(process) = &mut self.process else { return };
        let work = Work {
            ticket,
            line: Line::new(cx.now),
            after: before,
            patience: Patience::new(at(cx.now), RECONNECT_FOR),
            opened: cx.now,
            reading: None,
            heard: cx.now,
            ending: None,
        };
        process.works.insert(id, work);
        if before.is_none() {
            cx.timer(me, 0, Timer::Stream(id));
        }
    }

    /// Begins to end what runs of an attempt on this host.
    fn end(&mut self, cx: &mut Cx, id: AttemptId, state: State) {
        let me = self.proc();
        let Some(process) = &mut self.process else { return };
        let Some(work) = process.works.get_mut(&id).filter(|work| work.ending.is_none()) else {
            return;
        };
        work.ending = Some(state);
        work.reading = None;
        if let Some(conn) = work.line.conn.take() {
            process.streams.remove(&conn);
            cx.send(
                me,
                conn,
                Msg::StreamUp(0, 0, Some(backup_up::Body::Goodbye(v1::StreamGoodbye::default()))),
            );
            cx.close(me, conn);
        }
        // One that has not begun ends when the one before it has.
        if work.after.is_none() {
            let takes = cx.rng.range(0, 3 * S);
            cx.timer(me, takes, Timer::Gone(id));
        }
    }

    /// Nothing of it runs any more.
    fn gone(&mut self, cx: &mut Cx, id: AttemptId) {
        let me = self.proc();
        let Some(process) = &mut self.process else { return };
        let ending = process.works.get(&id).and_then(|work| work.ending);
        if let Some(State::Ended(Some(code))) = ending
            && let Some(record) = process.machine.last_word(id, code)
        {
            if process.writing.is_some() {
                return cx.timer(me, 10 * MS, Timer::Gone(id));
            }
            self.disk.insert(record.key(), record.clone());
            process.machine.kept(record);
        }
        if let Some(state) = process.works.remove(&id).and_then(|work| work.ending) {
            process.machine.gone(id, state);
        }
        cx.oracle.works_no_more(self.n, id);
        for (other, work) in &mut process.works {
            if work.after == Some(id) {
                work.after = None;
                let next = if work.ending.is_some() {
                    Timer::Gone(*other)
                } else {
                    Timer::Stream(*other)
                };
                cx.timer(me, 0, next);
            }
        }
    }

    fn open_stream(&mut self, cx: &mut Cx, id: AttemptId) {
        let me = self.proc();
        let Some(process) = &mut self.process else { return };
        let Some(work) = process.works.get_mut(&id) else {
            return;
        };
        if work.ending.is_some() || work.line.conn.is_some() || work.after.is_some() {
            return;
        }
        if let Some(gave_up) = work.patience.given_up(at(cx.now)) {
            return self.end(cx, id, gave_up.state());
        }
        let Some(media) = crate::work::media_of(&work.ticket.media_agent) else {
            return;
        };
        cx.oracle.works(self.n, id);
        let conn = cx.connect(me, Proc::Media(media));
        work.line.conn = Some(conn);
        work.opened = cx.now;
        process.streams.insert(conn, id);
        let hello = v1::StreamHello {
            ticket: Some(work.ticket.signed.clone()),
            start_id: process.start_id.clone(),
            peer_start_id: work.patience.peer_start().to_owned(),
            received: work.line.received(),
        };
        cx.send(me, conn, Msg::StreamUp(0, 0, Some(backup_up::Body::Hello(hello))));
    }

    fn media_said(
        &mut self,
        cx: &mut Cx,
        conn: ConnId,
        sequence: u64,
        received: u64,
        body: Option<backup_down::Body>,
    ) {
        let Some(process) = &mut self.process else { return };
        let Some(id) = process.streams.get(&conn).copied() else {
            return;
        };
        let Some(work) = process
            .works
            .get_mut(&id)
            .filter(|work| work.line.conn == Some(conn))
        else {
            return;
        };
        work.heard = cx.now;
        match body {
            Some(backup_down::Body::Over(over)) => {
                cx.oracle.told_over(id, &over);
                return self.end(cx, id, State::Ended(Some(over.code)));
            }
            Some(backup_down::Body::Welcome(welcome)) => {
                work.patience.waited(at(cx.now - work.opened));
                if let Err(gave_up) = work.patience.welcomed(&welcome.start_id) {
                    return self.end(cx, id, gave_up.state());
                }
                if let Err(error) = work.line.resume(welcome.received) {
                    cx.oracle
                        .contradict("F-10", format!("{id} at the client: {error}"));
                }
                work.line.opened(cx.now);
            }
            body => {
                if let Err(error) = work.line.take(cx.now, (sequence, received, body)) {
                    cx.oracle
                        .contradict("F-10", format!("{id} at the client: {error}"));
                }
                while let Some(body) = work.line.process() {
                    if let backup_down::Body::ItemCommitted(committed) = &body {
                        cx.oracle.told_item(id, committed.item);
                    }
                    if let backup_down::Body::BeginItem(v1::BeginItem { item, .. }) = body {
                        work.line.say(backup_up::Body::ItemBegin(v1::ItemBegin {
                            item,
                            ..v1::ItemBegin::default()
                        }));
                        cx.oracle.begins(id, item);
                        // Some items take longer than any patience.
                        let most = if cx.rng.percent(20) { 60 } else { 6 };
                        work.reading = Some((item, cx.rng.range(1, most)));
                        cx.timer(Proc::Client(self.n), MS, Timer::Read(id));
                    }
                }
            }
        }
        self.pump(cx, id);
    }

    fn pump(&mut self, cx: &mut Cx, id: AttemptId) {
        let me = self.proc();
        let Some(process) = &mut self.process else { return };
        let Some(work) = process.works.get_mut(&id).filter(|work| work.line.is_open()) else {
            return;
        };
        let Some(conn) = work.line.conn else { return };
        for (sequence, received, body) in work.line.due(cx.now) {
            cx.send(me, conn, Msg::StreamUp(sequence, received, body));
        }
    }

    fn closed(&mut self, cx: &mut Cx, conn: ConnId) {
        let me = self.proc();
        let Some(process) = &mut self.process else { return };
        if process.session == Some(conn) {
            process.session = None;
            let pause = cx.rng.range(100 * MS, 2 * S);
            return cx.timer(me, pause, Timer::Connect);
        }
        let Some(id) = process.streams.remove(&conn) else {
            return;
        };
        let Some(work) = process
            .works
            .get_mut(&id)
            .filter(|work| work.line.conn == Some(conn))
        else {
            return;
        };
        let was_open = work.line.is_open();
        work.line.broken(cx.now);
        if was_open {
            work.patience.broke(work.line.broken_since());
        } else {
            work.patience.waited(at(cx.now - work.opened));
        }
        cx.timer(me, S, Timer::Stream(id));
    }
}
