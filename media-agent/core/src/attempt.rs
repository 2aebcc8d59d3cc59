//! The life of one attempt: what comes after what, from the order or the client's stream to the one end (F-04, R-02, R-03, S-12).
//!
//! A machine: what happened goes into [`Attempt::handle`], what is to be done comes out, one thing that takes time after the other.
//! Time comes in; when nothing else happens it wants to be woken at [`Attempt::deadline`]. What is done, and how, is the media agent's
//! `attempts::conduct`, and the simulation's. The order within the work is [`crate::backup`]'s.

mod events;
mod told;

use std::collections::BTreeSet;
use std::time::Duration;

use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{AttemptOver, Stopped};
use outlast_proto::words::{Counters, Interruption, StatusCode};

use crate::contact;
use crate::ending::{Done, End, Ending, Halt};
use crate::fault::Fault;
use crate::survey::has_predecessors;
use outlast_proto::words::AttemptId;

pub use events::{Command, Event, Terms, Worked};
pub use told::{Course, Told};

/// Pauses between tries to get a lock that somebody else has.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Where an attempt is.
#[derive(Clone, Debug)]
enum Phase {
    /// Superseded ones are still ending.
    After(BTreeSet<AttemptId>),
    Preparing,
    /// Somebody else has the storage unit.
    Locked {
        again: Duration,
    },
    Client {
        until: Option<Duration>,
    },
    Marking,
    Working,
    /// Before the end is journalled: a crash in between costs checkpoints that nobody needs, and leaves none behind.
    Removing(Ending),
    Remembering(Ending),
    Journalling(Ending),
    Releasing(Option<AttemptOver>),
    Over,
}

/// One attempt under way.
#[derive(Clone, Debug)]
pub struct Attempt {
    terms: Terms,
    phase: Phase,
    told: Told,
    lost_at: Option<Duration>,
    grace: Duration,
    /// The journal's word: it may do without a primary.
    is_resilient: bool,
    lock: LockWait,
    is_prepared: bool,
    /// For the last event.
    counters: Counters,
    unwritten: Vec<What>,
    made_checkpoints: bool,
}

/// Somebody else has the storage unit.
#[derive(Clone, Debug, Default)]
struct LockWait {
    until: Duration,
    pause: Duration,
    by: Option<String>,
}

impl Attempt {
    /// One that has not begun, with the contact as it is now.
    #[must_use]
    pub fn new(terms: Terms, lost_at: Option<Duration>, grace: Duration) -> Self {
        Self {
            phase: Phase::After(terms.predecessors.clone()),
            terms,
            told: Told::default(),
            lost_at,
            grace,
            is_resilient: false,
            lock: LockWait::default(),
            is_prepared: false,
            counters: Counters::default(),
            unwritten: Vec::new(),
            made_checkpoints: false,
        }
    }

    /// What is done first.
    #[must_use]
    pub fn begin(&mut self, now: Duration) -> Vec<Command> {
        self.after_predecessors(now)
    }

    /// What follows from what happened; `now` is monotonic.
    #[must_use]
    pub fn handle(&mut self, now: Duration, event: Event) -> Vec<Command> {
        match event {
            Event::PredecessorOver(id) => self.predecessor_over(now, id),
            Event::Prepared => self.prepared(now),
            Event::Locked { by, fault } => self.locked(now, by, fault),
            Event::NotPrepared(fault) => self.end(Err(End::Fault(fault))),
            Event::ClientCame => self.client_came(),
            Event::Marked { resilient } => self.marked(now, resilient),
            Event::NotMarked(end) => self.end(Err(end)),
            Event::Resilient(resilient) => {
                self.is_resilient = resilient;
                self.look_at_time(now)
            }
            Event::Worked(worked) => self.worked(worked),
            Event::Done => self.done(),
            Event::EndJournalled(durable) => self.end_journalled(durable),
            Event::Halt(why) => self.halt(why),
            Event::StopGracefully => {
                self.told.stop_gracefully();
                Vec::new()
            }
            Event::Leave(why) => self.leave(why),
            Event::Contact { lost_at, grace } => {
                (self.lost_at, self.grace) = (lost_at, grace);
                self.look_at_time(now)
            }
            Event::Woken => self.look_at_time(now),
        }
    }

