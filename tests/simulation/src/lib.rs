//! Ring 2 of the tests: a small deterministic world around the pure parts of Outlast. A seed decides everything that happens in it.
//!
//! Real are `outlast-core` (state, dispatch, orders, sessions), `outlast-media-core`, `outlast-client-core`, the kit's numbering of
//! streams, tickets and the parsing of events. Modelled are time, network, disks, the Raft group, the storage unit and the
//! order of an attempt's steps. See docs/simulation.md. Called by its tests only.

mod attempt;
mod check;
mod client;
mod faults;
mod journal;
mod line;
mod media;
mod mistakes;
mod net;
mod primary;
mod raft;
mod rng;
mod storage;
mod tell;
mod work;

use std::collections::BTreeMap;

use client::Client;
use media::Media;
pub use mistakes::Mistakes;
use net::{ConnId, Cx, Event, Host, Input, MS, Msg, Proc, S, Time, Timer};
use outlast_core::Reply;
use outlast_core::rows::Agent;
use outlast_proto::words::AgentAdmin;
use primary::Node;
use raft::NODES;
use work::{CLIENTS, MEDIA, POLICIES, client_name, media_name};

/// How long things take at most when nothing goes wrong any more: everything that is waited for in the product, and some.
const PATIENCE: Time = 3600 * S;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The rule that was broken and how; none: all is well.
    pub contradiction: Option<String>,
    /// Events of the world.
    pub steps: u64,
    /// Jobs that were made.
    pub jobs: usize,
    /// Journal events that were recorded.
    pub events: u64,
    /// States in which a running attempt had a checkpoint.
    pub checkpoints: u64,
    /// Attempts that were given up because nobody heard their media agent.
    pub failovers: u64,
    /// Attempts that made room for another because their media agent was drained.
    pub moves: u64,
    /// Attempts that ended, by status code.
    pub endings: BTreeMap<u16, usize>,
    /// Everything that happened, if it was asked for.
    pub trace: String,
}

/// Runs a seed.
#[must_use]
pub fn run(seed: u64, mistakes: Mistakes, traced: bool) -> Report {
    World::new(seed, mistakes, traced).run()
}

/// A submission until it is answered.
struct Submission {
    request: String,
    policy: &'static str,
    answered: bool,
    /// On which connections it is under way.
    conns: Vec<ConnId>,
}

struct World {
    cx: Cx,
    nodes: Vec<Node>,
    media: Vec<Media>,
    clients: Vec<Client>,
    submissions: Vec<Submission>,
    sets_disks_back: bool,
    /// Media agents that the operator wants to be empty; none: he drains none in this world.
    drains: Option<[bool; MEDIA]>,
    /// Agents and what is between them stay well: then no marked attempt may fail.
    spares_agents: bool,
    /// How rarely things go wrong: where they always do, no work is done.
    pace: u64,
    heals_at: Time,
}

impl World {
    fn new(seed: u64, mistakes: Mistakes, traced: bool) -> Self {
        let mut cx = Cx::new(seed, mistakes, traced);
        let procs = (0..NODES).map(Proc::Primary);
        let procs = procs
            .chain((0..MEDIA).map(Proc::Media))
            .chain((0..CLIENTS).map(Proc::Client));
        for proc in procs.chain([Proc::Operator]) {
            cx.hosts.insert(proc, Host::default());
        }
        let media = (0..MEDIA).map(|n| Media::new(&mut cx, n)).collect();
        let jobs = cx.rng.range(2, 10);
        let submissions = (0..jobs).map(|n| Submission {
            request: format!("request-{n}"),
            policy: POLICIES[cx.rng.below(POLICIES.len())],
            answered: false,
            conns: Vec::new(),
        });
        let submissions = submissions.collect();
        cx.oracle.spares_agents = seed % 4 == 1;
        cx.oracle.sets_disks_back = seed.is_multiple_of(4);
        Self {
            sets_disks_back: seed.is_multiple_of(4),
            drains: (seed % 3 == 2).then_some([false; MEDIA]),
            spares_agents: seed % 4 == 1,
            pace: cx.rng.range(1, 6),
            heals_at: cx.rng.range(40 * S, 400 * S),
            nodes: (0..NODES).map(Node::new).collect(),
            clients: (0..CLIENTS).map(Client::new).collect(),
            media,
            submissions,
            cx,
        }
    }

