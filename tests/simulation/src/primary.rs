//! A node of the primary: the real `ClusterState` behind the modelled log, and while it leads the real rules of sessions and
//! dispatch. What is modelled here is what surrounds them: who waits for which entry, what goes over which connection.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use outlast_core::contact::{Heard, Silence, Word};
use outlast_core::dispatch::{Presence, plan};
use outlast_core::recovery::{self, Clients, Reckoning};
use outlast_core::session::{Said, acknowledgement};
use outlast_core::touched::{Rows, Touched};
use outlast_core::{ClusterState, Command, Entry, Reply, drain};
use outlast_proto::v1::agent_message::Body as Up;
use outlast_proto::words::{AgentName, AttemptId, JobNonce, JobState, JournalId, RequestId};

use crate::net::{ConnId, Cx, Input, MS, Msg, Proc, S, Time, Timer};
use crate::raft::{Raft, RaftMsg};

mod sessions;

/// How long a proposal may take before its session is given up, and how long changes are gathered.
const PROPOSAL: Time = 5 * S;
const GATHER: Time = 5 * MS;
/// So often the watchdog looks.
const WATCH: Time = 5 * S;
/// What the dispatcher is woken for, beside those who come and go.
const DISPATCHING: [Rows; 4] = [Rows::Settings, Rows::Agents, Rows::Queue, Rows::FollowUps];
/// After so long every client that can has come to a new leader.
const CLIENTS_COME: Time = 20 * S;

/// A session of an agent.
struct Session {
    agent: AgentName,
    first: u64,
    last: u64,
    /// Welcomed.
    open: bool,
    /// What it proposed and is waiting for, by a number of its own.
    waiting: Option<u64>,
    inbox: VecDeque<Up>,
    said: Said,
}

/// Who waits for an entry.
#[derive(Clone, Debug)]
enum Waiter {
    Registered(ConnId),
    Recorded(ConnId, String),
    Admitted(ConnId),
    Submitted(ConnId),
    Nobody,
}

/// What only a leader has; gone with its leadership.
#[derive(Default)]
struct Lead {
    established: bool,
    sessions: BTreeMap<ConnId, Session>,
    present: BTreeMap<AgentName, ConnId>,
    waiters: BTreeMap<usize, Waiter>,
    /// Those that wait for a majority to say that this node leads: since which round, up to which entry.
    reads: Vec<(ConnId, u64, usize)>,
    dispatch_is_due: bool,
    since: Time,
    reckoning: Reckoning,
    silence: Silence,
    /// Since the watchdog last looked.
    heard: BTreeSet<AgentName>,
    /// What clients last said of their attempts.
    words: BTreeMap<AgentName, BTreeMap<AttemptId, Word>>,
}

pub(crate) struct Node {
    me: usize,
    pub(crate) raft: Raft,
    pub(crate) state: ClusterState,
    pub(crate) applied: usize,
    hash: u64,
    lead: Lead,
}

impl Node {
    pub(crate) fn new(me: usize) -> Self {
        Self {
            me,
            raft: Raft::new(me),
            state: ClusterState::default(),
            applied: 0,
            hash: 0,
            lead: Lead::default(),
        }
    }

    fn proc(&self) -> Proc {
        Proc::Primary(self.me)
    }

    /// Comes up with its log; the state is made of it again.
    pub(crate) fn start(&mut self, cx: &mut Cx) {
        self.state = ClusterState::default();
        (self.applied, self.hash) = (0, 0);
        self.lead = Lead::default();
        self.raft.start(cx);
    }

    /// Its registered agents' journals, as far as they are recorded.
    pub(crate) fn recorded(&self, agent: &AgentName) -> Option<(JournalId, u64)> {
        let journal = &self.state.agent(agent)?.media.as_ref()?.journal;
        Some((journal.id.clone(), journal.acknowledged))
    }

    /// Whether it leads and all of these agents are here.
    pub(crate) fn has_all(&self, agents: usize) -> bool {
        self.raft.leads() && self.lead.established && self.lead.present.len() == agents
    }

