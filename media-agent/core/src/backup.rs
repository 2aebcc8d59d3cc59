//! The order of a backup's work: what earlier attempts finished, then item by item content, index, snapshot, journal (F-05, F-08, S-14).
//!
//! A machine: [`Backup::next`] takes what came of the last step and says the next one. What a step is made of, and how long it takes, is
//! its caller's: the media agent's `backup::engine` does it with the real repository, the simulation with a model of one. `save` is
//! how a snapshot comes into being, `checkpoint` one in the middle of an item, `item` an item from its beginning to its end.

mod checkpoint;
mod item;
mod save;

use std::collections::VecDeque;
use std::ops::ControlFlow;

use outlast_proto::v1::attempt_surveyed::Found;
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{AttemptSurveyed, FileException, ItemCommitted, JobError};
use outlast_proto::words::{Counters, ItemOutcome, SnapshotId, StatusCode, Timestamp, TreeId};

use crate::attempt::Course;
use crate::ending::{Done, End};
use crate::exceptions::ExceptionLog;
use crate::fault::Fault;
use crate::finished::{Finished, FoundItem};
use crate::survey::{Ticketed, has_predecessors};
use crate::tally::Tally;
use outlast_proto::words::AttemptId;

use checkpoint::CheckpointStep;
pub use item::MOST_WALKS;
use item::{Item, ItemStep};
use save::Saving;

/// What is to be done next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Make the index whole as far as packs are there, and say what is damaged.
    MendIndex,
    /// Find what the job's attempts have finished: [`Came::Found`].
    Look,
    /// Whether the item that was found is whole: [`Came::Sound`].
    Examine(FoundItem),
    /// The lock is to hold.
    CheckLock,
    /// Write a snapshot, under its final name: [`Came::Saved`].
    Save(Snapshot),
    /// Take a snapshot back that was written while the lock was lost.
    TakeBack(SnapshotId),
    /// Make these events durable, however long there is no room.
    Journal(Vec<What>),
    /// The same for one that can be done without: [`Came::NoRoom`].
    JournalIfRoom(What),
    /// Remove a checkpoint. It does not matter if that fails.
    Remove(SnapshotId),
    /// Prepare the walk through an item and tell the client to begin it, or why that cannot be: [`Came::Failed`].
    Begin(u32),
    /// Follow the client: [`Came::ItemEnd`], [`Came::Failed`] or [`Came::CheckpointDue`], which comes at once when it is to leave.
    Receive,
    /// Wait for the chunks that were asked for, if a checkpoint is worth it: [`Came::NotNow`].
    AwaitChunks,
    /// Everything that came is stored.
    Settle,
    /// Store the trees of an item that is not finished: [`Came::Tree`], or [`Came::NotNow`].
    SavePartial {
        /// So many exceptions it has.
        exceptions: u64,
    },
    /// Store the last trees of an item: [`Came::Tree`] or [`Came::Failed`].
    FinishTree,
    /// Packs are written, then an index file that names them.
    Flush,
    /// Whether everything is there still that the item relies on, [`Came::Suffers`] if not.
    LookAgain,
    /// Tell the client that an item is over.
    Tell(ItemCommitted),
    /// Look what is there, once more at the end. It does not matter if that fails.
    LookAtEnd,
    /// What is missing by now of these: [`Came::Missing`].
    LookAtFinished(Vec<(u32, SnapshotId)>),
    /// Nothing follows.
    Over(Result<Done, End>),
}

/// Which snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Snapshot {
    /// Of what an earlier attempt finished, under this attempt's name: a fence may yet remove the other.
    Adopted(FoundItem),
    /// Of an item, with the tree that was finished last.
    Item {
        /// Which.
        item: u32,
        /// Its tags say so, too.
        outcome: ItemOutcome,
        /// Its tags say so, too.
        counters: Counters,
    },
    /// From which a later attempt can go on, with the tree that was finished last.
    Checkpoint {
        /// Of which item.
        item: u32,
        /// How many were made before.
        number: u32,
    },
}

