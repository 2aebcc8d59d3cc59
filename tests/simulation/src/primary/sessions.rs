//! The leader's sessions with agents: who is welcome and from where, one proposal at a time, orders.

use std::collections::VecDeque;

use outlast_core::entry::MediaHello;
use outlast_core::session::{Said, events, is_behind, is_registered, open_attempts, order_message, witness};
use outlast_core::{AgentHello, Command};
use outlast_proto::v1::{self, agent_message::Body as Up, primary_message::Body as Down};
use outlast_proto::words::{AgentKind, AgentName, AttemptId, JournalId, StartId};
use prost::Message as _;

use super::{Node, PROPOSAL, Session, Waiter};
use crate::net::{ConnId, Cx, Msg, Proc, Timer};

impl Node {
    pub(super) fn hello(&mut self, cx: &mut Cx, conn: ConnId, said: &v1::Hello) {
        let Some(from) = cx
            .peer(self.proc(), conn)
            .filter(|_| self.raft.leads() && self.lead.established)
        else {
            cx.send(self.proc(), conn, Msg::NotLeader);
            return cx.close(self.proc(), conn);
        };
        let hello = hello_of(from, said);
        let session = Session {
            agent: hello.name.clone(),
            first: said.journal_first,
            last: said.journal_last,
            open: false,
            waiting: None,
            inbox: VecDeque::new(),
            said: Said::default(),
        };
        self.lead.sessions.insert(conn, session);
        if is_registered(&self.state, &hello) {
            self.confirm(cx, conn);
        } else {
            self.propose_for(
                cx,
                conn,
                Command::RegisterAgent { hello },
                Waiter::Registered(conn),
            );
        }
    }

    /// A session's proposal: it does nothing else until it has the reply.
    fn propose_for(&mut self, cx: &mut Cx, conn: ConnId, command: Command, waiter: Waiter) {
        let number = cx.fresh();
        if let Some(session) = self.lead.sessions.get_mut(&conn) {
            session.waiting = Some(number);
        }
        cx.timer(self.proc(), PROPOSAL, Timer::Proposal(conn, number));
        self.propose(cx, None, command, waiter);
    }

    /// Asks the others whether this node still leads before it tells an agent how far its journal is recorded.
    pub(super) fn confirm(&mut self, cx: &mut Cx, conn: ConnId) {
        if cx.mistakes.welcome_unconfirmed {
            return self.welcome(cx, conn);
        }
        let number = cx.fresh();
        if let Some(session) = self.lead.sessions.get_mut(&conn) {
            session.waiting = Some(number);
        }
        cx.timer(self.proc(), PROPOSAL, Timer::Proposal(conn, number));
        self.lead
            .reads
            .push((conn, self.raft.round + 1, self.raft.commit));
        self.raft.spread(cx);
    }

    pub(super) fn settle_reads(&mut self, cx: &mut Cx) {
        let (ready, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.lead.reads)
            .into_iter()
            .partition(|(_, round, index)| self.raft.is_confirmed(*round) && self.applied >= *index);
        self.lead.reads = rest;
        for (conn, ..) in ready {
            self.welcome(cx, conn);
        }
    }

    fn welcome(&mut self, cx: &mut Cx, conn: ConnId) {
        let Some(session) = self.lead.sessions.get_mut(&conn) else {
            return;
        };
        session.waiting = None;
        let Some(row) = self.state.agent(&session.agent) else {
            return;
        };
        let cursor = row.media.as_ref().map(|media| &media.journal);
        let behind = cursor.is_some_and(|cursor| is_behind(cursor, session.first, session.last));
        let welcome = v1::Welcome {
            cluster_id: "cluster".into(),
            journal_acknowledged: if cx.mistakes.no_event_deduplication {
                session.first.saturating_sub(1)
            } else {
                cursor.map_or(0, |cursor| cursor.acknowledged)
            },
            journal_writer: cursor.map_or(0, |cursor| cursor.writer),
            begin_new_journal: behind,
            open: open_attempts(&self.state, &session.agent)
                .map(AttemptId::to_ref)
                .collect(),
            ..v1::Welcome::default()
        };
        session.open = true;
        let agent = session.agent.clone();
        cx.send(self.proc(), conn, Msg::Down(Down::Welcome(welcome)));
        if let Some(old) = self.lead.present.insert(agent, conn).filter(|old| *old != conn) {
            self.lead.sessions.remove(&old);
            cx.close(self.proc(), old);
        }
        if behind {
            // An agent that has to begin a new journal comes back with it.
            return self.end(cx, conn);
        }
        self.send_orders(cx, conn);
        self.dispatch_soon(cx);
        self.work(cx, conn);
    }

