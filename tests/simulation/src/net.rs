//! Time, the queue of events, processes and the network between them. No wall clock, no threads, no hash order.
//!
//! Within a connection messages arrive in order; across connections they do not. A message that meets a cut, or a host that is
//! gone, dooms its connection: both ends believe in it until their pings go unanswered. Datagrams (between primaries) are lost,
//! doubled and reordered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use outlast_core::Reply;
use outlast_proto::v1;
use outlast_proto::words::{AgentAdmin, AgentName, JobId};

use crate::check::Oracle;
use crate::mistakes::Mistakes;
use crate::raft::RaftMsg;
use crate::rng::Rng;
use crate::storage::Unit;

/// Microseconds since the beginning.
pub(crate) type Time = u64;
pub(crate) const MS: Time = 1_000;
pub(crate) const S: Time = 1_000_000;
/// The wall clock at the beginning: 2027-01-15.
const EPOCH: i64 = 1_800_000_000_000_000;

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Proc {
    Primary(usize),
    Media(usize),
    Client(usize),
    Operator,
}

pub(crate) type ConnId = u64;

/// What goes over a connection.
#[derive(Clone, Debug)]
pub(crate) enum Msg {
    Up(v1::agent_message::Body),
    Down(v1::primary_message::Body),
    NotLeader,
    StreamUp(u64, u64, Option<v1::backup_up::Body>),
    StreamDown(u64, u64, Option<v1::backup_down::Body>),
    Submit { request: String, policy: String },
    Submitted(Reply),
    Cancel { job: JobId },
    SetAdmin { agent: AgentName, admin: AgentAdmin },
}

/// What a process wakes up for.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "there are few of them at a time")]
pub(crate) enum Input {
    Message(ConnId, Msg),
    /// The other end is gone, or cannot be reached.
    Closed(ConnId),
    Datagram(usize, RaftMsg),
    Timer(Timer),
}

/// What a process may have itself woken for; the numbers tell outdated ones apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    Election(u64),
    Heartbeat(u64),
    Dispatch,
    Proposal(ConnId, u64),
    Connect,
    Welcome(ConnId),
    Synced(u64),
    Flush,
    Life(outlast_media_core::AttemptId),
    Woken(outlast_media_core::AttemptId),
    Step(outlast_media_core::AttemptId),
    Broken(outlast_media_core::AttemptId, u64),
    Grace(u64),
    Survey,
    Stored(u64),
    Stream(outlast_media_core::AttemptId),
    Read(outlast_media_core::AttemptId),
    Gone(outlast_media_core::AttemptId),
    Work(outlast_media_core::AttemptId),
    Presence,
    Watch(u64),
    Submit(usize),
    Cancel(JobId),
    Drain(usize),
}

/// What happens in the world.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "there are few of them at a time")]
pub(crate) enum Event {
    Deliver { conn: ConnId, to_b: bool, msg: Msg },
    Close { conn: ConnId, to_b: bool },
    Datagram { from: usize, to: usize, msg: RaftMsg },
    Timer { proc: Proc, life: u32, timer: Timer },
    Fault,
    Restart(Proc),
    Resume(Proc),
    Heal(BTreeSet<(Proc, Proc)>),
}

struct Conn {
    ends: [(Proc, u32); 2],
    /// When the last message to that end arrives.
    last: [Time; 2],
    closed: [bool; 2],
    doomed: bool,
}

/// One process as the operating system sees it.
#[derive(Default)]
pub(crate) struct Host {
    pub(crate) up: bool,
    pub(crate) life: u32,
    pub(crate) paused: bool,
    pub(crate) held: VecDeque<Input>,
    /// How far its wall clock is off.
    pub(crate) skew: i64,
}

/// Everything the actors share.
pub(crate) struct Cx {
    pub(crate) now: Time,
    order: u64,
    pub(crate) queue: BTreeMap<(Time, u64), Event>,
    pub(crate) rng: Rng,
    conns: BTreeMap<ConnId, Conn>,
    next_id: u64,
    pub(crate) cuts: BTreeSet<(Proc, Proc)>,
    pub(crate) hosts: BTreeMap<Proc, Host>,
    pub(crate) unit: Unit,
    pub(crate) oracle: Oracle,
    pub(crate) mistakes: Mistakes,
    /// Everything that happened, if somebody wants to know.
    pub(crate) trace: Option<String>,
    pub(crate) steps: u64,
    /// No more faults.
    pub(crate) healed: bool,
}

