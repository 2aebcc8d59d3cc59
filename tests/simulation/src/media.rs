//! A media agent: the real roster, ledger, delivery and endings; its disk, its storage unit and the steps of an attempt
//! modelled. `attempt` has the steps.

use std::collections::{BTreeMap, BTreeSet};

use outlast_media_core::attempt::{Event, Terms};
use outlast_media_core::session::Delivery;
use outlast_media_core::{
    AttemptId, Ending, Fault, Greeting, Halt, Judged, Known, NewEvent, NewRecord, Roster, Showing, Standing,
    Stream,
};
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{self, backup_up};
use prost::Message as _;

use crate::attempt::{LOCK_WAIT, Run, at};
use crate::journal::{Disk, Journal, Then};
use crate::net::{ConnId, Cx, Input, MS, Msg, Proc, S, Time, Timer};

mod contact;
mod fence;
mod survey;

use fence::Owed;
use survey::Surveys;

pub(crate) const GRACE: Time = 20 * S;
/// So often agents say that they are there.
pub(crate) const PRESENCE: Time = 5 * S;
const CLIENT_WAIT: Time = 60 * S;
const VERSION: &str = "0.1.0";

/// The session with the leader.
struct Session {
    conn: ConnId,
    /// Once it is welcomed.
    delivery: Option<Delivery>,
}

/// What a process has in memory.
pub(crate) struct Process {
    pub(crate) start_id: String,
    pub(crate) journal: Journal,
    pub(crate) roster: Roster,
    pub(crate) runs: BTreeMap<AttemptId, Run>,
    /// Streams by attempt.
    pub(crate) streams: BTreeMap<ConnId, AttemptId>,
    session: Option<Session>,
    lost_at: Option<Time>,
    losses: u64,
    /// The grace without a primary is over, for who looks at R-03.
    is_alone: bool,
    surveys: Surveys,
    pub(crate) fences: Vec<Owed>,
}

pub(crate) struct Media {
    pub(crate) n: usize,
    pub(crate) disk: Disk,
    /// As the disk was some time ago.
    older: Option<Disk>,
    /// The disk was set back, and no primary was met since.
    pub(crate) set_back: bool,
    pub(crate) process: Option<Process>,
}

impl Media {
    pub(crate) fn new(cx: &mut Cx, n: usize) -> Self {
        Self {
            n,
            disk: Disk::new(cx, &Known::default()),
            older: None,
            set_back: false,
            process: None,
        }
    }

    pub(crate) fn proc(&self) -> Proc {
        Proc::Media(self.n)
    }

    pub(crate) fn start(&mut self, cx: &mut Cx) {
        let journal = Journal::open(cx, &self.disk);
        let start_id = format!("start-{}", cx.fresh());
        let surveys = Surveys::of(journal.ledger.known().open_attempts());
        self.process = Some(Process {
            roster: Roster::new(&start_id),
            start_id,
            journal,
            runs: BTreeMap::new(),
            streams: BTreeMap::new(),
            session: None,
            lost_at: Some(cx.now),
            losses: 0,
            is_alone: false,
            surveys,
            fences: Vec::new(),
        });
        cx.timer(self.proc(), PRESENCE, Timer::Presence);
        self.survey_in(cx, S);
        cx.timer(self.proc(), MS, Timer::Connect);
        cx.timer(self.proc(), GRACE, Timer::Grace(0));
    }

    pub(crate) fn crash(&mut self, cx: &mut Cx) {
        if let Some(process) = self.process.take() {
            cx.oracle.forget_told(process.runs.keys());
        }
        self.disk.crash(cx);
        crate::storage::crash(cx, self.n);
    }

    /// Remembers the disk as it is.
    pub(crate) fn copy_disk(&mut self) {
        self.older = Some(self.disk.clone());
    }

    /// Brings the remembered disk back; false if there is none. Only for an agent that is down.
    pub(crate) fn set_disk_back(&mut self, cx: &mut Cx) -> bool {
        let Some(older) = self.older.take() else {
            return false;
        };
        let lost: BTreeSet<_> = self.disk.attempts().collect();
        cx.oracle.excuse(lost);
        self.disk = older;
        self.disk.crash(cx);
        self.set_back = true;
        true
    }