/// What came of a step.
#[derive(Clone, Debug)]
pub enum Came {
    /// It is done.
    Done,
    /// For each item the newest, by number.
    Found(Vec<FoundItem>),
    /// Whether it can be taken over. If not, its damage is said already.
    Sound(bool),
    /// The snapshot has its name.
    Saved {
        /// Which it is.
        snapshot: SnapshotId,
        /// As it says.
        at: Timestamp,
    },
    /// The journal's disk is full.
    NoRoom,
    /// The client has ended the item.
    ItemEnd,
    /// The item cannot be backed up, or its client could not read it. The next one runs.
    Failed(JobError),
    /// A checkpoint is due.
    CheckpointDue,
    /// No checkpoint this time.
    NotNow,
    /// A root, and the item's numbers with it.
    Tree {
        /// The root.
        tree: TreeId,
        /// What was done.
        counters: Counters,
    },
    /// Something the item relies on is gone: only its client has it.
    Suffers {
        /// What is said before it is walked again.
        said: What,
        /// What the attempt ends with if this comes again and again.
        fault: Fault,
    },
    /// Exceptions of finished items.
    Missing(Vec<(u32, FileException)>),
}

/// Where a backup is.
#[derive(Clone, Debug)]
enum Phase {
    Begins,
    Mending,
    Looking,
    Examining(FoundItem),
    /// If everything is there this is what it comes to.
    JournallingSurvey(Option<Done>),
    Adopting(FoundItem, Saving),
    JournallingAdopted,
    Item(Item, ItemStep),
    Checkpoint(Item, CheckpointStep),
    LookingAtEnd,
    LookingAtFinished,
    JournallingMissing(VecDeque<What>),
    Over,
}

/// A backup under way.
#[derive(Clone, Debug)]
pub struct Backup {
    id: AttemptId,
    items: Vec<Ticketed>,
    phase: Phase,
    /// What it was told.
    course: Course,
    /// An attempt before it has no history yet: what that left is to be told (F-14).
    surveys: bool,
    /// What was found and not looked at yet.
    found: VecDeque<FoundItem>,
    /// What of it is whole and not taken over yet.
    left: VecDeque<FoundItem>,
    /// Items that are finished: taken over, or in this attempt.
    finished: Vec<(u32, SnapshotId)>,
    /// From which the first item goes on that is not whole.
    checkpoint: Option<SnapshotId>,
    /// The next item to be looked at.
    next_item: u32,
    left_out: usize,
    /// The storage unit was looked at for the item before.
    has_looked: bool,
    tally: Tally,
    exceptions: ExceptionLog,
    /// Exceptions of the item that found no room before its snapshot.
    unnamed: Option<What>,
    /// Checkpoints that are there, the oldest first.
    kept: VecDeque<SnapshotId>,
    /// How many were made.
    made: u32,
}

impl Backup {
    /// One that has not begun; `items` as the ticket has them. `surveys`: an attempt before it has no history yet.
    #[must_use]
    pub fn new(id: AttemptId, items: Vec<Ticketed>, surveys: bool) -> Self {
        Self {
            id,
            items,
            surveys,
            left: VecDeque::new(),
            phase: Phase::Begins,
            course: Course::On,
            found: VecDeque::new(),
            finished: Vec::new(),
            checkpoint: None,
            next_item: 0,
            left_out: 0,
            has_looked: false,
            tally: Tally::default(),
            exceptions: ExceptionLog::default(),
            unnamed: None,
            kept: VecDeque::new(),
            made: 0,
        }
    }

    /// Which checkpoint was found with what [`Step::Look`] looks for: the survey tells it.
    pub fn goes_on_from(&mut self, checkpoint: Option<SnapshotId>) {
        self.checkpoint = checkpoint;
    }

    /// What is done first.
    #[must_use]
    pub fn begin(&mut self) -> Step {
        self.phase = Phase::Mending;
        Step::MendIndex
    }

