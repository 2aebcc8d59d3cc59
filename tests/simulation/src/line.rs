//! A conversation over one data stream after another: the kit's, over the simulation's streams. Used by both ends.

use std::time::Duration;

use outlast_kit::resume::Misnumbered;
use outlast_kit::stream::{Conversation, Terms};

use crate::attempt::at;
use crate::net::{ConnId, Time};

/// Nothing of a run is ever too much; who is silent is not modelled.
const TERMS: Terms = Terms {
    keeps: usize::MAX,
    holds: usize::MAX,
    silence: None,
    takes_unknown: true,
};

/// One end.
pub(crate) struct Line<O, I> {
    /// The present stream, or the one that is being opened.
    pub(crate) conn: Option<ConnId>,
    talk: Conversation<O, I>,
    /// Rises with each break.
    pub(crate) breaks: u64,
}

impl<O: Clone, I> Line<O, I> {
    pub(crate) fn new(now: Time) -> Self {
        Self {
            conn: None,
            talk: Conversation::new(TERMS, at(now)),
            breaks: 0,
        }
    }

    /// What the other side is told when a new stream begins.
    pub(crate) fn received(&mut self) -> u64 {
        self.talk.received()
    }

    /// A new stream begins, and the other side has received up to there.
    pub(crate) fn resume(&mut self, through: u64) -> Result<(), Misnumbered> {
        self.talk.resume(through)
    }

    /// The new stream is in use.
    pub(crate) fn opened(&mut self, now: Time) {
        self.talk.opened(at(now));
    }

    /// The stream is gone, or given up.
    pub(crate) fn broken(&mut self, now: Time) {
        self.talk.broke(at(now));
        self.breaks += 1;
        self.conn = None;
    }

    /// Whether a stream is in use.
    pub(crate) fn is_open(&self) -> bool {
        self.talk.is_open()
    }

    /// Since when it does not get on.
    pub(crate) fn broken_since(&self) -> Duration {
        self.talk.broken_since()
    }

    pub(crate) fn say(&mut self, body: O) {
        self.talk.say(body, 1);
    }

    /// What is to be sent now: messages, or a confirmation alone.
    pub(crate) fn due(&mut self, now: Time) -> Vec<(u64, u64, Option<O>)> {
        let mut due = Vec::new();
        if self.talk.has_unconfirmed() {
            self.talk.confirm_now();
        }
        while self.talk.must_write() {
            due.push(self.talk.write(at(now)));
        }
        due
    }

    pub(crate) fn take(
        &mut self,
        now: Time,
        (sequence, received, body): (u64, u64, Option<I>),
    ) -> Result<(), Misnumbered> {
        self.talk.take(at(now), (sequence, received, body), 1)
    }

    pub(crate) fn has_waiting(&self) -> bool {
        self.talk.has_waiting()
    }

    pub(crate) fn process(&mut self) -> Option<I> {
        self.talk.process()
    }
}
