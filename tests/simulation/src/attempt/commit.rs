//! An item becomes final: pack, index, snapshot, journal, each durable before the next.

use outlast_media_core::AttemptId;
use outlast_proto::v1;
use outlast_proto::v1::journal_event::What;
use outlast_proto::words::{Counters, SnapshotId};

use super::Phase;
use super::items::item_ended;
use crate::journal::Then;
use crate::media::Media;
use crate::net::Cx;
use crate::storage::{Kind, Snap};

impl Media {
    pub(super) fn pack(&mut self, cx: &mut Cx, id: AttemptId, item: u32, exceptions: u64) {
        let pack = cx.fresh();
        cx.unit.write_pack(self.n, pack);
        let phase = Phase::Indexing {
            item,
            exceptions,
            pack,
        };
        self.go_to(cx, id, phase);
    }

    pub(super) fn index(&mut self, cx: &mut Cx, id: AttemptId, item: u32, exceptions: u64, pack: u64) {
        self.sync(cx);
        cx.unit.write_index(self.n, pack);
        let phase = Phase::Snapping {
            item,
            exceptions,
            pack,
        };
        self.go_to(cx, id, phase);
    }

    pub(super) fn snap(&mut self, cx: &mut Cx, id: AttemptId, item: u32, exceptions: u64, pack: u64) {
        let counters = Counters {
            files: 3,
            bytes: 5,
            exceptions,
            ..Counters::default()
        };
        let snap = Snap {
            id,
            item,
            kind: Kind::Item,
            counters,
            packs: vec![pack],
        };
        let number = cx.fresh();
        self.sync(cx);
        let snapshot = cx.unit.write_snapshot(self.n, number, snap);
        let phase = Phase::Snapped {
            item,
            snapshot,
            counters,
        };
        self.go_to(cx, id, phase);
    }

    /// What is in the repository by now is there for good.
    pub(super) fn sync(&self, cx: &mut Cx) {
        cx.unit.sync(self.n, cx.mistakes.no_pack_sync);
    }

    pub(super) fn journal_item(
        &mut self,
        cx: &mut Cx,
        id: AttemptId,
        item: u32,
        snapshot: SnapshotId,
        counters: Counters,
    ) {
        self.sync(cx);
        let number = cx.fresh();
        let mut events = Vec::new();
        if counters.exceptions > 0 {
            let exceptions = (0..counters.exceptions).map(|n| v1::FileException {
                path: format!("file {number}/{n}"),
                reason: "in use".into(),
            });
            let found = v1::ExceptionsFound {
                item,
                exceptions: exceptions.collect(),
            };
            events.push(self.event(cx, id, What::Exceptions(found)));
        }
        events.push(self.event(cx, id, item_ended(item, snapshot, &counters, false)));
        if let Some(run) = self.run(id) {
            run.tally.finished(&counters);
            run.phase = Phase::Committing { item };
        }
        self.append(cx, events, Then::Advance(id));
    }
}