    /// The next step, after what came of the last one, and with what it is told now.
    #[must_use]
    pub fn next(&mut self, came: Result<Came, End>, course: Course) -> Step {
        self.course = course;
        match (std::mem::replace(&mut self.phase, Phase::Over), came) {
            (Phase::Adopting(found, saving), came) => self.adopting(found, saving, came),
            (Phase::Item(item, ItemStep::Saving(saving)), came) => self.saving_item(item, saving, came),
            (Phase::Checkpoint(item, CheckpointStep::Saving(saving)), came) => {
                self.saving_checkpoint(item, saving, came)
            }
            (Phase::Item(item, ItemStep::NamingExceptions(named)), Err(_)) => self.name_later(item, named),
            (_, Err(end)) => Step::Over(Err(end)),
            (phase, Ok(came)) => self.follow(phase, came),
        }
    }

    /// What the items come to so far that are over.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.tally.counters
    }

    /// Something of the item could not be kept; what is to be journalled at once.
    pub fn except(&mut self, exception: FileException) -> Option<What> {
        let item = self.item()?;
        self.exceptions.add(exception);
        self.exceptions.take_batch(item)
    }

    /// What could not be kept so far.
    #[must_use]
    pub fn exceptions(&self) -> &ExceptionLog {
        &self.exceptions
    }

    fn item(&self) -> Option<u32> {
        match &self.phase {
            Phase::Item(item, _) | Phase::Checkpoint(item, _) => Some(item.number),
            _ => None,
        }
    }

    fn go_to(&mut self, phase: Phase, step: Step) -> Step {
        self.phase = phase;
        step
    }

    fn follow(&mut self, phase: Phase, came: Came) -> Step {
        match (phase, came) {
            (Phase::Mending, _) => self.look(),
            (Phase::Looking, Came::Found(found)) => {
                let is_open = |found: &FoundItem| {
                    let item = self.items.get(found.finished.item as usize);
                    item.is_some_and(|item| !item.finished)
                };
                self.found = found.into_iter().filter(is_open).collect();
                self.examine()
            }
            (Phase::Examining(found), Came::Sound(true)) => {
                self.left.push_back(found);
                self.examine()
            }
            (Phase::Examining(_), _) => self.examine(),
            (Phase::JournallingSurvey(Some(done)), _) => Step::Over(Ok(done)),
            (Phase::JournallingSurvey(None) | Phase::JournallingAdopted, _) => self.take_over(),
            (Phase::Item(item, step), came) => self.follow_item(item, step, came),
            (Phase::Checkpoint(item, step), came) => self.follow_checkpoint(item, step, came),
            (Phase::LookingAtEnd, _) => self.look_at_finished(),
            (Phase::LookingAtFinished, Came::Missing(missing)) => self.except_finished(missing),
            (Phase::JournallingMissing(left), _) => self.journal_missing(left),
            (
                Phase::Begins | Phase::Looking | Phase::LookingAtFinished | Phase::Adopting(..) | Phase::Over,
                _,
            ) => Step::Over(Err(out_of_turn())),
        }
    }

    /// Attempt 1 has nobody before it, and a list of many snapshots takes its time.
    fn look(&mut self) -> Step {
        if has_predecessors(self.id.attempt) {
            return self.go_to(Phase::Looking, Step::Look);
        }
        self.tell_survey()
    }

    fn examine(&mut self) -> Step {
        match self.found.pop_front() {
            Some(found) => self.go_to(Phase::Examining(found.clone()), Step::Examine(found)),
            None => self.tell_survey(),
        }
    }

    /// Says what there is, if an attempt before this one has no history yet (F-14). If all items are there the one before has ended with
    /// them, and this one does not begin: its result is what they came to.
    fn tell_survey(&mut self) -> Step {
        if !self.surveys {
            return self.take_over();
        }
        let is_left = |number: u32| self.left.iter().any(|left| left.finished.item == number);
        let complete = (0..)
            .zip(&self.items)
            .all(|(number, item)| item.finished || is_left(number));
        let found = self.left.iter().map(|left| Found {
            attempt: left.of.attempt.0,
            item: Some(
                Finished {
                    adopted: true,
                    ..left.finished.clone()
                }
                .ended(),
            ),
        });
        let surveyed = What::Surveyed(AttemptSurveyed {
            found: found.collect(),
            complete,
            checkpoint: self
                .checkpoint
                .map(|id| bytes::Bytes::copy_from_slice(&id.0))
                .unwrap_or_default(),
        });
        let done = complete.then(|| self.what_is_left());
        let phase = Phase::JournallingSurvey(done);
        self.go_to(phase, Step::Journal(vec![surveyed]))
    }

    fn what_is_left(&self) -> Done {
        let mut tally = Tally::default();
        for item in self.items.iter().filter(|item| item.finished) {
            tally.finished_before(item.with_exceptions);
        }
        for left in &self.left {
            tally.finished(&left.finished.counters);
        }
        tally.done(false, 0)
    }

    fn take_over(&mut self) -> Step {
        match self.left.pop_front() {
            Some(found) => self.adopt(found),
            None => self.next_item(),
        }
    }

    /// An item of this attempt is taken over as it is.
    fn adopt(&mut self, found: FoundItem) -> Step {
        if found.of == self.id {
            return self.journal_adopted(found.taken_over());
        }
        self.go_to(Phase::Adopting(found, Saving::Checking), Step::CheckLock)
    }

    fn adopting(&mut self, found: FoundItem, saving: Saving, came: Result<Came, End>) -> Step {
        let snapshot = Snapshot::Adopted(found.clone());
        match saving.next(snapshot, came) {
            ControlFlow::Break((snapshot, _)) => {
                let mut finished = found.taken_over();
                finished.snapshot = snapshot;
                self.journal_adopted(finished)
            }
            ControlFlow::Continue((saving, step)) => self.go_to(Phase::Adopting(found, saving), step),
        }
    }

    fn journal_adopted(&mut self, finished: Finished) -> Step {
        self.tally.finished(&finished.counters);
        self.finished.push((finished.item, finished.snapshot));
        let events = vec![What::ItemEnded(finished.ended())];
        self.go_to(Phase::JournallingAdopted, Step::Journal(events))
    }

    fn next_item(&mut self) -> Step {
        while let Some(ticketed) = self.items.get(self.next_item as usize).copied() {
            let number = self.next_item;
            self.next_item += 1;
            if ticketed.finished {
                self.tally.finished_before(ticketed.with_exceptions);
            } else if self.finished.iter().any(|(finished, _)| *finished == number) {
                // Taken over.
            } else {
                match self.course {
                    Course::On => return self.begin_item(number),
                    Course::StopGracefully => self.left_out += 1,
                    Course::Leave => return self.leave(),
                }
            }
        }
        if self.has_looked || self.finished.is_empty() {
            return self.look_at_finished();
        }
        self.go_to(Phase::LookingAtEnd, Step::LookAtEnd)
    }

    /// What went missing of finished items while others were backed up is not passed over in silence.
    fn look_at_finished(&mut self) -> Step {
        if self.finished.is_empty() {
            return self.over();
        }
        let step = Step::LookAtFinished(self.finished.clone());
        self.go_to(Phase::LookingAtFinished, step)
    }

    fn except_finished(&mut self, missing: Vec<(u32, FileException)>) -> Step {
        let mut events = VecDeque::new();
        for (item, exception) in missing {
            self.exceptions.add(exception);
            self.tally.counters.exceptions += 1;
            events.extend(self.exceptions.take(item));
        }
        self.journal_missing(events)
    }

    fn journal_missing(&mut self, mut left: VecDeque<What>) -> Step {
        match left.pop_front() {
            Some(event) => self.go_to(Phase::JournallingMissing(left), Step::Journal(vec![event])),
            None => self.over(),
        }
    }

    fn over(&mut self) -> Step {
        let is_stopping = self.course == Course::StopGracefully;
        let done = self.tally.clone().done(is_stopping, self.left_out);
        Step::Over(Ok(done))
    }

    /// What is finished is final, and of the rest there is a checkpoint if anything came of it (C-08b).
    fn leave(&mut self) -> Step {
        self.phase = Phase::Over;
        Step::Over(Err(End::Left))
    }
}

/// Whoever does the steps answers another one.
fn out_of_turn() -> End {
    End::Fault(Fault::new(
        StatusCode::STORAGE_WRITE_ERROR,
        "the media agent failed: a step of the backup came out of turn; report this",
    ))
}

#[cfg(test)]
mod tests;
