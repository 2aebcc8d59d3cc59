//! Fences: what is to end ends, and is removed when the leader says that the next attempt has looked at it (F-04).

use std::collections::BTreeSet;

use outlast_media_core::attempt::Event;
use outlast_media_core::{AttemptId, Halt, NewRecord};
use outlast_proto::v1::{self, agent_message::Body as Up};
use outlast_proto::words::SnapshotId;

use super::{Media, PRESENCE};
use crate::journal::Then;
use crate::net::{Cx, Msg, Timer};

/// A fence that is being carried out.
pub(crate) struct Owed {
    through: AttemptId,
    keep: BTreeSet<SnapshotId>,
    only_ends: bool,
    is_durable: bool,
}

impl Media {
    pub(super) fn fence(&mut self, cx: &mut Cx, order: &v1::FenceAttempt) {
        let Ok(through) = AttemptId::of_message(order.attempt.as_ref()) else {
            return;
        };
        let Some(process) = &mut self.process else { return };
        for id in process.roster.fenced_by(through) {
            self.happens(cx, id, Event::Halt(Halt::Fenced));
        }
        let keep = order.keep_snapshots.iter();
        let keep = keep.filter_map(|id| Some(SnapshotId(id.as_ref().try_into().ok()?)));
        let owed = Owed {
            through,
            keep: keep.collect(),
            only_ends: order.only_end,
            is_durable: false,
        };
        if let Some(process) = &mut self.process {
            process.fences.push(owed);
        }
        let at = cx.clock(self.proc());
        let record = NewRecord::Fenced { id: through, at };
        self.append(cx, vec![record], Then::Fenced(through));
    }

    pub(super) fn fence_is_durable(&mut self, cx: &mut Cx, id: AttemptId) {
        let Some(process) = &mut self.process else { return };
        let fences = process.fences.iter_mut().filter(|owed| owed.through == id);
        fences.for_each(|owed| owed.is_durable = true);
        self.carry_out_fences(cx);
    }

    /// Those whose attempts have all ended.
    fn carry_out_fences(&mut self, cx: &mut Cx) {
        let Some(process) = &mut self.process else { return };
        let runs = &process.runs;
        let is_over = |owed: &mut Owed| owed.is_durable && !runs.keys().any(|id| id.is_through(owed.through));
        let over: Vec<Owed> = process.fences.extract_if(.., is_over).collect();
        let conn = process.session.as_ref().map(|session| session.conn);
        for owed in over.into_iter().filter(|owed| !owed.only_ends) {
            cx.unit.remove_fenced(owed.through, &owed.keep);
            if let Some(conn) = conn {
                let attempt = Some(owed.through.to_ref());
                cx.send(self.proc(), conn, Msg::Up(Up::Fenced(v1::Fenced { attempt })));
            }
        }
    }

    /// Says that it is there.
    pub(super) fn presence(&mut self, cx: &mut Cx) {
        let me = self.proc();
        let session = self.process.as_ref().and_then(|process| process.session.as_ref());
        if let Some(session) = session.filter(|session| session.delivery.is_some()) {
            cx.send(me, session.conn, Msg::Up(Up::Presence(v1::Presence::default())));
        }
        cx.timer(me, PRESENCE, Timer::Presence);
        self.carry_out_fences(cx);
    }
}
