//! A model of replication among three primaries: terms, votes, logs that are synced before anything is answered, commit by
//! majority. What is not committed when its leader goes may be lost or may survive. The product's is openraft; here only what
//! it promises matters. As there, a leader that lost its majority does not know.

use std::rc::Rc;

use crate::net::{Cx, MS, Proc, Time, Timer};

pub(crate) const NODES: usize = 3;
const MAJORITY: usize = 2;
const HEARTBEAT: Time = 400 * MS;

/// An entry of the log; an empty one is a new leader's first.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) term: u64,
    pub(crate) bytes: Rc<[u8]>,
}

#[derive(Clone, Debug)]
pub(crate) enum RaftMsg {
    Vote {
        term: u64,
        last: (u64, usize),
    },
    Voted {
        term: u64,
    },
    Append {
        term: u64,
        before: (u64, usize),
        entries: Vec<Logged>,
        commit: usize,
        round: u64,
    },
    Appended {
        term: u64,
        matched: Option<usize>,
        round: u64,
    },
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    Follower,
    Candidate {
        votes: usize,
    },
    Leader {
        next: [usize; NODES],
        matched: [usize; NODES],
        rounds: [u64; NODES],
    },
}

/// One node's part in it. `term`, `voted` and `log` are on disk.
#[derive(Debug)]
pub(crate) struct Raft {
    pub(crate) me: usize,
    pub(crate) term: u64,
    voted: Option<usize>,
    pub(crate) log: Vec<Logged>,
    pub(crate) role: Role,
    pub(crate) commit: usize,
    /// Tells the present election timer from older ones.
    patience: u64,
    pub(crate) round: u64,
}

impl Raft {
    pub(crate) fn new(me: usize) -> Self {
        Self {
            me,
            term: 0,
            voted: None,
            log: Vec::new(),
            role: Role::Follower,
            commit: 0,
            patience: 0,
            round: 0,
        }
    }

    pub(crate) fn start(&mut self, cx: &mut Cx) {
        self.role = Role::Follower;
        self.commit = 0;
        self.wait(cx);
    }

    pub(crate) fn leads(&self) -> bool {
        matches!(self.role, Role::Leader { .. })
    }

    fn wait(&mut self, cx: &mut Cx) {
        self.patience += 1;
        let after = cx.rng.range(1200 * MS, 2400 * MS);
        cx.timer(Proc::Primary(self.me), after, Timer::Election(self.patience));
    }

    fn last(&self) -> (u64, usize) {
        (self.log.last().map_or(0, |entry| entry.term), self.log.len())
    }

    fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let me = self.me;
        (0..NODES).filter(move |other| *other != me)
    }

    pub(crate) fn election(&mut self, cx: &mut Cx, patience: u64) {
        if patience != self.patience || self.leads() {
            return;
        }
        self.term += 1;
        self.voted = Some(self.me);
        self.role = Role::Candidate { votes: 1 };
        for other in self.others() {
            cx.datagram(
                self.me,
                other,
                RaftMsg::Vote {
                    term: self.term,
                    last: self.last(),
                },
            );
        }
        self.wait(cx);
    }

    pub(crate) fn heartbeat(&mut self, cx: &mut Cx, term: u64) {
        if self.leads() && term == self.term {
            self.spread(cx);
            cx.timer(Proc::Primary(self.me), HEARTBEAT, Timer::Heartbeat(term));
        }
    }

    /// Sends everybody what is missing.
    pub(crate) fn spread(&mut self, cx: &mut Cx) {
        self.round += 1;
        let Role::Leader { next, .. } = &self.role else {
            return;
        };
        let next = *next;
        for other in self.others() {
            let from = next[other].min(self.log.len());
            let before = (if from == 0 { 0 } else { self.log[from - 1].term }, from);
            let append = RaftMsg::Append {
                term: self.term,
                before,
                entries: self.log[from..].to_vec(),
                commit: self.commit,
                round: self.round,
            };
            cx.datagram(self.me, other, append);
        }
    }

    /// Takes an entry into the log: its index, from 1. Only for a leader.
    pub(crate) fn append(&mut self, cx: &mut Cx, bytes: Vec<u8>) -> usize {
        self.log.push(Logged {
            term: self.term,
            bytes: bytes.into(),
        });
        self.spread(cx);
        self.log.len()
    }

    /// Whether a majority has confirmed since `round` that this node leads.
    pub(crate) fn is_confirmed(&self, round: u64) -> bool {
        let Role::Leader { rounds, .. } = &self.role else {
            return false;
        };
        1 + self.others().filter(|other| rounds[*other] >= round).count() >= MAJORITY
    }

    pub(crate) fn receive(&mut self, cx: &mut Cx, from: usize, msg: RaftMsg) {
        let (RaftMsg::Vote { term, .. }
        | RaftMsg::Voted { term }
        | RaftMsg::Append { term, .. }
        | RaftMsg::Appended { term, .. }) = msg;
        if term > self.term {
            self.term = term;
            self.voted = None;
            if !matches!(self.role, Role::Follower) {
                self.role = Role::Follower;
                self.wait(cx);
            }
        }
        match msg {
            RaftMsg::Vote { term, last } => {
                if term == self.term && self.voted.is_none_or(|to| to == from) && last >= self.last() {
                    self.voted = Some(from);
                    self.wait(cx);
                    cx.datagram(self.me, from, RaftMsg::Voted { term });
                }
            }
            RaftMsg::Voted { term } => self.voted(cx, term),
            RaftMsg::Append {
                term,
                before,
                entries,
                commit,
                round,
            } => {
                if term == self.term {
                    self.wait(cx);
                    self.role = Role::Follower;
                    let matched = self.take(before, entries);
                    if let Some(matched) = matched {
                        self.commit = self.commit.max(commit.min(matched));
                    }
                    cx.datagram(self.me, from, RaftMsg::Appended { term, matched, round });
                }
            }
            RaftMsg::Appended { term, matched, round } => {
                if term == self.term {
                    self.appended(from, matched, round);
                }
            }
        }
    }

    fn voted(&mut self, cx: &mut Cx, term: u64) {
        let Role::Candidate { votes } = &mut self.role else {
            return;
        };
        if term != self.term {
            return;
        }
        *votes += 1;
        if *votes < MAJORITY {
            return;
        }
        let next = [self.log.len(); NODES];
        self.role = Role::Leader {
            next,
            matched: [0; NODES],
            rounds: [0; NODES],
        };
        cx.note(|| format!("primary {} leads in term {}", self.me, self.term));
        // What earlier leaders left is committed with this.
        self.append(cx, Vec::new());
        cx.timer(Proc::Primary(self.me), HEARTBEAT, Timer::Heartbeat(self.term));
    }

    /// A leader's entries behind `before`; how far the log is the leader's, or none if it is not up to there.
    fn take(&mut self, before: (u64, usize), entries: Vec<Logged>) -> Option<usize> {
        let (term, from) = before;
        if from > self.log.len() || from > 0 && self.log[from - 1].term != term {
            return None;
        }
        let end = from + entries.len();
        for (index, entry) in (from..).zip(entries) {
            match self.log.get(index) {
                Some(here) if here.term == entry.term => continue,
                Some(_) => self.log.truncate(index),
                None => {}
            }
            self.log.push(entry);
        }
        Some(end)
    }

    fn appended(&mut self, from: usize, there: Option<usize>, round: u64) {
        let Role::Leader {
            next,
            matched,
            rounds,
        } = &mut self.role
        else {
            return;
        };
        rounds[from] = rounds[from].max(round);
        match there {
            Some(there) => {
                matched[from] = matched[from].max(there);
                next[from] = next[from].max(there);
            }
            None => next[from] = matched[from],
        }
        let mut all = *matched;
        all[self.me] = self.log.len();
        all.sort_unstable();
        // The middle one of three is what a majority has.
        let reached = all[NODES - MAJORITY];
        if reached > self.commit && self.log[reached - 1].term == self.term {
            self.commit = reached;
        }
    }
}