    fn run(mut self) -> Report {
        let hosts: Vec<Proc> = self.cx.hosts.keys().copied().collect();
        for proc in hosts {
            self.restart(proc);
        }
        for n in 0..self.submissions.len() {
            let when = self.cx.rng.range(3 * S, self.heals_at);
            self.cx.timer(Proc::Operator, when, Timer::Submit(n));
        }
        if self.drains.is_some() {
            self.drain_later();
        }
        self.cx.at(5 * S, Event::Fault);
        while self.cx.oracle.contradiction.is_none() && !self.is_over() {
            self.step();
        }
        let state = &self.nodes[0].state;
        let mut endings = BTreeMap::new();
        for (_, _, history) in state.histories() {
            *endings.entry(history.code.0).or_default() += 1;
        }
        Report {
            jobs: state.jobs_before(None).count(),
            events: self.cx.oracle.events_applied,
            checkpoints: self.cx.oracle.checkpoints_seen,
            failovers: self.cx.oracle.failovers,
            moves: self.cx.oracle.moves(),
            endings,
            steps: self.cx.steps,
            contradiction: self.cx.oracle.contradiction.take(),
            trace: self.cx.trace.take().unwrap_or_default(),
        }
    }

    fn step(&mut self) {
        self.cx.steps += 1;
        let Some(((time, _), event)) = self.cx.queue.pop_first() else {
            return self
                .cx
                .oracle
                .contradict("liveness", "nothing happens any more".to_owned());
        };
        self.cx.now = time;
        if !self.cx.healed && time >= self.heals_at {
            self.heal();
        }
        if time > self.heals_at + PATIENCE {
            let text = self.what_is_missing().unwrap_or_default();
            self.cx.oracle.contradict("liveness", text);
        }
        match event {
            Event::Fault => self.fault(),
            Event::Restart(proc) => self.restart(proc),
            Event::Resume(proc) => self.resume(proc),
            Event::Heal(pairs) => self.cx.cuts.retain(|pair| !pairs.contains(pair)),
            event => {
                if let Some((proc, input)) = self.cx.arrive(event) {
                    let host = self.cx.hosts.get_mut(&proc).expect("every process has a host");
                    if host.paused {
                        host.held.push_back(input);
                    } else {
                        self.handle(proc, input);
                    }
                }
            }
        }
        if self.cx.steps.is_multiple_of(4096) {
            self.cx.sweep();
        }
    }

    fn handle(&mut self, proc: Proc, input: Input) {
        if !matches!(
            input,
            Input::Datagram(..) | Input::Timer(Timer::Heartbeat(_) | Timer::Election(_))
        ) {
            self.cx.note(|| format!("{proc:?} {}", tell::input(&input)));
        }
        match proc {
            Proc::Primary(n) => self.nodes[n].handle(&mut self.cx, input),
            Proc::Media(n) => self.media[n].handle(&mut self.cx, input),
            Proc::Client(n) => self.clients[n].handle(&mut self.cx, input),
            Proc::Operator => self.operate(input),
        }
    }

    fn restart(&mut self, proc: Proc) {
        let host = self.cx.hosts.get_mut(&proc).expect("every process has a host");
        if std::mem::replace(&mut host.up, true) {
            return;
        }
        self.cx.note(|| format!("{proc:?} starts"));
        match proc {
            Proc::Primary(n) => self.nodes[n].start(&mut self.cx),
            Proc::Media(n) => self.media[n].start(&mut self.cx),
            Proc::Client(n) => self.clients[n].start(&mut self.cx),
            Proc::Operator => {}
        }
    }

    fn resume(&mut self, proc: Proc) {
        let host = self.cx.hosts.get_mut(&proc).expect("every process has a host");
        if !std::mem::take(&mut host.paused) {
            return;
        }
        self.cx.note(|| format!("{proc:?} goes on"));
        let held = std::mem::take(&mut self.cx.hosts.get_mut(&proc).expect("as above").held);
        for input in held {
            self.handle(proc, input);
        }
    }

    fn crash(&mut self, proc: Proc) {
        match proc {
            // Its log is on disk; it begins anew at its start.
            Proc::Primary(_) | Proc::Operator => {}
            Proc::Media(n) => self.media[n].crash(&mut self.cx),
            Proc::Client(n) => self.clients[n].crash(&mut self.cx),
        }
    }

