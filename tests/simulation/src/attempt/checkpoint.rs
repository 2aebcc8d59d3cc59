//! A checkpoint in the middle of an item: packs, index, snapshot, journal, in the product's order; meanwhile nothing is taken from the
//! client. The attempt that ends the job removes what there is of it before it journals its end.

use outlast_media_core::{AttemptId, End};
use outlast_proto::v1;
use outlast_proto::v1::journal_event::What;
use outlast_proto::words::{Counters, SnapshotId};

use super::Phase;
use crate::journal::Then;
use crate::media::Media;
use crate::net::Cx;
use crate::storage::{Kind, Snap};

/// At so many of a hundred messages one is due.
const OFTEN: u64 = 4;

pub(super) fn is_due(cx: &mut Cx) -> bool {
    cx.rng.percent(OFTEN)
}

/// How far one is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    Packing,
    Indexing { pack: u64 },
    Snapping { pack: u64 },
    Snapped { snapshot: SnapshotId },
    Journalled,
}

impl Media {
    pub(super) fn begin_checkpoint(&mut self, cx: &mut Cx, id: AttemptId, item: u32, exceptions: u64) {
        let stage = Stage::Packing;
        let phase = Phase::Checkpoint {
            item,
            exceptions,
            stage,
        };
        self.go_to(cx, id, phase);
    }

    /// The next step of a checkpoint of an item with so many exceptions by now.
    pub(super) fn checkpoint(
        &mut self,
        cx: &mut Cx,
        id: AttemptId,
        (item, exceptions): (u32, u64),
        stage: Stage,
    ) {
        let next = match stage {
            Stage::Packing => {
                let pack = cx.fresh();
                cx.unit.write_pack(self.n, pack);
                Stage::Indexing { pack }
            }
            Stage::Indexing { pack } => {
                self.sync(cx);
                cx.unit.write_index(self.n, pack);
                Stage::Snapping { pack }
            }
            Stage::Snapping { pack } => {
                let number = cx.fresh();
                self.sync(cx);
                if let Some(run) = self.run(id) {
                    run.made_checkpoints = true;
                }
                let snap = Snap {
                    id,
                    item,
                    kind: Kind::Checkpoint,
                    counters: Counters::default(),
                    packs: vec![pack],
                };
                let snapshot = cx.unit.write_snapshot(self.n, number, snap);
                Stage::Snapped { snapshot }
            }
            Stage::Snapped { snapshot } => {
                return self.journal_checkpoint(cx, id, (item, exceptions), snapshot);
            }
            Stage::Journalled => return self.resume(cx, id, item, exceptions),
        };
        let stage = next;
        let phase = Phase::Checkpoint {
            item,
            exceptions,
            stage,
        };
        self.go_to(cx, id, phase);
    }

    fn journal_checkpoint(
        &mut self,
        cx: &mut Cx,
        id: AttemptId,
        (item, exceptions): (u32, u64),
        snapshot: SnapshotId,
    ) {
        self.sync(cx);
        let made = What::Checkpoint(v1::CheckpointMade {
            snapshot: snapshot.to_wire(),
            item,
            counters: None,
        });
        let stage = Stage::Journalled;
        if let Some(run) = self.run(id) {
            run.phase = Phase::Checkpoint {
                item,
                exceptions,
                stage,
            };
        }
        let made = self.event(cx, id, made);
        self.append(cx, vec![made], Then::Advance(id));
    }

    /// Goes on with the item.
    fn resume(&mut self, cx: &mut Cx, id: AttemptId, item: u32, exceptions: u64) {
        let Some(run) = self.run(id) else { return };
        run.phase = Phase::Receiving { item, exceptions };
        if run.is_halted() {
            return self.finish(cx, id, Err(End::Halted));
        }
        self.work(cx, id);
    }
}
