//! The order of a survey: what the attempt finished without having said so is found, looked at, journalled one by one; then the one end.
//!
//! A machine like [`crate::backup::Backup`]; the media agent's `attempts::survey` and the simulation do its steps. While the storage unit
//! cannot be looked at it waits and begins again, knowing what it has journalled.

use std::collections::VecDeque;
use std::time::Duration;

use outlast_proto::v1::ItemEnded;
use outlast_proto::v1::journal_event::What;
use outlast_proto::words::Counters;

use super::{Ticketed, settle};
use crate::ending::Ending;
use crate::finished::FoundItem;
use outlast_proto::words::AttemptId;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What is to be done next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Find what the attempt has finished: [`Came::Found`].
    Look,
    /// Whether the item is whole: [`Came::Sound`].
    Examine(FoundItem),
    /// Make this event durable.
    Journal(What),
    /// The storage unit, or the journal, cannot be used: for a while.
    Wait(Duration),
    /// Remove the checkpoints of this attempt and of the ones before it.
    RemoveCheckpoints,
    /// Make the end durable, however long there is no room. If that fails otherwise it is surveyed again at the next start.
    JournalEnd(Vec<What>),
    /// It has ended like this.
    Over(Ending),
}

/// What came of a step.
#[derive(Clone, Debug)]
pub enum Came {
    /// It is done.
    Done,
    /// For each item the newest, by number.
    Found(Vec<FoundItem>),
    /// Whether it can be taken over.
    Sound(bool),
    /// It could not be done now.
    Failed,
}

#[derive(Clone, Debug)]
enum Phase {
    Looking,
    Examining(FoundItem),
    Journalling(Box<ItemEnded>),
    Waiting,
    Removing(Ending, Counters),
    Ending(Ending),
}

/// The survey of an attempt that an earlier process left open.
#[derive(Clone, Debug)]
pub struct Survey {
    id: AttemptId,
    agent: String,
    /// Its items; none: it is a restore, or its ticket counts no more, and there is nothing that could be found.
    ticketed: Option<Vec<Ticketed>>,
    /// Those that ended in it.
    items: Vec<ItemEnded>,
    left: VecDeque<FoundItem>,
    pause: Duration,
    phase: Phase,
}

impl Survey {
    /// Of an attempt with these items in the journal; `agent`: who says so.
    #[must_use]
    pub fn new(agent: &str, id: AttemptId, ticketed: Option<Vec<Ticketed>>, items: Vec<ItemEnded>) -> Self {
        Self {
            id,
            agent: agent.to_owned(),
            ticketed,
            items,
            left: VecDeque::new(),
            pause: FIRST_PAUSE,
            phase: Phase::Looking,
        }
    }

    /// What is done first.
    #[must_use]
    pub fn begin(&mut self) -> Step {
        match self.ticketed {
            Some(_) => self.look(),
            None => self.settle(),
        }
    }

    /// The next step, after what came of the last one.
    #[must_use]
    pub fn next(&mut self, came: Came) -> Step {
        match (self.phase.clone(), came) {
            (Phase::Looking | Phase::Examining(_) | Phase::Journalling(_), Came::Failed) => self.wait(),
            (Phase::Looking, Came::Found(found)) => {
                self.left = found.into_iter().filter(|found| self.is_news(found)).collect();
                self.examine()
            }
            (Phase::Examining(found), Came::Sound(true)) => self.adopt(found),
            (Phase::Examining(_), _) => self.examine(),
            (Phase::Journalling(ended), _) => {
                self.items.push(*ended);
                self.examine()
            }
            (Phase::Looking | Phase::Waiting, _) => self.look(),
            (Phase::Removing(ending, counters), _) => self.end(ending, &counters),
            (Phase::Ending(ending), _) => Step::Over(ending),
        }
    }

    fn look(&mut self) -> Step {
        self.phase = Phase::Looking;
        Step::Look
    }

    fn wait(&mut self) -> Step {
        let pause = self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.phase = Phase::Waiting;
        Step::Wait(pause)
    }

    /// It was finished by this very attempt, and nobody knows.
    fn is_news(&self, found: &FoundItem) -> bool {
        let is_known = self.items.iter().any(|item| item.item == found.finished.item);
        found.of == self.id && !is_known
    }