    pub(crate) fn handle(&mut self, cx: &mut Cx, input: Input) {
        let (led, term) = (self.raft.leads(), self.raft.term);
        match input {
            Input::Datagram(from, msg) => self.receive(cx, from, msg),
            Input::Timer(Timer::Election(patience)) => self.raft.election(cx, patience),
            Input::Timer(Timer::Heartbeat(term)) => self.raft.heartbeat(cx, term),
            Input::Timer(Timer::Dispatch) => self.dispatch(cx),
            Input::Timer(Timer::Watch(term)) => self.watch(cx, term),
            Input::Timer(Timer::Proposal(conn, number)) => {
                let session = self.lead.sessions.get(&conn);
                if session.is_some_and(|session| session.waiting == Some(number)) {
                    self.end(cx, conn);
                }
            }
            Input::Timer(_) => {}
            Input::Message(conn, msg) => self.message(cx, conn, msg),
            Input::Closed(conn) => self.forget(cx, conn),
        }
        if led && (!self.raft.leads() || self.raft.term != term) {
            self.step_down(cx);
        }
        self.apply(cx);
        self.settle_reads(cx);
    }

    fn receive(&mut self, cx: &mut Cx, from: usize, msg: RaftMsg) {
        self.raft.receive(cx, from, msg);
    }

    fn step_down(&mut self, cx: &mut Cx) {
        let lead = std::mem::take(&mut self.lead);
        for conn in lead.sessions.into_keys() {
            cx.close(self.proc(), conn);
        }
        for waiter in lead.waiters.into_values() {
            if let Waiter::Submitted(conn) = waiter {
                cx.close(self.proc(), conn);
            }
        }
    }

    /// Applies what is committed, and tells who waited for it.
    fn apply(&mut self, cx: &mut Cx) {
        while self.applied < self.raft.commit {
            let mut batch: Vec<(usize, Option<Entry>)> = (self.applied..self.raft.commit)
                .map(|index| {
                    let bytes = &self.raft.log[index].bytes;
                    let entry = (!bytes.is_empty())
                        .then(|| Entry::decode(bytes).expect("it was encoded by a leader"));
                    (index + 1, entry)
                })
                .collect();
            if cx.mistakes.decide_by_clock {
                batch.sort_by_key(|(_, entry)| entry.as_ref().map(|entry| entry.at));
            }
            for (index, entry) in batch {
                self.applied += 1;
                if let Some(entry) = entry {
                    self.apply_one(cx, index, &entry);
                }
            }
            let touched = self.state.take_touched();
            if self.raft.leads() && !self.lead.established {
                self.establish(cx);
            }
            if self.lead.established {
                self.wake(cx, &touched);
            }
        }
    }

    /// Those whom the entries touched look at the state, and nobody else (B-10).
    fn wake(&mut self, cx: &mut Cx, touched: &Touched) {
        let sessions = self.idle_sessions().into_iter().filter(|conn| {
            let session = self.lead.sessions.get(conn);
            session.is_some_and(|session| touched.agents.contains(&session.agent))
        });
        for conn in sessions.collect::<Vec<_>>() {
            self.send_orders(cx, conn);
        }
        if !touched.rows.is_disjoint(&DISPATCHING.into()) {
            self.dispatch_soon(cx);
        }
    }

    fn apply_one(&mut self, cx: &mut Cx, index: usize, entry: &Entry) {
        let reply = self.state.apply(entry);
        for (key, row) in self.state.take_changes() {
            self.hash = mix(self.hash, &key);
            self.hash = mix(self.hash, row.as_deref().unwrap_or(b"-"));
        }
        cx.oracle
            .applied(self.applied, self.hash, &self.state, entry, &cx.unit);
        if let Some(waiter) = self.lead.waiters.remove(&index) {
            self.answer(cx, waiter, reply);
        }
    }