    /// Takes the session's next messages, one proposal at a time.
    pub(super) fn work(&mut self, cx: &mut Cx, conn: ConnId) {
        while let Some(session) = self.lead.sessions.get_mut(&conn) {
            if !session.open || session.waiting.is_some() {
                return;
            }
            let Some(body) = session.inbox.pop_front() else {
                return;
            };
            let agent = session.agent.clone();
            match body {
                Up::Journal(journal) => self.take_events(cx, conn, agent, journal),
                Up::Admitted(admitted) => {
                    let Ok(AttemptId { job, nonce, attempt }) =
                        AttemptId::of_message(admitted.attempt.as_ref())
                    else {
                        return self.end(cx, conn);
                    };
                    self.propose_for(
                        cx,
                        conn,
                        Command::RecordAdmission { job, attempt, nonce },
                        Waiter::Admitted(conn),
                    );
                }
                Up::Streams(seen) => {
                    let words = witness::words(&self.state, &agent, &seen);
                    let attempts = witness::closed(&self.state, &seen);
                    self.lead.words.insert(agent, words);
                    if !attempts.is_empty() {
                        let closed = v1::AttemptsClosed { attempts };
                        cx.send(Proc::Primary(self.me), conn, Msg::Down(Down::Closed(closed)));
                    }
                }
                Up::Fenced(fenced) => {
                    let Ok(AttemptId { job, nonce, attempt }) =
                        AttemptId::of_message(fenced.attempt.as_ref())
                    else {
                        return self.end(cx, conn);
                    };
                    let command = Command::RecordFence {
                        agent,
                        job,
                        nonce,
                        through: attempt,
                    };
                    self.propose_for(cx, conn, command, Waiter::Admitted(conn));
                }
                _ => {}
            }
        }
    }

    fn take_events(&mut self, cx: &mut Cx, conn: ConnId, agent: AgentName, journal: v1::JournalEvents) {
        let parsed: Result<Vec<_>, _> = journal.events.into_iter().map(events::parse).collect();
        let mut events = parsed.expect("agents send what can be read");
        if cx.mistakes.no_event_deduplication {
            let recorded = self.recorded(&agent).map_or(0, |(_, acknowledged)| acknowledged);
            for (sequence, event) in (recorded + 1..).zip(&mut events) {
                event.sequence = sequence;
            }
        }
        if cx.mistakes.acknowledge_before_commit {
            let sequence = events.last().map_or(0, |event| event.sequence);
            self.acknowledge(cx, conn, &journal.journal_id, sequence);
        }
        let command = Command::RecordEvents {
            agent,
            journal_id: JournalId(journal.journal_id.clone()),
            events,
        };
        self.propose_for(cx, conn, command, Waiter::Recorded(conn, journal.journal_id));
    }

    pub(super) fn acknowledge(&mut self, cx: &mut Cx, conn: ConnId, journal: &str, sequence: u64) {
        cx.oracle.acknowledged(journal, sequence);
        let ack = v1::JournalAck {
            journal_id: journal.to_owned(),
            sequence,
        };
        cx.send(self.proc(), conn, Msg::Down(Down::JournalAck(ack)));
    }

    /// The session has its reply.
    pub(super) fn go_on(&mut self, cx: &mut Cx, conn: ConnId) {
        if let Some(session) = self.lead.sessions.get_mut(&conn) {
            session.waiting = None;
            self.send_orders(cx, conn);
            self.work(cx, conn);
        }
    }

    pub(super) fn send_orders(&mut self, cx: &mut Cx, conn: ConnId) {
        let Some(session) = self.lead.sessions.get_mut(&conn) else {
            return;
        };
        for order in session.said.due(&self.state, &session.agent) {
            let Some(body) = order_message(&self.state, &order, sign) else {
                continue;
            };
            session.said.say(order);
            cx.send(Proc::Primary(self.me), conn, Msg::Down(body));
        }
    }

    /// Ends a session from this side.
    pub(super) fn end(&mut self, cx: &mut Cx, conn: ConnId) {
        cx.close(self.proc(), conn);
        self.forget(cx, conn);
    }

    pub(super) fn forget(&mut self, cx: &mut Cx, conn: ConnId) {
        let Some(session) = self.lead.sessions.remove(&conn) else {
            return;
        };
        if self.lead.present.get(&session.agent) == Some(&conn) {
            self.lead.present.remove(&session.agent);
            self.dispatch_soon(cx);
        }
    }
}

/// Nobody in the simulation forges tickets, so nobody looks at a signature; it is as long as a true one.
fn sign(ticket: &v1::Ticket) -> Option<v1::SignedTicket> {
    Some(v1::SignedTicket {
        ticket: ticket.encode_to_vec().into(),
        signature: vec![0; 64].into(),
    })
}

fn hello_of(from: Proc, said: &v1::Hello) -> AgentHello {
    let (name, kind) = match from {
        Proc::Media(n) => (crate::work::media_name(n), AgentKind::MediaAgent),
        Proc::Client(n) => (crate::work::client_name(n), AgentKind::ClientAgent),
        Proc::Primary(_) | Proc::Operator => unreachable!("only agents open sessions"),
    };
    AgentHello {
        host_id: format!("host of {name}"),
        name,
        kind,
        start_id: StartId(said.start_id.clone()),
        version: "0.1.0".into(),
        fibre_transport: false,
        speaks: said.speaks,
        media: (kind == AgentKind::MediaAgent).then(|| MediaHello {
            journal_id: JournalId(said.journal_id.clone()),
            pool: "default".parse().expect("a name"),
            storage_unit: "storage".parse().expect("a name"),
            repository_id: Some("repository".into()),
            data_addresses: vec!["somewhere:1".into()],
        }),
    }
}
