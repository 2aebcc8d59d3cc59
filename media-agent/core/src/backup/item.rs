//! An item from its beginning to its end: the client's word, everything stored and indexed, another look, the snapshot, the journal,
//! and only then a word to the client (S-14). What went missing meanwhile, only the client has: then it is walked again.

use std::ops::ControlFlow;

use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{ItemCommitted, ItemStarted, JobError};
use outlast_proto::words::{Counters, ItemOutcome, TreeId};

use super::save::Saving;
use super::{Backup, Came, Phase, Snapshot, Step};
use crate::attempt::Course;
use crate::ending::End;
use crate::finished::{Finished, failed};

/// So often an item is walked in one attempt, if damage comes that touches what it relies on.
pub const MOST_WALKS: u32 = 3;

/// The item that is worked on.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) number: u32,
    /// How often it was begun.
    walks: u32,
    /// Once its tree is finished.
    tree: TreeId,
    counters: Counters,
}

/// How far an item is.
#[derive(Clone, Debug)]
pub(super) enum ItemStep {
    JournallingStart,
    Beginning,
    Receiving,
    Settling,
    FinishingTree,
    Flushing,
    LookingAgain,
    SayingAgain,
    NamingExceptions(What),
    Saving(Saving),
    JournallingEnd(ItemCommitted),
    Telling,
}

impl Backup {
    pub(super) fn begin_item(&mut self, number: u32) -> Step {
        self.tally.begin();
        self.exceptions.begin_item();
        let item = Item {
            number,
            walks: 0,
            tree: TreeId([0; 32]),
            counters: Counters::default(),
        };
        let started = What::ItemStarted(ItemStarted { item: number });
        let phase = Phase::Item(item, ItemStep::JournallingStart);
        self.go_to(phase, Step::Journal(vec![started]))
    }

    pub(super) fn follow_item(&mut self, mut item: Item, step: ItemStep, came: Came) -> Step {
        match (step, came) {
            (ItemStep::JournallingStart | ItemStep::SayingAgain, _) => {
                item.walks += 1;
                let step = Step::Begin(item.number);
                self.go_to(Phase::Item(item, ItemStep::Beginning), step)
            }
            (ItemStep::Beginning | ItemStep::Receiving | ItemStep::FinishingTree, Came::Failed(error)) => {
                self.item_failed(&item, error)
            }
            (ItemStep::Beginning, _) => self.receive(item),
            (ItemStep::Receiving, Came::CheckpointDue) => self.begin_checkpoint(item),
            (ItemStep::Receiving, _) => self.go_to(Phase::Item(item, ItemStep::Settling), Step::Settle),
            (ItemStep::Settling, _) => {
                self.go_to(Phase::Item(item, ItemStep::FinishingTree), Step::FinishTree)
            }
            (ItemStep::FinishingTree, Came::Tree { tree, counters }) => {
                let exceptions = self.exceptions.count_of_item();
                item.counters = Counters {
                    exceptions,
                    ..counters
                };
                item.tree = tree;
                self.go_to(Phase::Item(item, ItemStep::Flushing), Step::Flush)
            }
            (ItemStep::Flushing, _) => self.go_to(Phase::Item(item, ItemStep::LookingAgain), Step::LookAgain),
            (ItemStep::LookingAgain, Came::Suffers { fault, .. }) if item.walks >= MOST_WALKS => {
                Step::Over(Err(End::Fault(fault)))
            }
            (ItemStep::LookingAgain, Came::Suffers { said, .. }) => {
                self.exceptions.begin_item_again();
                self.go_to(
                    Phase::Item(item, ItemStep::SayingAgain),
                    Step::Journal(vec![said]),
                )
            }
            (ItemStep::LookingAgain, _) => self.name_exceptions(item),
            (ItemStep::NamingExceptions(_), Came::Done) => self.save_item(item),
            (ItemStep::NamingExceptions(named), _) => self.name_later(item, named),
            (ItemStep::JournallingEnd(committed), _) => {
                self.go_to(Phase::Item(item, ItemStep::Telling), Step::Tell(committed))
            }
            (ItemStep::Telling, _) => self.next_item(),
            (ItemStep::FinishingTree | ItemStep::Saving(_), _) => Step::Over(Err(super::out_of_turn())),
        }
    }

    /// The client goes on with the item. Of one that is to leave nothing has come since the last checkpoint, or nothing that one could be made of.
    pub(super) fn receive(&mut self, item: Item) -> Step {
        if self.course == Course::Leave {
            return self.leave();
        }
        self.go_to(Phase::Item(item, ItemStep::Receiving), Step::Receive)
    }

    /// Before the snapshot, which says only how many there are: whoever finds it after a crash takes the item over (S-02).
    fn name_exceptions(&mut self, item: Item) -> Step {
        match self.exceptions.take(item.number) {
            Some(named) => {
                let phase = Phase::Item(item, ItemStep::NamingExceptions(named.clone()));
                self.go_to(phase, Step::JournalIfRoom(named))
            }
            None => self.save_item(item),
        }
    }

    /// A journal that cannot take them now does not keep the item from being final: they go with its end.
    pub(super) fn name_later(&mut self, item: Item, named: What) -> Step {
        self.unnamed = Some(named);
        self.save_item(item)
    }

    fn save_item(&mut self, item: Item) -> Step {
        let phase = Phase::Item(item, ItemStep::Saving(Saving::Checking));
        self.go_to(phase, Step::CheckLock)
    }

    pub(super) fn saving_item(&mut self, item: Item, saving: Saving, came: Result<Came, End>) -> Step {
        let outcome = if item.counters.exceptions > 0 {
            ItemOutcome::DoneWithExceptions
        } else {
            ItemOutcome::Done
        };
        let snapshot = Snapshot::Item {
            item: item.number,
            outcome,
            counters: item.counters,
        };
        let (snapshot, at) = match saving.next(snapshot, came) {
            ControlFlow::Break(saved) => saved,
            ControlFlow::Continue((saving, step)) => {
                return self.go_to(Phase::Item(item, ItemStep::Saving(saving)), step);
            }
        };
        let finished = Finished {
            item: item.number,
            snapshot,
            tree: item.tree,
            at,
            outcome,
            counters: item.counters,
            adopted: false,
        };
        self.tally.finished(&finished.counters);
        self.finished.push((item.number, snapshot));
        self.has_looked = true;
        let committed = ItemCommitted {
            item: item.number,
            snapshot: snapshot.to_wire(),
        };
        self.journal_end(item, What::ItemEnded(finished.ended()), committed)
    }

    /// The next item runs (S-02a).
    fn item_failed(&mut self, item: &Item, error: JobError) -> Step {
        self.tally.failed(&error, self.exceptions.count());
        self.has_looked = false;
        let committed = ItemCommitted {
            item: item.number,
            ..ItemCommitted::default()
        };
        let ended = What::ItemEnded(failed(item.number, error));
        self.journal_end(item.clone(), ended, committed)
    }

    /// Its exceptions and its end, in one piece.
    fn journal_end(&mut self, item: Item, ended: What, committed: ItemCommitted) -> Step {
        let mut events: Vec<What> = self.unnamed.take().into_iter().collect();
        events.extend(self.exceptions.take(item.number));
        events.push(ended);
        let phase = Phase::Item(item, ItemStep::JournallingEnd(committed));
        self.go_to(phase, Step::Journal(events))
    }
}