    /// Everything earlier leaders committed is applied once an entry of this term is.
    fn establish(&mut self, cx: &mut Cx) {
        let own = self.raft.log[self.applied - 1].term == self.raft.term;
        if !own {
            return;
        }
        if self.state.cluster().is_none() {
            let command = Command::FoundCluster {
                cluster_id: "cluster".into(),
                ticket_key: b"nobody looks at signatures".to_vec(),
                timing: outlast_proto::words::Timing::Lan,
                version: outlast_core::CLUSTER_VERSION,
            };
            self.propose(cx, None, command, Waiter::Nobody);
        }
        (self.lead.established, self.lead.since) = (true, cx.now);
        cx.timer(self.proc(), WATCH, Timer::Watch(self.raft.term));
    }

    /// The watchdog: several of its seconds at once.
    fn watch(&mut self, cx: &mut Cx, term: u64) {
        if !self.raft.leads() || self.raft.term != term || !self.lead.established {
            return;
        }
        cx.timer(self.proc(), WATCH, Timer::Watch(term));
        let present = &self.lead.present;
        let words = self
            .lead
            .words
            .iter()
            .filter(|(client, _)| present.contains_key(client));
        let mut heard = Heard {
            agents: std::mem::take(&mut self.lead.heard),
            words: words.flat_map(|(_, words)| words.clone()).collect(),
            progress: BTreeMap::new(),
        };
        let presence = self.presence();
        let mut commands = Vec::new();
        for _ in 0..WATCH / S {
            commands = self.lead.silence.tick(&self.state, &presence, &heard);
            heard.agents.clear();
        }
        for command in commands {
            self.propose(cx, None, command, Waiter::Nobody);
        }
        if self.presence() != presence || self.has_due(cx) {
            self.dispatch_soon(cx);
        }
        self.release(cx);
    }

    fn presence(&self) -> Presence {
        let present = self.lead.present.keys();
        Presence {
            connected: present.map(|name| (name.clone(), None)).collect(),
            silent: self.lead.silence.silent(&self.state),
            ..Presence::default()
        }
    }

    /// Somebody has come or gone.
    fn dispatch_soon(&mut self, cx: &mut Cx) {
        if !std::mem::replace(&mut self.lead.dispatch_is_due, true) {
            cx.timer(self.proc(), GATHER, Timer::Dispatch);
        }
    }

    fn idle_sessions(&self) -> Vec<ConnId> {
        let idle = self
            .lead
            .sessions
            .iter()
            .filter(|(_, s)| s.open && s.waiting.is_none());
        idle.map(|(conn, _)| *conn).collect()
    }

    fn dispatch(&mut self, cx: &mut Cx) {
        self.lead.dispatch_is_due = false;
        if !self.raft.leads() || !self.lead.established {
            return;
        }
        self.apply_policies(cx);
        let presence = self.presence();
        let decided = drain::plan(&self.state, &presence);
        let due = self.due(cx);
        for command in plan(&self.state, &presence).into_iter().chain(decided).chain(due) {
            self.propose(cx, None, command, Waiter::Nobody);
        }
    }

    /// What jobs wait for that do not run.
    fn due(&mut self, cx: &Cx) -> Vec<Command> {
        let (wall, monotonic) = (cx.clock(self.proc()), Duration::from_micros(cx.now));
        let now = self.lead.reckoning.look(&self.state, wall, monotonic);
        let clients = Clients {
            had_time: cx.now >= self.lead.since + CLIENTS_COME,
        };
        recovery::plan(&self.state, &self.presence(), clients, now).commands
    }

    fn has_due(&mut self, cx: &Cx) -> bool {
        !self.due(cx).is_empty()
    }

    /// Somebody looks at held jobs, and lets them go on.
    fn release(&mut self, cx: &mut Cx) {
        let held = self
            .state
            .jobs_before(None)
            .filter(|job| job.state == JobState::Held);
        for job in held.map(|job| job.id).collect::<Vec<_>>() {
            let by = "somebody".to_owned();
            self.propose(cx, None, Command::ReleaseJob { job, by }, Waiter::Nobody);
        }
    }

