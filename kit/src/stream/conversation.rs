//! The rules of a conversation over one stream after another (F-10), without streams, clock and tasks.
//!
//! Times are those of a monotonic clock. Driven by [`super::Pump`] in both agents, and by the simulation.

use std::time::Duration;

use crate::resume::{GettingOn, Incoming, Misnumbered, Outgoing, SIGN_OF_LIFE};

/// How long what is left of a stream that takes nothing more is waited for: its end comes with it, as a rule.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// In what the two ends differ.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Bytes of ours that are kept until they are confirmed; then no more is taken.
    pub keeps: usize,
    /// Bytes of the other side that may wait to be processed before no more is read.
    pub holds: usize,
    /// How long an open stream that is read may be without a message; none: for ever.
    pub silence: Option<Duration>,
    /// Whether messages count that we do not know: a newer other side may say more.
    pub takes_unknown: bool,
}

/// One end of a conversation.
#[derive(Debug)]
pub struct Conversation<S, R> {
    terms: Terms,
    outgoing: Outgoing<S>,
    /// None: a message that we do not know. It counts.
    incoming: Incoming<Option<R>>,
    stream: Option<Open>,
    getting_on: GettingOn,
    broken_since: Duration,
    /// A confirmation is due, with a message or without.
    must_confirm: bool,
    /// The last time the other side said something, or was not listened to.
    heard: Duration,
    /// The last time it was told something.
    told: Duration,
    /// The last word has come: nothing is said and heard any more.
    is_over: bool,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    since: Duration,
    /// Since when it takes nothing more. What it has brought is heard all the same: that may be the last word.
    deaf_since: Option<Duration>,
}

impl<S: Clone, R> Conversation<S, R> {
    /// One that begins at `now`, without a stream.
    #[must_use]
    pub fn new(terms: Terms, now: Duration) -> Self {
        Self {
            terms,
            outgoing: Outgoing::new(terms.keeps),
            incoming: Incoming::default(),
            stream: None,
            getting_on: GettingOn::begin(now),
            broken_since: now,
            must_confirm: false,
            heard: now,
            told: now,
            is_over: false,
        }
    }

    /// The number that the other side is told when a new stream begins: it sends again from there. It may be told more than once before one has begun.
    pub fn received(&mut self) -> u64 {
        self.incoming.resume()
    }

    /// A new stream begins, and the other side has received up to there.
    ///
    /// # Errors
    /// [`Misnumbered`] if the conversation cannot go on from there; nothing is changed then.
    pub fn resume(&mut self, through: u64) -> Result<(), Misnumbered> {
        self.outgoing.resume(through)
    }

    /// The new stream is in use.
    pub fn opened(&mut self, now: Duration) {
        self.must_confirm = false;
        (self.heard, self.told) = (now, now);
        self.stream = Some(Open {
            since: now,
            deaf_since: None,
        });
    }

    /// It is lost.
    pub fn broke(&mut self, now: Duration) {
        if let Some(stream) = self.stream.take() {
            let span = (stream.since, now);
            self.broken_since = self.getting_on.broken(span, &self.outgoing, &self.incoming);
        }
    }

    /// Since when the conversation does not get on, unless a stream is open.
    #[must_use]
    pub fn broken_since(&self) -> Duration {
        self.broken_since
    }

    /// The stream takes nothing more.
    pub fn is_deaf_from(&mut self, now: Duration) {
        if let Some(stream) = &mut self.stream {
            stream.deaf_since.get_or_insert(now);
        }
    }

    /// The last word has come.
    pub fn end(&mut self) {
        self.is_over = true;
    }

    /// Whether there is a stream on which something is still to be said or heard.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.stream.is_some() && !self.is_over
    }

    /// Whether we take a further message for the other side.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.is_over && self.outgoing.has_room()
    }

    /// A message for the other side.
    pub fn say(&mut self, body: S, bytes: usize) {
        self.outgoing.push(body, bytes);
    }

    /// Whether messages of the other side are read now. While they are not, its silence is not its own.
    pub fn listens(&mut self, now: Duration) -> bool {
        let listens = self.is_open() && self.incoming.bytes() < self.terms.holds;
        if !listens {
            self.heard = now;
        }
        listens
    }

    /// Whether there is something to write and somebody to take it.
    #[must_use]
    pub fn must_write(&self) -> bool {
        let takes = self.stream.is_some_and(|stream| stream.deaf_since.is_none());
        takes && self.is_open() && self.has_something_to_write()
    }

    fn has_something_to_write(&self) -> bool {
        self.outgoing.has_unwritten() || self.must_confirm || self.incoming.should_tell()
    }

    /// The next message, or a confirmation alone: sequence, received, body.
    pub fn write(&mut self, now: Duration) -> (u64, u64, Option<S>) {
        self.must_confirm = false;
        self.told = now;
        let received = self.incoming.tell();
        match self.outgoing.write() {
            Some((sequence, body)) => (sequence, received, Some(body)),
            None => (0, received, None),
        }
    }

    /// Whether the present stream lacks a message.
    #[must_use]
    pub fn has_unwritten(&self) -> bool {
        self.outgoing.has_unwritten()
    }

    /// Whether a confirmation waits for a message to go with, and should not for long.
    #[must_use]
    pub fn has_unconfirmed(&self) -> bool {
        self.is_open() && self.incoming.has_untold()
    }

    /// A confirmation goes now, with a message or without.
    pub fn confirm_now(&mut self) {
        self.must_confirm = true;
    }

    /// When a sign of life is due, if nothing else is to be written.
    #[must_use]
    pub fn sign_of_life_at(&self) -> Option<Duration> {
        (self.is_open() && !self.has_something_to_write()).then_some(self.told + SIGN_OF_LIFE)
    }

    /// When the other side counts as one that stands still, if it is listened to.
    #[must_use]
    pub fn silent_at(&self) -> Option<Duration> {
        Some(self.heard + self.terms.silence?)
    }

    /// When a stream that takes nothing more counts as broken.
    #[must_use]
    pub fn heard_out_at(&self) -> Option<Duration> {
        let deaf_since = self.stream.filter(|_| self.is_open())?.deaf_since?;
        Some(deaf_since + LAST_WORDS)
    }

    /// A message has come.
    ///
    /// # Errors
    /// [`Misnumbered`]: the other side breaks the rules.
    pub fn take(
        &mut self,
        now: Duration,
        (sequence, received, body): (u64, u64, Option<R>),
        bytes: usize,
    ) -> Result<(), Misnumbered> {
        self.heard = now;
        self.outgoing.confirm(received)?;
        match body {
            // Only a confirmation.
            None if sequence == 0 => Ok(()),
            None if !self.terms.takes_unknown => Err(Misnumbered::Sequence {
                last: sequence,
                got: sequence,
            }),
            body => self.incoming.take(sequence, body, bytes),
        }
    }

    /// Whether messages wait to be processed.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        self.incoming.has_waiting()
    }

    /// The next one; it counts as processed. None also for one that we do not know.
    pub fn process(&mut self) -> Option<R> {
        self.incoming.process().flatten()
    }

    /// For the last word: the number of the last message written to the present stream, and of the last that was processed.
    pub fn numbers(&mut self) -> (u64, u64) {
        (self.outgoing.written(), self.incoming.tell())
    }
}