    /// Submits, and submits again until it is answered; sometimes twice at once.
    fn operate(&mut self, input: Input) {
        match input {
            Input::Timer(Timer::Submit(n)) => {
                if self.submissions[n].answered {
                    return;
                }
                let times = if self.cx.rng.percent(20) { 2 } else { 1 };
                for _ in 0..times {
                    let primary = Proc::Primary(self.cx.rng.below(NODES));
                    let conn = self.cx.connect(Proc::Operator, primary);
                    let submission = &mut self.submissions[n];
                    submission.conns.push(conn);
                    let (request, policy) = (submission.request.clone(), submission.policy.to_owned());
                    self.cx
                        .send(Proc::Operator, conn, Msg::Submit { request, policy });
                }
                let again = self.cx.rng.range(500 * MS, 6 * S);
                self.cx.timer(Proc::Operator, again, Timer::Submit(n));
            }
            Input::Timer(Timer::Drain(n)) => self.drain(n),
            Input::Timer(Timer::Cancel(job)) => {
                let primary = Proc::Primary(self.cx.rng.below(NODES));
                let conn = self.cx.connect(Proc::Operator, primary);
                self.cx.oracle.cancel(job);
                self.cx.send(Proc::Operator, conn, Msg::Cancel { job });
            }
            Input::Message(conn, Msg::Submitted(Reply::Submitted { jobs })) => {
                if let Some(submission) = self.submissions.iter_mut().find(|s| s.conns.contains(&conn)) {
                    submission.answered = true;
                    self.cx.oracle.submitted(&submission.request, &jobs);
                    for job in jobs {
                        if self.cx.rng.percent(10) {
                            let when = self.cx.rng.range(0, 30 * S);
                            self.cx.timer(Proc::Operator, when, Timer::Cancel(job));
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// Whether everything is done that there was to do.
    fn is_over(&mut self) -> bool {
        if !self.cx.healed || !self.cx.steps.is_multiple_of(64) || self.what_is_missing().is_some() {
            return false;
        }
        let jobs = primary::jobs_of(&self.nodes[0].state);
        self.cx.oracle.look_at_jobs(&jobs);
        self.cx
            .oracle
            .look_at_what_is_left(&self.nodes[0].state, &self.cx.unit);
        let said: BTreeMap<_, _> = self.cx.oracle.witnessed().collect();
        for (id, code) in said {
            let known = self.nodes[0].state.history(id.job, id.attempt);
            if known.is_none() && !self.cx.oracle.never_began(id) {
                let text = format!("attempt {id} ended with {code} in a journal and has no history");
                self.cx.oracle.contradict("S-12", text);
            }
            if self.cx.unit.has_checkpoints(id) && !self.cx.oracle.is_excused(id) {
                let text = format!("attempt {id} has ended with {code}, and a checkpoint of it is left");
                self.cx.oracle.contradict("F-05", text);
            }
        }
        true
    }

    /// What is not as it should be when nothing goes wrong any more; none: all is done.
    fn what_is_missing(&self) -> Option<String> {
        if let Some(submission) = self.submissions.iter().find(|s| !s.answered) {
            return Some(format!("{} is not answered", submission.request));
        }
        let leader = self.nodes.iter().find(|node| node.has_all(MEDIA + CLIENTS));
        let Some(leader) = leader else {
            return Some("no leader has all agents".to_owned());
        };
        if let Some(node) = self
            .nodes
            .iter()
            .find(|node| node.applied != leader.raft.log.len())
        {
            return Some(format!(
                "a primary is at {} of {}",
                node.applied,
                leader.raft.log.len()
            ));
        }
        if let Some(job) = leader.state.jobs_before(None).find(|job| job.status.is_none()) {
            return Some(format!("job {} is {}: {:?}", job.id, job.state, job.running));
        }
        if let Some((agent, job, _)) = leader.state.fences().next() {
            return Some(format!("{agent} has not said that job {job} is fenced"));
        }
        let is_drained = |row: &Agent| row.admin != AgentAdmin::Enabled;
        if let Some((agent, _)) = leader.state.agents().find(|(_, row)| is_drained(row)) {
            return Some(format!("{agent} is not enabled again"));
        }
        for media in &self.media {
            let recorded = leader.recorded(&media_name(media.n));
            if !media.is_at_rest() || media.journal() != recorded {
                return Some(format!(
                    "media agent {}: its journal is at {:?}, recorded at {recorded:?}",
                    media.n,
                    media.journal()
                ));
            }
        }
        let busy = (0..CLIENTS).find(|n| !self.clients[*n].is_at_rest())?;
        Some(format!("{} is not at rest", client_name(busy)))
    }
}