    /// Whether everything it has is delivered, as far as it knows, and nothing runs.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.process.as_ref().is_some_and(|process| {
            let status = process.journal.status(&self.disk);
            process.runs.is_empty()
                && process.surveys.is_over()
                && process.fences.is_empty()
                && process.journal.is_idle()
                && status.acknowledged == status.last
        })
    }

    /// Which journal it has, and its last event.
    pub(crate) fn journal(&self) -> Option<(outlast_proto::words::JournalId, u64)> {
        let status = self.process.as_ref()?.journal.status(&self.disk);
        Some((status.journal, status.last))
    }

    pub(crate) fn handle(&mut self, cx: &mut Cx, input: Input) {
        if self.process.is_none() {
            return;
        }
        match input {
            Input::Message(conn, Msg::Down(body)) => self.leader_said(cx, conn, body),
            Input::Message(conn, Msg::StreamUp(sequence, received, body)) => {
                self.client_said(cx, conn, sequence, received, body);
            }
            Input::Message(..) | Input::Datagram(..) => {}
            Input::Closed(conn) => self.closed(cx, conn),
            Input::Timer(timer) => self.woken(cx, timer),
        }
    }

    fn woken(&mut self, cx: &mut Cx, timer: Timer) {
        match timer {
            Timer::Connect => self.connect(cx),
            Timer::Welcome(conn) => {
                let unheard = |session: &mut Session| session.delivery.is_none();
                if self.session_on(conn).is_some_and(unheard) {
                    cx.close(self.proc(), conn);
                    self.closed(cx, conn);
                }
            }
            Timer::Synced(number) => {
                let (me, disk) = (self.proc(), &mut self.disk);
                let Some(process) = &mut self.process else { return };
                for then in process.journal.synced(cx, disk, me, number) {
                    self.go_on(cx, then);
                }
                self.deliver(cx);
            }
            Timer::Flush => Journal::flush(&mut self.disk, cx),
            Timer::Grace(losses) => self.grace_is_over(losses),
            Timer::Survey => self.survey(cx),
            Timer::Presence => self.presence(cx),
            Timer::Step(id) => self.advance(cx, id),
            Timer::Work(id) => self.receive(cx, id),
            Timer::Life(id) => self.live_on(cx, id),
            Timer::Woken(id) => self.happens(cx, id, Event::Woken),
            Timer::Broken(id, breaks) => self.broken_too_long(cx, id, breaks),
            _ => {}
        }
    }

    fn go_on(&mut self, cx: &mut Cx, then: Then) {
        match then {
            Then::Nothing => {}
            Then::Fenced(id) => self.fence_is_durable(cx, id),
            Then::Advance(id) => self.advance(cx, id),
            Then::Marked(id) => self.marked(cx, id),
            Then::Ended(id) => self.happens(cx, id, Event::EndJournalled(true)),
            Then::Survey => self.survey(cx),
            Then::Unstarted(id) => {
                if let Some(process) = &mut self.process {
                    process.roster.over(id, None);
                }
            }
            Then::Begun => self.interrupt_all(cx),
        }
    }

    pub(crate) fn append(&mut self, cx: &mut Cx, records: Vec<NewRecord>, then: Then) {
        let me = self.proc();
        if let Some(process) = &mut self.process {
            process.journal.append(cx, &mut self.disk, me, records, then);
        }
    }

    pub(crate) fn event(&self, cx: &Cx, id: AttemptId, what: What) -> NewRecord {
        let at = cx.clock(self.proc());
        NewRecord::Event(NewEvent { at, id, what })
    }

    // Orders and streams.

    fn ordered(&mut self, cx: &mut Cx, signed: v1::SignedTicket) {
        let Some(ticket) = Ticket::read(&signed) else {
            return;
        };
        let (id, showing) = (ticket.id, self.showing(cx, &ticket));
        let Some(process) = &mut self.process else { return };
        if process.roster.is_running(id) {
            return;
        }
        let standing = process.journal.ledger.known().standing(id);
        match process.roster.judge_order(showing, Ok(standing)) {
            Judged::Begin(lower) => {
                cx.oracle.ordered(id);
                self.begin(cx, ticket, Some(CLIENT_WAIT), &lower);
            }
            Judged::End(ending) => self.end_unstarted(cx, id, &ending),
            Judged::Ignore | Judged::Refuse(_) => {
                self.end_again(cx, id, standing, Ending::Interrupted("over".to_owned()));
            }
        }
    }

    /// The primary counts as open what is over here (S-12b).
    fn end_again(&mut self, cx: &mut Cx, id: AttemptId, standing: Standing, ending: Ending) {
        let Some(process) = &mut self.process else { return };
        let ledger = &process.journal.ledger;
        let all_is_acknowledged = ledger.acknowledged() == ledger.last();
        let ending = process
            .roster
            .end_again(id, Some(standing), all_is_acknowledged, ending);
        if let Some(ending) = ending {
            self.end_unstarted(cx, id, &ending);
        }
    }

    /// An administrator has canceled the job.
    fn stop(&mut self, cx: &mut Cx, attempt: Option<&v1::AttemptRef>) {
        let (Ok(id), Some(process)) = (AttemptId::of_message(attempt), &mut self.process) else {
            return;
        };
        let how = v1::Stopped::Unspecified;
        if process.roster.is_running(id) {
            return self.happens(cx, id, Event::Halt(Halt::Stopped(how)));
        }
        let standing = process.journal.ledger.known().standing(id);
        let ending = process
            .roster
            .end_unstarted(id, Some(standing), Ending::canceled(how));
        if let Some(ending) = ending {
            self.end_unstarted(cx, id, &ending);
        }
        self.end_again(cx, id, standing, Ending::canceled(how));
        cx.unit.remove_checkpoints(id);
    }

    /// Its agent is drained: the attempt makes a checkpoint and ends.
    pub(crate) fn leave(&mut self, cx: &mut Cx, order: &v1::LeaveAttempt) {
        let (Ok(id), Some(process)) = (AttemptId::of_message(order.attempt.as_ref()), &mut self.process)
        else {
            return;
        };
        if process.roster.is_running(id) {
            return self.happens(cx, id, Event::Leave(order.why.clone()));
        }
        let standing = process.journal.ledger.known().standing(id);
        let ending = Ending::Left(order.why.clone());
        let unstarted = process.roster.end_unstarted(id, Some(standing), ending.clone());
        if let Some(ending) = unstarted {
            self.end_unstarted(cx, id, &ending);
        }
        self.end_again(cx, id, standing, ending);
    }

    /// Journals the end of an attempt that never ran here.
    fn end_unstarted(&mut self, cx: &mut Cx, id: AttemptId, ending: &Ending) {
        if let Some(what) = ending.event(&Default::default()) {
            let end = self.event(cx, id, what);
            self.append(cx, vec![end], Then::Unstarted(id));
        }
    }

    fn showing(&self, cx: &Cx, ticket: &Ticket) -> Showing {
        let expired = cx.clock(self.proc()) > ticket.expires_at;
        Showing {
            id: ticket.id,
            expired: expired.then(|| Fault::access("the ticket expired")),
            of_other_journal: ticket.journal_id != self.disk.journal_id(),
        }
    }

    fn begin(&mut self, cx: &mut Cx, ticket: Ticket, client_wait: Option<Time>, lower: &[AttemptId]) {
        let id = ticket.id;
        for lower in lower {
            self.happens(cx, *lower, Event::Halt(Halt::Fenced));
        }
        let Some(process) = &mut self.process else { return };
        let lower = lower.iter().filter(|id| process.runs.contains_key(id));
        let terms = Terms {
            id,
            client: String::new(),
            resilient: ticket.resilient,
            decides_losses: ticket.decides_losses,
            is_backup: true,
            client_wait: client_wait.map(at),
            lock_wait: at(LOCK_WAIT),
            predecessors: lower.copied().collect(),
        };
        let lost_at = process.lost_at.map(at);
        process.runs.insert(id, Run::new(ticket, terms, lost_at));
        self.begin_life(cx, id);
    }

    fn client_said(
        &mut self,
        cx: &mut Cx,
        conn: ConnId,
        sequence: u64,
        received: u64,
        body: Option<backup_up::Body>,
    ) {
        if let Some(backup_up::Body::Hello(hello)) = body {
            return self.attach(cx, conn, hello);
        }
        let Some(process) = &mut self.process else { return };
        let Some(id) = process.streams.get(&conn).copied() else {
            return;
        };
        let Some(run) = process
            .runs
            .get_mut(&id)
            .filter(|run| run.line.conn == Some(conn))
        else {
            return;
        };
        if let Some(backup_up::Body::Goodbye(goodbye)) = &body {
            return self.happens(cx, id, Event::Halt(Halt::Fault(Fault::goodbye(goodbye))));
        }
        match run.line.take(cx.now, (sequence, received, body)) {
            Ok(()) => self.receive(cx, id),
            Err(error) => cx
                .oracle
                .contradict("F-10", format!("{id} at the media agent: {error}")),
        }
    }

    fn attach(&mut self, cx: &mut Cx, conn: ConnId, hello: v1::StreamHello) {
        let Some(ticket) = Ticket::read(&hello.ticket.unwrap_or_default()) else {
            return;
        };
        let greeting = Greeting {
            client_start: hello.start_id,
            peer_start: hello.peer_start_id,
            received: hello.received,
        };
        let (id, showing) = (ticket.id, self.showing(cx, &ticket));
        let Some(process) = &mut self.process else { return };
        match process.roster.stream(id, &greeting) {
            Stream::Enter => self.enter(cx, id, conn, greeting),
            Stream::Over(over) => self.tell(cx, conn, over),
            Stream::Halt(fault) => {
                self.happens(cx, id, Event::Halt(Halt::Fault(fault.clone())));
                self.tell(cx, conn, fault.over());
            }
            Stream::Judge => {
                let standing = process.journal.ledger.known().standing(id);
                match process.roster.judge_stream(showing, &greeting, Ok(standing)) {
                    Judged::Begin(lower) => {
                        self.begin(cx, ticket, None, &lower);
                        self.enter(cx, id, conn, greeting);
                    }
                    Judged::Refuse(fault) => self.tell(cx, conn, fault.over()),
                    // Its client asks again.
                    Judged::Ignore | Judged::End(_) => cx.close(self.proc(), conn),
                }
            }
        }
    }

    fn closed(&mut self, cx: &mut Cx, conn: ConnId) {
        if self.session_on(conn).is_some() {
            return self.session_is_over(cx);
        }
        let Some(process) = &mut self.process else { return };
        if let Some(id) = process.streams.remove(&conn) {
            self.stream_broke(cx, id, conn);
        }
    }

    fn interrupt_all(&mut self, cx: &mut Cx) {
        let Some(process) = &self.process else { return };
        let all: Vec<AttemptId> = process.runs.keys().copied().collect();
        for id in all {
            let why = "the media agent's journal was set back and a new one was begun";
            self.happens(cx, id, Event::Halt(Halt::Interrupted(why.to_owned())));
        }
    }
}

/// What a ticket says, as far as it matters here.
#[derive(Clone)]
pub(crate) struct Ticket {
    pub(crate) id: AttemptId,
    pub(crate) signed: v1::SignedTicket,
    pub(crate) resilient: bool,
    pub(crate) decides_losses: bool,
    pub(crate) surveys: bool,
    pub(crate) journal_id: String,
    pub(crate) expires_at: outlast_proto::words::Timestamp,
    pub(crate) media_agent: String,
    pub(crate) items: Vec<v1::TicketItem>,
}

impl Ticket {
    pub(crate) fn read(signed: &v1::SignedTicket) -> Option<Self> {
        let ticket = v1::Ticket::decode(signed.ticket.clone()).ok()?;
        Some(Self {
            id: AttemptId::of_message(ticket.attempt.as_ref()).ok()?,
            signed: signed.clone(),
            resilient: ticket.resilient,
            decides_losses: ticket.decides_losses,
            surveys: ticket.surveys,
            journal_id: ticket.journal_id,
            expires_at: outlast_media_core::stamps::of_message(ticket.expires_at.as_ref()),
            media_agent: ticket.media_agent,
            items: ticket.items,
        })
    }
}