    /// When it wants [`Event::Woken`]; none: it waits for something else.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let own = match &self.phase {
            Phase::Locked { again } => Some(*again),
            Phase::Client { until } => *until,
            _ => None,
        };
        own.into_iter().chain(self.lost_until()).min()
    }

    /// What it was told about its end.
    #[must_use]
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// A stream of the client's is what it waits for.
    #[must_use]
    pub fn waits_for_client(&self) -> bool {
        matches!(self.phase, Phase::Client { .. })
    }

    /// Its mark is durable and its end is not decided.
    #[must_use]
    pub fn works(&self) -> bool {
        matches!(self.phase, Phase::Working)
    }

    /// How it ends is decided: nothing that happens now changes it.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        match &self.phase {
            Phase::Removing(_)
            | Phase::Remembering(_)
            | Phase::Journalling(_)
            | Phase::Releasing(_)
            | Phase::Over => true,
            Phase::After(_)
            | Phase::Preparing
            | Phase::Locked { .. }
            | Phase::Client { .. }
            | Phase::Marking
            | Phase::Working => false,
        }
    }

    fn predecessor_over(&mut self, now: Duration, id: AttemptId) -> Vec<Command> {
        let Phase::After(predecessors) = &mut self.phase else {
            return Vec::new();
        };
        predecessors.remove(&id);
        self.after_predecessors(now)
    }

    fn after_predecessors(&mut self, now: Duration) -> Vec<Command> {
        let Phase::After(predecessors) = &self.phase else {
            return Vec::new();
        };
        if !predecessors.is_empty() {
            return Vec::new();
        }
        self.lock.until = now + self.terms.lock_wait;
        self.lock.pause = FIRST_PAUSE;
        self.unless_halted(Self::prepare)
    }

    fn prepare(&mut self) -> Vec<Command> {
        self.phase = Phase::Preparing;
        vec![Command::Prepare]
    }

    fn locked(&mut self, now: Duration, by: String, fault: Fault) -> Vec<Command> {
        if now >= self.lock.until {
            return self.end(Err(End::Fault(fault)));
        }
        let mut commands = Vec::new();
        // Who holds a lock long writes it anew every few minutes, under another name.
        if self.lock.by.as_ref() != Some(&by) {
            commands.push(Command::SayLocked { by: by.clone() });
            self.lock.by = Some(by);
        }
        self.phase = Phase::Locked {
            again: now + self.lock.pause,
        };
        self.lock.pause = (self.lock.pause * 2).min(LONGEST_PAUSE);
        if self.told.halted().is_some() {
            commands.extend(self.end(Err(End::Halted)));
            return commands;
        }
        commands.extend(self.look_at_time(now));
        commands
    }

    /// The storage unit may take its time; the client's begins when it is ready.
    fn prepared(&mut self, now: Duration) -> Vec<Command> {
        self.is_prepared = true;
        let said = self.lock.by.take().map(|_| Command::SayUnlocked);
        let mut commands: Vec<Command> = said.into_iter().collect();
        commands.extend(self.unless_halted(|attempt| attempt.await_client(now)));
        commands
    }

    fn await_client(&mut self, now: Duration) -> Vec<Command> {
        let until = self.terms.client_wait.map(|wait| now + wait);
        self.phase = Phase::Client { until };
        let mut commands: Vec<Command> = until
            .map(|until| Command::SayAwaited { until })
            .into_iter()
            .collect();
        commands.extend(self.look_at_time(now));
        commands
    }

    fn client_came(&mut self) -> Vec<Command> {
        if !self.waits_for_client() {
            return Vec::new();
        }
        self.phase = Phase::Marking;
        vec![Command::Mark]
    }

    fn marked(&mut self, now: Duration, resilient: bool) -> Vec<Command> {
        self.is_resilient = resilient;
        self.unless_halted(|attempt| {
            attempt.phase = Phase::Working;
            let mut commands = vec![Command::Work];
            commands.extend(attempt.look_at_time(now));
            commands
        })
    }

    fn worked(&mut self, worked: Worked) -> Vec<Command> {
        self.counters = worked.counters;
        self.unwritten = worked.unwritten;
        self.made_checkpoints = worked.made_checkpoints;
        self.end(worked.outcome)
    }

    /// Deadlines that have passed.
    fn look_at_time(&mut self, now: Duration) -> Vec<Command> {
        if self.lost_until().is_some_and(|until| until <= now) {
            let may_get_mark = self.terms.resilient && !self.works();
            let fault = contact::lost(self.grace, may_get_mark);
            if self.works() {
                return self.halt(Halt::Fault(fault));
            }
            return self.end(Err(End::Fault(fault)));
        }
        match &self.phase {
            Phase::Locked { again } if *again <= now => self.try_again(),
            Phase::Client { until: Some(until) } if *until <= now => self.client_did_not_come(),
            _ => Vec::new(),
        }
    }

    fn try_again(&mut self) -> Vec<Command> {
        // No item has begun, and none is to begin.
        if self.told.is_stopping_gracefully() {
            self.told.halt(Halt::Stopped(Stopped::Graceful));
            return self.end(Err(End::Halted));
        }
        self.prepare()
    }

    fn client_did_not_come(&mut self) -> Vec<Command> {
        let wait = self.terms.client_wait.unwrap_or_default();
        let text = format!(
            "client \"{}\" did not open its stream within {} s of the start; check that its agent runs and reaches this media agent",
            self.terms.client,
            wait.as_secs()
        );
        let (cause, code) = (
            Interruption::ClientUnreachable,
            StatusCode::CANNOT_CONNECT_TO_CLIENT,
        );
        let fault = Fault::interrupting(cause, code, text);
        self.end(Err(End::Fault(fault)))
    }

    /// when it may not go on without a primary any more.
    fn lost_until(&self) -> Option<Duration> {
        let may_not = match &self.phase {
            Phase::Locked { .. } => true,
            Phase::Client { until } => until.is_some(),
            Phase::Working => !self.is_resilient && self.told.halted().is_none(),
            _ => false,
        };
        self.lost_at.filter(|_| may_not).map(|at| at + self.grace)
    }

    /// The first reason counts; what is under way comes to its end first.
    fn halt(&mut self, why: Halt) -> Vec<Command> {
        if !self.told.halt(why.clone()) {
            return Vec::new();
        }
        match self.phase {
            Phase::Locked { .. } | Phase::Client { .. } => self.end(Err(End::Halted)),
            Phase::Marking | Phase::Working => vec![Command::Halt(why)],
            Phase::After(_)
            | Phase::Preparing
            | Phase::Removing(_)
            | Phase::Remembering(_)
            | Phase::Journalling(_)
            | Phase::Releasing(_)
            | Phase::Over => Vec::new(),
        }
    }

    /// One that has nothing to lose ends at once, and one whose mark is under way when that is there.
    fn leave(&mut self, why: String) -> Vec<Command> {
        if !self.told.leave(why.clone()) || self.is_ending() {
            return Vec::new();
        }
        match self.phase {
            Phase::Working if !self.terms.is_backup => Vec::new(),
            Phase::Working => vec![Command::Leave],
            _ => self.halt(Halt::Left(why)),
        }
    }

    fn unless_halted(&mut self, next: impl FnOnce(&mut Self) -> Vec<Command>) -> Vec<Command> {
        match self.told.halted() {
            Some(_) => self.end(Err(End::Halted)),
            None => next(self),
        }
    }

    /// Everything is known: it ends like this, step by step.
    fn end(&mut self, outcome: Result<Done, End>) -> Vec<Command> {
        let mut ending = Ending::of(outcome, &self.told);
        if !self.terms.decides_losses {
            ending = ending.decided_here();
        }
        let has_ended = matches!(ending, Ending::Ended(_));
        let may_have_checkpoints =
            self.terms.is_backup && (self.made_checkpoints || has_predecessors(self.terms.id.attempt));
        if has_ended && may_have_checkpoints {
            self.phase = Phase::Removing(ending);
            return vec![Command::RemoveCheckpoints];
        }
        self.remember_damage(ending)
    }

    fn remember_damage(&mut self, ending: Ending) -> Vec<Command> {
        if self.is_prepared {
            self.phase = Phase::Remembering(ending);
            return vec![Command::RememberDamage];
        }
        self.journal_end(ending)
    }

    fn journal_end(&mut self, ending: Ending) -> Vec<Command> {
        let Some(last) = ending.event(&self.counters) else {
            return self.release(&ending, true);
        };
        let mut events = std::mem::take(&mut self.unwritten);
        events.push(last);
        self.phase = Phase::Journalling(ending);
        vec![Command::JournalEnd(events)]
    }

    fn end_journalled(&mut self, durable: bool) -> Vec<Command> {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Journalling(ending) => self.release(&ending, durable),
            other => {
                self.phase = other;
                Vec::new()
            }
        }
    }

    fn release(&mut self, ending: &Ending, durable: bool) -> Vec<Command> {
        let over = ending.over(durable);
        let said = Command::SayEnd(ending.clone());
        if self.is_prepared {
            self.phase = Phase::Releasing(over);
            return vec![said, Command::Release];
        }
        self.phase = Phase::Over;
        vec![said, Command::Over(over)]
    }

    fn done(&mut self) -> Vec<Command> {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Removing(ending) => self.remember_damage(ending),
            Phase::Remembering(ending) => self.journal_end(ending),
            Phase::Releasing(over) => vec![Command::Over(over)],
            other => {
                self.phase = other;
                Vec::new()
            }
        }
    }
}

#[cfg(test)]
mod tests;