    fn examine(&mut self) -> Step {
        let Some(found) = self.left.pop_front() else {
            return self.settle();
        };
        self.phase = Phase::Examining(found.clone());
        Step::Examine(found)
    }

    fn adopt(&mut self, found: FoundItem) -> Step {
        let ended = found.taken_over().ended();
        self.phase = Phase::Journalling(Box::new(ended.clone()));
        Step::Journal(What::ItemEnded(ended))
    }

    fn settle(&mut self) -> Step {
        let is_backup = self.ticketed.is_some();
        let ticketed = self.ticketed.as_deref().unwrap_or_default();
        let (ending, counters) = settle(&self.agent, is_backup, ticketed, &self.items);
        if let (Ending::Ended(_), true) = (&ending, is_backup) {
            self.phase = Phase::Removing(ending, counters);
            return Step::RemoveCheckpoints;
        }
        self.end(ending, &counters)
    }

    fn end(&mut self, ending: Ending, counters: &Counters) -> Step {
        let events = ending.event(counters).into_iter().collect();
        self.phase = Phase::Ending(ending);
        Step::JournalEnd(events)
    }
}

#[cfg(test)]
mod tests {
    use outlast_proto::v1::journal_event::What;
    use outlast_proto::words::{
        Attempt, AttemptId, Counters, ItemOutcome, JobId, JobNonce, SnapshotId, Timestamp, TreeId,
    };

    use super::{Came, Step, Survey};
    use crate::ending::Ending;
    use crate::finished::{Finished, FoundItem};
    use crate::survey::Ticketed;

    fn id(attempt: u32) -> AttemptId {
        AttemptId {
            job: JobId(7),
            nonce: JobNonce(1),
            attempt: Attempt(attempt),
        }
    }

    fn found(item: u32, attempt: u32) -> FoundItem {
        FoundItem {
            of: id(attempt),
            finished: Finished {
                item,
                snapshot: SnapshotId([1; 32]),
                tree: TreeId([2; 32]),
                at: Timestamp(3),
                outcome: ItemOutcome::Done,
                counters: Counters::default(),
                adopted: false,
            },
        }
    }

    fn survey(items: usize) -> Survey {
        let ticketed = vec![Ticketed::default(); items];
        Survey::new("media-1", id(2), Some(ticketed), Vec::new())
    }

    /// The items that are adopted, in order; and how it ends.
    fn run(survey: &mut Survey, mut answer: impl FnMut(&Step) -> Came) -> (Vec<u32>, Ending, bool) {
        let (mut adopted, mut removed) = (Vec::new(), false);
        let mut step = survey.begin();
        loop {
            match &step {
                Step::Journal(What::ItemEnded(ended)) => adopted.push(ended.item),
                Step::RemoveCheckpoints => removed = true,
                Step::Over(ending) => return (adopted, ending.clone(), removed),
                _ => {}
            }
            let came = answer(&step);
            step = survey.next(came);
        }
    }

    #[test]
    fn f14_what_the_attempt_itself_finished_is_adopted_and_all_of_it_makes_a_success() {
        let answer = |step: &Step| match step {
            Step::Look => Came::Found(vec![found(0, 2), found(1, 1)]),
            Step::Examine(_) => Came::Sound(true),
            _ => Came::Done,
        };
        let (adopted, ending, removed) = run(&mut survey(1), answer);
        assert_eq!(
            adopted,
            [0],
            "and nothing of an earlier attempt, which is superseded by this one"
        );
        assert!(matches!(ending, Ending::Ended(_)) && removed, "{ending:?}");
        let (adopted, ending, removed) = run(&mut survey(2), answer);
        assert_eq!(adopted, [0]);
        assert!(matches!(ending, Ending::Interrupted(_)) && !removed, "{ending:?}");
    }

    #[test]
    fn t90_f14_what_was_journalled_before_the_storage_unit_went_away_is_not_journalled_again() {
        let mut looks = 0;
        let answer = |step: &Step| match step {
            Step::Look => {
                looks += 1;
                Came::Found(vec![found(0, 2), found(1, 2)])
            }
            Step::Examine(found) if found.finished.item == 1 && looks == 1 => Came::Failed,
            Step::Examine(_) => Came::Sound(true),
            _ => Came::Done,
        };
        let (adopted, _, _) = run(&mut survey(2), answer);
        assert_eq!(adopted, [0, 1]);
    }
}