    /// The operator's policies, as soon as there is a pool for them.
    fn apply_policies(&mut self, cx: &mut Cx) {
        if self.state.pools().next().is_none() {
            return;
        }
        for policy in crate::work::policies() {
            if self.state.policy(&policy.name).is_none() {
                self.propose(cx, None, Command::ApplyPolicy { policy }, Waiter::Nobody);
            }
        }
    }

    fn propose(&mut self, cx: &mut Cx, request_id: Option<RequestId>, command: Command, waiter: Waiter) {
        let entry = Entry {
            at: cx.clock(self.proc()),
            by: format!("primary-{}", self.me),
            request_id,
            asked_by: None,
            command,
        };
        cx.note(|| {
            format!(
                "primary {} proposes {}",
                self.me,
                crate::tell::command(&entry.command)
            )
        });
        let index = self.raft.append(cx, entry.encode());
        self.lead.waiters.insert(index, waiter);
    }

    fn message(&mut self, cx: &mut Cx, conn: ConnId, msg: Msg) {
        match msg {
            Msg::Submit { request, policy } => self.submit(cx, conn, request, &policy),
            Msg::Cancel { job } if self.raft.leads() && self.lead.established => {
                self.propose(
                    cx,
                    None,
                    Command::CancelJob {
                        job,
                        by: "somebody".into(),
                    },
                    Waiter::Nobody,
                );
            }
            Msg::SetAdmin { agent, admin } if self.raft.leads() && self.lead.established => {
                self.propose(cx, None, Command::SetAgentAdmin { agent, admin }, Waiter::Nobody);
            }
            Msg::Up(Up::Hello(hello)) => self.hello(cx, conn, &hello),
            Msg::Up(body) => {
                if let Some(session) = self.lead.sessions.get_mut(&conn) {
                    self.lead.heard.insert(session.agent.clone());
                    session.inbox.push_back(body);
                    self.work(cx, conn);
                }
            }
            _ => {}
        }
    }

    fn submit(&mut self, cx: &mut Cx, conn: ConnId, request: String, policy: &str) {
        let policy = policy.parse().expect("a name");
        if !self.raft.leads() || !self.lead.established || self.state.policy(&policy).is_none() {
            return cx.close(self.proc(), conn);
        }
        let command = Command::SubmitBackup {
            policy,
            client: None,
            full: false,
            nonce: JobNonce(cx.fresh() + 1),
        };
        let id = (!cx.mistakes.no_deduplication).then_some(RequestId(request));
        self.propose(cx, id, command, Waiter::Submitted(conn));
    }

    fn answer(&mut self, cx: &mut Cx, waiter: Waiter, reply: Reply) {
        match waiter {
            Waiter::Nobody => {}
            Waiter::Submitted(conn) => {
                if let Reply::Submitted { jobs } = &reply {
                    cx.note(|| format!("primary {} submitted {jobs:?}", self.me));
                }
                cx.send(self.proc(), conn, Msg::Submitted(reply));
            }
            Waiter::Registered(conn) => match reply {
                Reply::Refused(_) => self.end(cx, conn),
                _ => self.confirm(cx, conn),
            },
            Waiter::Admitted(conn) => self.go_on(cx, conn),
            Waiter::Recorded(conn, journal) => {
                if !self.lead.sessions.contains_key(&conn) {
                    return;
                }
                match acknowledgement(reply) {
                    Ok(sequence) => {
                        self.acknowledge(cx, conn, &journal, sequence);
                        self.go_on(cx, conn);
                    }
                    Err(_) => self.end(cx, conn),
                }
            }
        }
    }
}

/// FNV-1a.
fn mix(hash: u64, bytes: &[u8]) -> u64 {
    let start = hash ^ 0xcbf2_9ce4_8422_2325;
    bytes.iter().fold(start, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The jobs a state knows.
pub(crate) fn jobs_of(state: &ClusterState) -> BTreeSet<u64> {
    state.jobs_before(None).map(|job| job.id.0).collect()
}