impl Cx {
    pub(crate) fn new(seed: u64, mistakes: Mistakes, traced: bool) -> Self {
        Self {
            now: 0,
            order: 0,
            queue: BTreeMap::new(),
            rng: Rng::new(seed),
            conns: BTreeMap::new(),
            next_id: 0,
            cuts: BTreeSet::new(),
            hosts: BTreeMap::new(),
            unit: Unit::default(),
            oracle: Oracle::default(),
            mistakes,
            trace: traced.then(String::new),
            steps: 0,
            healed: false,
        }
    }

    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            use std::fmt::Write as _;
            let _ = writeln!(trace, "{:>5}.{:06} {}", now / S, now % S, text());
        }
    }

    /// A number that was never given before.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(crate) fn at(&mut self, time: Time, event: Event) {
        self.order += 1;
        self.queue.insert((time.max(self.now), self.order), event);
    }

    pub(crate) fn timer(&mut self, proc: Proc, after: Time, timer: Timer) {
        let life = self.hosts[&proc].life;
        self.at(self.now + after, Event::Timer { proc, life, timer });
    }

    /// The wall clock of a process.
    pub(crate) fn clock(&self, proc: Proc) -> outlast_proto::words::Timestamp {
        let since = i64::try_from(self.now).expect("runs are short");
        outlast_proto::words::Timestamp(EPOCH + since + self.hosts[&proc].skew)
    }

    fn is_cut(&self, from: Proc, to: Proc) -> bool {
        self.cuts.contains(&(from, to))
    }

    fn delay(&mut self) -> Time {
        match self.rng.range(1, 100) {
            1 => self.rng.range(100 * MS, 2 * S),
            2..=10 => self.rng.range(5 * MS, 100 * MS),
            _ => self.rng.range(100, 5 * MS),
        }
    }

    /// Opens a connection; the other end learns of it by the first message.
    pub(crate) fn connect(&mut self, from: Proc, to: Proc) -> ConnId {
        let conn = self.fresh();
        let life = |proc| self.hosts[&proc].life;
        let ends = [(from, life(from)), (to, life(to))];
        let mut new = Conn {
            ends,
            last: [self.now; 2],
            closed: [false; 2],
            doomed: false,
        };
        if !self.hosts[&to].up || self.is_cut(from, to) || self.is_cut(to, from) {
            new.doomed = true;
            let after = if self.hosts[&to].up {
                self.rng.range(200 * MS, 5 * S)
            } else {
                self.delay()
            };
            self.at(self.now + after, Event::Close { conn, to_b: false });
        }
        self.conns.insert(conn, new);
        conn
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self, me: Proc, conn: ConnId) -> Option<Proc> {
        let conn = self.conns.get(&conn)?;
        let other = usize::from(conn.ends[0].0 == me);
        Some(conn.ends[other].0)
    }

    pub(crate) fn send(&mut self, me: Proc, conn: ConnId, msg: Msg) {
        self.push(me, conn, Some(msg));
    }

    /// Ends a connection from this side.
    pub(crate) fn close(&mut self, me: Proc, conn: ConnId) {
        self.push(me, conn, None);
        if let Some(conn) = self.conns.get_mut(&conn) {
            let mine = usize::from(conn.ends[0].0 != me);
            conn.closed[mine] = true;
        }
    }

    fn push(&mut self, me: Proc, id: ConnId, msg: Option<Msg>) {
        let delay = self.delay();
        let Some(conn) = self.conns.get(&id) else { return };
        let to = usize::from(conn.ends[0].0 == me);
        let peer = conn.ends[to].0;
        if conn.doomed || conn.closed[1 - to] {
            return;
        }
        if self.is_cut(me, peer) {
            return self.doom(id);
        }
        let conn = self.conns.get_mut(&id).expect("it was there");
        let when = (self.now + delay).max(conn.last[to] + 1);
        conn.last[to] = when;
        let to_b = to == 1;
        let event = match msg {
            Some(msg) => Event::Deliver { conn: id, to_b, msg },
            None => Event::Close { conn: id, to_b },
        };
        self.at(when, event);
    }

    /// Nothing gets through any more; each end notices when its pings go unanswered.
    fn doom(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| !conn.doomed) else {
            return;
        };
        conn.doomed = true;
        for to_b in [false, true] {
            let after = self.rng.range(S, 15 * S);
            self.at(self.now + after, Event::Close { conn: id, to_b });
        }
    }

    /// To another primary, if it gets there.
    pub(crate) fn datagram(&mut self, from: usize, to: usize, msg: RaftMsg) {
        if self.is_cut(Proc::Primary(from), Proc::Primary(to)) {
            return;
        }
        let copies = match self.rng.range(1, 100) {
            1..=2 if !self.healed => 0,
            3..=4 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let when = self.now + self.delay();
            self.at(
                when,
                Event::Datagram {
                    from,
                    to,
                    msg: msg.clone(),
                },
            );
        }
    }

    /// The process the event is for, and what it is to it; none if it never gets there.
    pub(crate) fn arrive(&mut self, event: Event) -> Option<(Proc, Input)> {
        match event {
            Event::Deliver { conn: id, to_b, msg } => {
                let conn = self.conns.get(&id)?;
                let to = usize::from(to_b);
                let ((proc, life), (from, _)) = (conn.ends[to], conn.ends[1 - to]);
                if conn.doomed || conn.closed[to] {
                    return None;
                }
                if self.is_cut(from, proc) {
                    self.doom(id);
                    return None;
                }
                self.is_alive(proc, life)
                    .then_some((proc, Input::Message(id, msg)))
            }
            Event::Close { conn: id, to_b } => {
                let conn = self.conns.get_mut(&id)?;
                let to = usize::from(to_b);
                let (proc, life) = conn.ends[to];
                if std::mem::replace(&mut conn.closed[to], true) {
                    return None;
                }
                self.is_alive(proc, life).then_some((proc, Input::Closed(id)))
            }
            Event::Datagram { from, to, msg } => {
                let proc = Proc::Primary(to);
                let gets_there = self.hosts[&proc].up && !self.is_cut(Proc::Primary(from), proc);
                gets_there.then_some((proc, Input::Datagram(from, msg)))
            }
            Event::Timer { proc, life, timer } => {
                self.is_alive(proc, life).then_some((proc, Input::Timer(timer)))
            }
            Event::Fault | Event::Restart(_) | Event::Resume(_) | Event::Heal(_) => None,
        }
    }

    fn is_alive(&self, proc: Proc, life: u32) -> bool {
        let host = &self.hosts[&proc];
        host.up && host.life == life
    }

    /// Ends the connections of a process that was killed; with `silently` its host went, too, and nobody is told.
    pub(crate) fn kill(&mut self, proc: Proc, silently: bool) {
        let host = self.hosts.get_mut(&proc).expect("every process has a host");
        host.up = false;
        host.life += 1;
        host.paused = false;
        host.held.clear();
        let of_it = |conn: &Conn| conn.ends.iter().any(|(end, _)| *end == proc);
        let ids: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, conn)| of_it(conn))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            if silently {
                self.doom(id);
            } else {
                self.close(proc, id);
            }
        }
    }

    /// Breaks a random connection.
    pub(crate) fn reset_one(&mut self) {
        let open: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, conn)| !conn.doomed && conn.closed == [false; 2])
            .map(|(id, _)| *id)
            .collect();
        if open.is_empty() {
            return;
        }
        let id = open[self.rng.below(open.len())];
        self.conns.get_mut(&id).expect("it is there").doomed = true;
        for to_b in [false, true] {
            let after = self.delay();
            self.at(self.now + after, Event::Close { conn: id, to_b });
        }
    }

    /// Forgets connections that both sides have left.
    pub(crate) fn sweep(&mut self) {
        self.conns.retain(|_, conn| conn.closed != [true; 2]);
    }
}
