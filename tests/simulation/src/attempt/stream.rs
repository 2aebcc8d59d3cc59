//! The streams of an attempt's client, one after another.

use outlast_media_core::attempt::Event;
use outlast_media_core::{AttemptId, Fault, Greeting, Halt};
use outlast_proto::v1::{self, backup_down};
use outlast_proto::words::{Interruption, StatusCode};

use super::{RECONNECT_FOR, Run};
use crate::media::Media;
use crate::net::{ConnId, Cx, Msg, Time, Timer};

impl Run {
    /// How long the client may still be without a stream.
    fn patience_left(&self, now: Time) -> Time {
        let deadline = self.line.broken_since().as_micros() + u128::from(RECONNECT_FOR);
        Time::try_from(deadline).map_or(Time::MAX, |deadline| deadline.saturating_sub(now))
    }
}

impl Media {
    /// A stream of the client's is taken into use.
    pub(super) fn switch_to(&mut self, cx: &mut Cx, id: AttemptId, conn: ConnId) {
        let me = self.proc();
        let Some(process) = &mut self.process else { return };
        let is_dead = !process.streams.contains_key(&conn);
        let start_id = process.start_id.clone();
        let Some(run) = process.runs.get_mut(&id) else {
            return;
        };
        if let Some(old) = run.line.conn {
            run.line.broken(cx.now);
            process.streams.remove(&old);
            cx.close(me, old);
        }
        let received = run.line.received();
        if is_dead {
            return self.stream_broke(cx, id, conn);
        }
        run.line.conn = Some(conn);
        run.line.opened(cx.now);
        let welcome = v1::StreamWelcome { start_id, received };
        cx.send(
            me,
            conn,
            Msg::StreamDown(0, received, Some(backup_down::Body::Welcome(welcome))),
        );
        self.pump(cx, id);
    }

    pub(crate) fn enter(&mut self, cx: &mut Cx, id: AttemptId, conn: ConnId, greeting: Greeting) {
        let Some(process) = &mut self.process else { return };
        process.streams.insert(conn, id);
        let Some(run) = process.runs.get_mut(&id) else {
            return;
        };
        if run.has_line {
            return self.newcomer(cx, id, conn, &greeting);
        }
        run.entrance = Some((conn, greeting));
        if run.attempt.waits_for_client() {
            self.happens(cx, id, Event::ClientCame);
        }
    }

    /// A further stream of the same client process.
    pub(super) fn newcomer(&mut self, cx: &mut Cx, id: AttemptId, conn: ConnId, greeting: &Greeting) {
        let Some(run) = self.run(id) else { return };
        match run.line.resume(greeting.received) {
            Ok(()) => {
                if run.line.is_open() {
                    run.line.broken(cx.now);
                }
                let is_hopeless = run.patience_left(cx.now) == 0;
                self.switch_to(cx, id, conn);
                if is_hopeless {
                    self.give_up(cx, id);
                }
            }
            Err(error) => cx
                .oracle
                .contradict("F-10", format!("{id} at the media agent: {error}")),
        }
    }

    pub(crate) fn stream_broke(&mut self, cx: &mut Cx, id: AttemptId, conn: ConnId) {
        let me = self.proc();
        let Some(run) = self.run(id) else { return };
        if run.has_line && run.line.conn.is_none_or(|current| current == conn) {
            run.line.broken(cx.now);
            let left = run.patience_left(cx.now);
            cx.timer(me, left, Timer::Broken(id, run.line.breaks));
        }
    }

    pub(crate) fn broken_too_long(&mut self, cx: &mut Cx, id: AttemptId, breaks: u64) {
        let is_so = |run: &mut Run| run.line.conn.is_none() && run.line.breaks == breaks;
        if self.run(id).is_some_and(is_so) {
            self.give_up(cx, id);
        }
    }

    fn give_up(&mut self, cx: &mut Cx, id: AttemptId) {
        let fault = Fault::interrupting(
            Interruption::ClientUnreachable,
            StatusCode::CONNECTION_BROKEN,
            "the stream with the client broke and did not come back",
        );
        self.happens(cx, id, Event::Halt(Halt::Fault(fault)));
    }

    /// Sends the client what it has not got.
    pub(super) fn pump(&mut self, cx: &mut Cx, id: AttemptId) {
        let me = self.proc();
        let Some(run) = self.run(id) else { return };
        let Some(conn) = run.line.conn else { return };
        for (sequence, received, body) in run.line.due(cx.now) {
            cx.send(me, conn, Msg::StreamDown(sequence, received, body));
        }
    }

    pub(crate) fn tell(&mut self, cx: &mut Cx, conn: ConnId, over: v1::AttemptOver) {
        cx.send(
            self.proc(),
            conn,
            Msg::StreamDown(0, 0, Some(backup_down::Body::Over(over))),
        );
        cx.close(self.proc(), conn);
    }
}
