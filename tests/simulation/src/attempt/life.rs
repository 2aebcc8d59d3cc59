//! The life of an attempt: does what its machine says, with this world's time between any two steps.

use std::time::Duration;

use outlast_media_core::attempt::{Command, Event};
use outlast_media_core::{AttemptId, Fault, NewRecord};
use outlast_proto::v1;
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{AttemptOver, backup_down};

use super::Run;
use crate::journal::Then;
use crate::line::Line;
use crate::media::{GRACE, Media};
use crate::net::{Cx, MS, Msg, S, Time, Timer};

/// What takes time.
#[derive(Clone, Copy, Debug)]
pub(super) enum UnderWay {
    Prepare,
    RemoveCheckpoints,
    Release,
}

pub(super) fn grace() -> Duration {
    at(GRACE)
}

/// As the machines count.
pub(crate) fn at(time: Time) -> Duration {
    Duration::from_micros(time)
}

impl Media {
    /// Begins an attempt that was admitted to the list.
    pub(crate) fn begin_life(&mut self, cx: &mut Cx, id: AttemptId) {
        let now = at(cx.now);
        if let Some(run) = self.run(id) {
            let commands = run.attempt.begin(now);
            self.perform_all(cx, id, commands);
        }
    }

    /// Tells an attempt what happened, and does what follows.
    pub(crate) fn happens(&mut self, cx: &mut Cx, id: AttemptId, event: Event) {
        let now = at(cx.now);
        let is_decided = self.run(id).is_none_or(|run| run.attempt.is_ending());
        if let (Event::Halt(why), false) = (&event, is_decided) {
            cx.oracle.is_told(id, why);
        }
        if let Some(run) = self.run(id) {
            let commands = run.attempt.handle(now, event);
            self.perform_all(cx, id, commands);
        }
    }

    fn perform_all(&mut self, cx: &mut Cx, id: AttemptId, commands: Vec<Command>) {
        for command in commands {
            self.perform(cx, id, command);
        }
        self.wake_in_time(cx, id);
        let waits = |run: &mut Run| run.attempt.waits_for_client() && run.entrance.is_some();
        if self.run(id).is_some_and(waits) {
            self.happens(cx, id, Event::ClientCame);
        }
    }

    fn wake_in_time(&mut self, cx: &mut Cx, id: AttemptId) {
        let (me, now) = (self.proc(), at(cx.now));
        let Some(run) = self.run(id) else { return };
        let deadline = run.attempt.deadline();
        if deadline == run.wakes_at {
            return;
        }
        run.wakes_at = deadline;
        if let Some(deadline) = deadline {
            let left = deadline.saturating_sub(now).as_micros();
            cx.timer(me, Time::try_from(left).expect("it is soon"), Timer::Woken(id));
        }
    }

    fn perform(&mut self, cx: &mut Cx, id: AttemptId, command: Command) {
        match command {
            Command::Prepare => {
                let others = self.process.as_ref().map(|process| process.runs.keys());
                cx.oracle.prepares(id, others.into_iter().flatten());
                self.takes(cx, id, UnderWay::Prepare, 300 * MS);
            }
            Command::Mark => {
                cx.oracle.is_marked_now(id);
                self.mark(cx, id);
            }
            Command::Work => self.work_begins(cx, id),
            Command::Halt(why) => {
                cx.oracle.is_told(id, &why);
                self.halt_work(cx, id);
            }
            Command::Leave => self.leave_work(cx, id),
            Command::RemoveCheckpoints => self.takes(cx, id, UnderWay::RemoveCheckpoints, 50 * MS),
            Command::JournalEnd(events) => {
                let end = events.into_iter().map(|what| self.event(cx, id, what)).collect();
                self.append(cx, end, Then::Ended(id));
            }
            Command::Release => self.takes(cx, id, UnderWay::Release, 20 * MS),
            Command::Over(over) => self.end(cx, id, over),
            // Nothing is damaged here.
            Command::RememberDamage => self.happens(cx, id, Event::Done),
            Command::SayLocked { .. }
            | Command::SayUnlocked
            | Command::SayAwaited { .. }
            | Command::SayEnd(_) => {}
        }
    }

