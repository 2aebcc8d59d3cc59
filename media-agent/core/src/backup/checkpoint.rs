//! A checkpoint in the middle of an item: everything stored and indexed, the snapshot, the journal (F-05). Nothing is lost with one.

use std::ops::ControlFlow;

use outlast_proto::v1::CheckpointMade;
use outlast_proto::v1::journal_event::What;
use outlast_proto::words::{Counters, SnapshotId};

use super::item::Item;
use super::save::Saving;
use super::{Backup, Came, Phase, Snapshot, Step};
use crate::ending::End;

/// One that cannot be read costs no more than the time since the one before.
const KEPT: usize = 2;

/// How far one is.
#[derive(Clone, Debug)]
pub(super) enum CheckpointStep {
    Awaiting,
    Settling,
    SavingPartial,
    Flushing(Counters),
    Saving(Making),
    Journalling(SnapshotId),
    Removing,
}

/// Its snapshot is being written.
#[derive(Clone, Debug)]
pub(super) struct Making {
    saving: Saving,
    counters: Counters,
}

impl Backup {
    pub(super) fn begin_checkpoint(&mut self, item: Item) -> Step {
        let phase = Phase::Checkpoint(item, CheckpointStep::Awaiting);
        self.go_to(phase, Step::AwaitChunks)
    }

    pub(super) fn follow_checkpoint(&mut self, item: Item, step: CheckpointStep, came: Came) -> Step {
        match (step, came) {
            (CheckpointStep::Awaiting | CheckpointStep::SavingPartial, Came::NotNow) => self.receive(item),
            (CheckpointStep::Awaiting, _) => {
                self.go_to(Phase::Checkpoint(item, CheckpointStep::Settling), Step::Settle)
            }
            (CheckpointStep::Settling, _) => {
                let exceptions = self.exceptions.count_of_item();
                let phase = Phase::Checkpoint(item, CheckpointStep::SavingPartial);
                self.go_to(phase, Step::SavePartial { exceptions })
            }
            (CheckpointStep::SavingPartial, Came::Tree { counters, .. }) => {
                let exceptions = self.exceptions.count_of_item();
                let counters = Counters {
                    exceptions,
                    ..counters
                };
                let phase = Phase::Checkpoint(item, CheckpointStep::Flushing(counters));
                self.go_to(phase, Step::Flush)
            }
            (CheckpointStep::Flushing(counters), _) => {
                let saving = Saving::Checking;
                let making = CheckpointStep::Saving(Making { saving, counters });
                self.go_to(Phase::Checkpoint(item, making), Step::CheckLock)
            }
            // The disk may have room again before something has to be written that matters.
            (CheckpointStep::Journalling(snapshot), Came::NoRoom) => self.remove(item, snapshot),
            (CheckpointStep::Journalling(snapshot), _) => {
                self.kept.push_back(snapshot);
                self.keep_some(item)
            }
            (CheckpointStep::Removing, _) => self.keep_some(item),
            (CheckpointStep::SavingPartial | CheckpointStep::Saving(_), _) => {
                Step::Over(Err(super::out_of_turn()))
            }
        }
    }

    pub(super) fn saving_checkpoint(&mut self, item: Item, making: Making, came: Result<Came, End>) -> Step {
        let Making { saving, counters } = making;
        let snapshot = Snapshot::Checkpoint {
            item: item.number,
            number: self.made,
        };
        match saving.next(snapshot, came) {
            ControlFlow::Break((snapshot, _)) => {
                self.made += 1;
                let made = What::Checkpoint(CheckpointMade {
                    snapshot: snapshot.to_wire(),
                    item: item.number,
                    counters: Some(counters.into()),
                });
                let phase = Phase::Checkpoint(item, CheckpointStep::Journalling(snapshot));
                self.go_to(phase, Step::JournalIfRoom(made))
            }
            ControlFlow::Continue((saving, step)) => {
                let making = CheckpointStep::Saving(Making { saving, counters });
                self.go_to(Phase::Checkpoint(item, making), step)
            }
        }
    }

    /// The end of the attempt removes what is left.
    fn keep_some(&mut self, item: Item) -> Step {
        if self.kept.len() > KEPT
            && let Some(oldest) = self.kept.pop_front()
        {
            return self.remove(item, oldest);
        }
        self.receive(item)
    }

    fn remove(&mut self, item: Item, snapshot: SnapshotId) -> Step {
        let phase = Phase::Checkpoint(item, CheckpointStep::Removing);
        self.go_to(phase, Step::Remove(snapshot))
    }
}
