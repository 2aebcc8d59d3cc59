//! A media agent and its leader: sessions, delivery of the journal, and attempts that may not do without.

use outlast_media_core::AttemptId;
use outlast_media_core::session::{Next, Opening, Recorded, open};
use outlast_proto::v1::{self, agent_message::Body as Up, primary_message::Body as Down};

use super::{GRACE, Media, Session, VERSION};
use crate::journal::Then;
use crate::net::{ConnId, Cx, MS, Msg, Proc, S, Timer};
use crate::raft::NODES;

impl Media {
    pub(super) fn connect(&mut self, cx: &mut Cx) {
        let me = self.proc();
        let Some(process) = &mut self.process else { return };
        if process.session.is_some() {
            return;
        }
        let primary = Proc::Primary(cx.rng.below(NODES));
        let conn = cx.connect(me, primary);
        let status = process.journal.status(&self.disk);
        let hello = v1::Hello {
            kind: v1::AgentKind::MediaAgent.into(),
            start_id: process.start_id.clone(),
            running: process.roster.running().map(AttemptId::to_ref).collect(),
            journal_id: status.journal.0,
            journal_first: status.acknowledged + 1,
            journal_last: status.last,
            speaks: 4,
            ..v1::Hello::default()
        };
        process.session = Some(Session { conn, delivery: None });
        cx.send(me, conn, Msg::Up(Up::Hello(hello)));
        cx.timer(me, 5 * S, Timer::Welcome(conn));
    }

    pub(super) fn session_on(&mut self, conn: ConnId) -> Option<&mut Session> {
        self.process
            .as_mut()?
            .session
            .as_mut()
            .filter(|session| session.conn == conn)
    }

    pub(super) fn leader_said(&mut self, cx: &mut Cx, conn: ConnId, body: Down) {
        if self.session_on(conn).is_none() {
            return;
        }
        match body {
            Down::Welcome(welcome) => self.welcomed(cx, &welcome),
            Down::JournalAck(ack) => {
                let Some(process) = &mut self.process else { return };
                if process.journal.status(&self.disk).journal.0 == ack.journal_id {
                    process.journal.ledger.acknowledge(ack.sequence);
                }
            }
            Down::Stop(order) => self.stop(cx, order.attempt.as_ref()),
            Down::Fence(order) => self.fence(cx, &order),
            Down::Leave(order) => self.leave(cx, &order),
            Down::Start(order) => self.ordered(cx, order.ticket.unwrap_or_default()),
            _ => {}
        }
    }

    fn welcomed(&mut self, cx: &mut Cx, welcome: &v1::Welcome) {
        let (me, at) = (self.proc(), cx.clock(self.proc()));
        let Some(process) = &mut self.process else { return };
        let lost_marks = process.journal.ledger.meet(VERSION, at);
        if !lost_marks.is_empty() {
            process
                .journal
                .append(cx, &mut self.disk, me, lost_marks, Then::Nothing);
        }
        let was_alone = std::mem::take(&mut process.is_alone);
        if let Some((id, _)) = process.runs.iter().find(|(_, run)| was_alone && run.outstays()) {
            let text = format!("{id} is not resilient and went on without a primary");
            cx.oracle.contradict("R-03", text);
        }
        process.lost_at = None;
        process.losses += 1;
        self.contact_is(cx, None);
        let Some(process) = &mut self.process else { return };
        let status = process.journal.status(&self.disk);
        let recorded = Recorded {
            acknowledged: welcome.journal_acknowledged,
            writer: if cx.mistakes.trust_numbers {
                status.writers.of(welcome.journal_acknowledged)
            } else {
                welcome.journal_writer
            },
            begin_new: welcome.begin_new_journal,
        };
        match open(&status, recorded) {
            Opening::Deliver(delivery) => {
                self.set_back = false;
                process.journal.ledger.acknowledge(welcome.journal_acknowledged);
                if let Some(session) = &mut process.session {
                    session.delivery = Some(delivery);
                }
                self.deliver(cx);
            }
            Opening::BeginNew => {
                // What a journal says that was set back and has not met a primary since goes with it.
                cx.oracle.excuse(self.disk.attempts());
                cx.oracle.excuse(process.runs.keys().copied());
                if !std::mem::take(&mut self.set_back) {
                    let text = format!(
                        "{me:?} leaves its journal behind at {status:?}, welcomed with {}, although its disk is as it was",
                        welcome.journal_acknowledged
                    );
                    cx.oracle.contradict("DESIGN 3", text);
                }
                process.journal.begin_new(cx, &mut self.disk, me);
                self.session_is_over(cx);
            }
        }
    }

    pub(super) fn session_is_over(&mut self, cx: &mut Cx) {
        let me = self.proc();
        let Some(process) = &mut self.process else { return };
        if let Some(session) = process.session.take() {
            cx.close(me, session.conn);
        }
        if process.lost_at.is_none() {
            process.losses += 1;
            process.lost_at = Some(cx.now);
            cx.timer(me, GRACE, Timer::Grace(process.losses));
            self.contact_is(cx, Some(cx.now));
        }
        let pause = cx.rng.range(100 * MS, 2 * S);
        cx.timer(me, pause, Timer::Connect);
    }

    /// Sends what the session has not sent.
    pub(super) fn deliver(&mut self, cx: &mut Cx) {
        let me = self.proc();
        let Some(process) = &mut self.process else { return };
        let Some(session) = &mut process.session else {
            return;
        };
        let Some(delivery) = &mut session.delivery else {
            return;
        };
        let conn = session.conn;
        let batch = usize::try_from(cx.rng.range(1, 8)).expect("it is small");
        loop {
            match delivery.next(&process.journal.status(&self.disk)) {
                Next::Wait => return,
                Next::Over => break,
                Next::Send(from) => {
                    let events = process.journal.read(from, batch);
                    let Some(last) = events.last().map(|event| event.sequence) else {
                        return;
                    };
                    delivery.sent(last);
                    let journal_id = delivery.journal().0.clone();
                    cx.send(
                        me,
                        conn,
                        Msg::Up(Up::Journal(v1::JournalEvents {
                            journal_id,
                            events,
                            sent_at: None,
                        })),
                    );
                }
            }
        }
        self.session_is_over(cx);
    }

    /// whoever may not do without a primary has been told to end by now.
    pub(super) fn grace_is_over(&mut self, losses: u64) {
        if let Some(process) = &mut self.process {
            process.is_alone |= process.losses == losses;
        }
    }
}