    fn takes(&mut self, cx: &mut Cx, id: AttemptId, what: UnderWay, most: Time) {
        if let Some(run) = self.run(id) {
            run.under_way = Some(what);
        }
        let takes = cx.rng.range(MS, most);
        cx.timer(self.proc(), takes, Timer::Life(id));
    }

    /// What took its time is done.
    pub(crate) fn live_on(&mut self, cx: &mut Cx, id: AttemptId) {
        let Some(what) = self.run(id).and_then(|run| run.under_way.take()) else {
            return;
        };
        let event = match what {
            // Somebody has the storage unit for himself.
            UnderWay::Prepare if cx.rng.percent(3) => Event::Locked {
                by: "a prune".to_owned(),
                fault: Fault::broken("the storage unit is locked"),
            },
            UnderWay::Prepare => Event::Prepared,
            UnderWay::RemoveCheckpoints => {
                cx.unit.remove_checkpoints(id);
                cx.oracle.gives_up(id);
                Event::Done
            }
            UnderWay::Release => Event::Done,
        };
        self.happens(cx, id, event);
    }

    /// The client is here.
    fn mark(&mut self, cx: &mut Cx, id: AttemptId) {
        let number = cx.fresh();
        let Some(run) = self.run(id) else { return };
        let Some((conn, greeting)) = run.entrance.take() else {
            return;
        };
        run.first = Some(conn);
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
        self.append(cx, records, Then::Marked(id));
    }

    /// The mark is durable.
    pub(crate) fn marked(&mut self, cx: &mut Cx, id: AttemptId) {
        let gives_up = cx.mistakes.give_up_without_primary;
        let Some(process) = &self.process else { return };
        let resilient = process.journal.ledger.known().is_resilient(id) && !gives_up;
        self.happens(cx, id, Event::Marked { resilient });
    }

    fn work_begins(&mut self, cx: &mut Cx, id: AttemptId) {
        let Some(run) = self.run(id) else { return };
        run.line = Line::new(cx.now);
        run.has_line = true;
        let (first, newer) = (run.first.take(), run.entrance.take());
        self.begin_work(cx, id);
        if let Some(first) = first {
            self.switch_to(cx, id, first);
        }
        if let Some((conn, greeting)) = newer {
            self.newcomer(cx, id, conn, &greeting);
        }
    }

    /// It is over: the client is told, and attempts that waited go on.
    fn end(&mut self, cx: &mut Cx, id: AttemptId, over: Option<AttemptOver>) {
        let me = self.proc();
        self.pump(cx, id);
        let Some(process) = &mut self.process else { return };
        process.roster.over(id, over.clone());
        let Some(run) = process.runs.remove(&id) else {
            return;
        };
        let waiting: Vec<AttemptId> = process.runs.keys().copied().collect();
        let entrance = run.entrance.map(|(conn, _)| conn);
        for conn in run.line.conn.into_iter().chain(run.first).chain(entrance) {
            process.streams.remove(&conn);
            if let Some(over) = &over {
                let body = Some(backup_down::Body::Over(over.clone()));
                cx.send(me, conn, Msg::StreamDown(0, 0, body));
            }
            cx.close(me, conn);
        }
        for other in waiting {
            self.happens(cx, other, Event::PredecessorOver(id));
        }
    }

    /// Since when no primary answers, for all attempts.
    pub(crate) fn contact_is(&mut self, cx: &mut Cx, lost_at: Option<Time>) {
        let Some(process) = &self.process else { return };
        let all: Vec<AttemptId> = process.runs.keys().copied().collect();
        let (lost_at, grace) = (lost_at.map(at), grace());
        for id in all {
            self.happens(cx, id, Event::Contact { lost_at, grace });
        }
    }
}

/// How long somebody else's lock is waited for.
pub(crate) const LOCK_WAIT: Time = 3600 * S;
