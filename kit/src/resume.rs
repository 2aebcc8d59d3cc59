//! Numbered messages that survive a break of the stream that carries them (F-10): what was sent and is not confirmed, and
//! what came and is not processed yet.
//!
//! Pure bookkeeping without I/O; what the messages mean and where the next stream comes from is the caller's. Used by both
//! ends of a data stream.

use std::collections::VecDeque;
use std::time::Duration;

/// What a side keeps of what it sent until it is confirmed. Then it takes no more: that holds the sender back.
pub const CLIENT_KEEPS: usize = 32 << 20;
/// As [`CLIENT_KEEPS`], for the media agent.
pub const MEDIA_AGENT_KEEPS: usize = 8 << 20;
/// As [`CLIENT_KEEPS`], for a client that restores: it sends little.
pub const RESTORING_CLIENT_KEEPS: usize = 4 << 20;

/// What keeping a message costs beside its bytes. Both ends count it, so that many small messages are no way around a limit,
/// and who waits for confirmations still has room for all the other side may keep.
const PER_MESSAGE: usize = 128;

/// A side that has nothing to say confirms at least this often, whether or not there is something to confirm: a connection can
/// be alive while the process behind it stands still.
pub const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// So much is processed before it is confirmed by a message of its own, unless there is one to send anyway.
const CONFIRM_BYTES: usize = 1 << 20;
const CONFIRM_MESSAGES: u64 = 64;

/// The other side must not number its messages, or confirm ours, like this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misnumbered {
    /// Messages are missing, or one came twice on the same stream.
    #[error("message {got} came after message {last}")]
    Sequence {
        /// The last one that counted.
        last: u64,
        /// The one that came.
        got: u64,
    },
    /// It confirms what it never got.
    #[error("message {got} is confirmed, and only {sent} were sent")]
    NeverSent {
        /// The number it confirms.
        got: u64,
        /// The highest number ever sent.
        sent: u64,
    },
    /// It asks for what it has confirmed before.
    #[error("messages from {got} on are wanted again, and those up to {confirmed} were confirmed")]
    Forgotten {
        /// What it says it has.
        got: u64,
        /// What it said before.
        confirmed: u64,
    },
}

/// Messages to the other side, numbered from 1, kept until they are confirmed.
#[derive(Debug)]
pub struct Outgoing<T> {
    /// The first has number `confirmed + 1`.
    kept: VecDeque<(T, usize)>,
    bytes: usize,
    limit: usize,
    confirmed: u64,
    /// The last that was written to the present stream.
    written: u64,
    /// The last that was written to any stream.
    highest: u64,
}

impl<T: Clone> Outgoing<T> {
    /// Takes messages until `limit` bytes are not confirmed.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            kept: VecDeque::new(),
            bytes: 0,
            limit,
            confirmed: 0,
            written: 0,
            highest: 0,
        }
    }

    /// Whether a further message is taken; one is, however long, when nothing is kept.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.bytes < self.limit
    }

    /// Takes the next message.
    pub fn push(&mut self, message: T, bytes: usize) {
        let bytes = bytes + PER_MESSAGE;
        self.bytes += bytes;
        self.kept.push_back((message, bytes));
    }

    /// Whether the present stream lacks a message.
    #[must_use]
    pub fn has_unwritten(&self) -> bool {
        self.written < self.last()
    }

    /// The next message for the present stream with its number.
    pub fn write(&mut self) -> Option<(u64, T)> {
        let index = usize::try_from(self.written - self.confirmed).ok()?;
        let (message, _) = self.kept.get(index)?;
        self.written += 1;
        self.highest = self.highest.max(self.written);
        Some((self.written, message.clone()))
    }

    /// The number of the last message written to the present stream.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The number of the last message the other side has.
    #[must_use]
    pub fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// The other side has everything up to `through`; a lower number than before says nothing new.
    ///
    /// # Errors
    /// [`Misnumbered::NeverSent`].
    pub fn confirm(&mut self, through: u64) -> Result<(), Misnumbered> {
        if through > self.highest {
            return Err(Misnumbered::NeverSent {
                got: through,
                sent: self.highest,
            });
        }
        while self.confirmed < through {
            self.confirmed += 1;
            let bytes = self.kept.pop_front().map_or(0, |(_, bytes)| bytes);
            self.bytes -= bytes;
        }
        self.written = self.written.max(self.confirmed);
        Ok(())
    }

    /// A new stream begins; on the other side everything up to `through` has arrived.
    ///
    /// # Errors
    /// [`Misnumbered`] if the conversation cannot go on from there; nothing is changed then.
    pub fn resume(&mut self, through: u64) -> Result<(), Misnumbered> {
        if through < self.confirmed {
            return Err(Misnumbered::Forgotten {
                got: through,
                confirmed: self.confirmed,
            });
        }
        self.confirm(through)?;
        self.written = self.confirmed;
        Ok(())
    }

    /// The number of the last message taken.
    fn last(&self) -> u64 {
        self.confirmed + self.kept.len() as u64
    }
}

/// Messages of the other side: each is taken once and in order, whatever is sent again.
///
/// Only what was processed is confirmed. So the other side's limit is also the limit of what waits here, and a side that keeps
/// room for all of it can always read on to the confirmations behind.
#[derive(Debug)]
pub struct Incoming<T> {
    waiting: VecDeque<(T, usize)>,
    bytes: usize,
    /// The last that was taken.
    taken: u64,
    processed: u64,
    /// The last number on the present stream.
    on_stream: u64,
    /// The other side was told so.
    told: u64,
    untold_bytes: usize,
}

impl<T> Default for Incoming<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            taken: 0,
            processed: 0,
            on_stream: 0,
            told: 0,
            untold_bytes: 0,
        }
    }
}

impl<T> Incoming<T> {
    /// A new stream begins: the number to tell the other side.
    pub fn resume(&mut self) -> u64 {
        self.on_stream = self.processed;
        self.tell()
    }

    /// Takes a message. One that is here already, from an earlier stream, is dropped.
    ///
    /// # Errors
    /// [`Misnumbered::Sequence`].
    pub fn take(&mut self, sequence: u64, message: T, bytes: usize) -> Result<(), Misnumbered> {
        if sequence <= self.on_stream || sequence > self.taken + 1 {
            return Err(Misnumbered::Sequence {
                last: self.on_stream,
                got: sequence,
            });
        }
        self.on_stream = sequence;
        if sequence > self.taken {
            let bytes = bytes + PER_MESSAGE;
            self.taken = sequence;
            self.bytes += bytes;
            self.waiting.push_back((message, bytes));
        }
        Ok(())
    }

    /// Bytes that are not processed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether something is to be processed.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next message; it counts as processed.
    pub fn process(&mut self) -> Option<T> {
        let (message, bytes) = self.waiting.pop_front()?;
        self.processed += 1;
        self.bytes -= bytes;
        self.untold_bytes += bytes;
        Some(message)
    }

    /// How many messages were processed.
    #[must_use]
    pub fn processed(&self) -> u64 {
        self.processed
    }

    /// The number for the next message to the other side.
    pub fn tell(&mut self) -> u64 {
        self.told = self.processed;
        self.untold_bytes = 0;
        self.told
    }

    /// Whether the other side waits for a confirmation.
    #[must_use]
    pub fn has_untold(&self) -> bool {
        self.told < self.processed
    }

    /// Whether so much was processed that a confirmation should not wait for a message to go with.
    #[must_use]
    pub fn should_tell(&self) -> bool {
        self.untold_bytes >= CONFIRM_BYTES || self.processed - self.told >= CONFIRM_MESSAGES
    }
}

/// Since when a conversation does not get on (F-10): streams that come back and break again at once are no end of a break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GettingOn {
    at: Duration,
    reached: (u64, u64),
}

impl GettingOn {
    /// A conversation that begins at `now` (monotonic).
    #[must_use]
    pub fn begin(now: Duration) -> Self {
        Self {
            at: now,
            reached: (0, 0),
        }
    }

    /// A stream that was opened at `opened` broke at `now`: since when the conversation does not get on. It does if a message
    /// arrived on either side, or if the stream lived, for there may be nothing to say.
    pub fn broken<S: Clone, R>(
        &mut self,
        (opened, now): (Duration, Duration),
        outgoing: &Outgoing<S>,
        incoming: &Incoming<R>,
    ) -> Duration {
        let reached = (outgoing.confirmed(), incoming.processed());
        if reached != self.reached || now.saturating_sub(opened) >= SIGN_OF_LIFE {
            *self = Self { at: now, reached };
        }
        self.at
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{CONFIRM_BYTES, GettingOn, Incoming, Misnumbered, Outgoing, PER_MESSAGE};

    fn three(limit: usize) -> Outgoing<&'static str> {
        let mut out = Outgoing::new(limit);
        for message in ["a", "b", "c"] {
            out.push(message, 10);
        }
        out
    }

    fn written(out: &mut Outgoing<&'static str>) -> Vec<(u64, &'static str)> {
        std::iter::from_fn(|| out.write()).collect()
    }

    #[test]
    fn f10_what_is_not_confirmed_is_sent_again_in_order() {
        // Written before the break, confirmed by the next hello, and what goes over the new stream.
        type Row = (usize, u64, &'static [(u64, &'static str)]);
        let rows: [Row; 5] = [
            (0, 0, &[(1, "a"), (2, "b"), (3, "c")]),
            (1, 0, &[(1, "a"), (2, "b"), (3, "c")]),
            (2, 1, &[(2, "b"), (3, "c")]),
            (3, 2, &[(3, "c")]),
            (3, 3, &[]),
        ];
        for (before, confirmed, again) in rows {
            let mut out = three(100);
            for _ in 0..before {
                out.write();
            }
            out.resume(confirmed).unwrap();
            assert_eq!(written(&mut out), again, "{before} {confirmed}");
            out.push("d", 1);
            assert_eq!(out.write(), Some((4, "d")));
            assert!(!out.has_unwritten());
        }
    }

    #[test]
    fn f10_a_confirmation_of_what_was_never_sent_is_refused() {
        let mut out = three(100);
        out.write();
        let never = |got, sent| Err(Misnumbered::NeverSent { got, sent });
        assert_eq!(out.confirm(2), never(2, 1));
        assert_eq!(out.resume(3), never(3, 1));
        out.confirm(1).unwrap();
        // Late news is no news, but a stream cannot begin with it.
        out.confirm(0).unwrap();
        let forgotten = Misnumbered::Forgotten { got: 0, confirmed: 1 };
        assert_eq!(out.resume(0), Err(forgotten));
        assert_eq!(written(&mut out), [(2, "b"), (3, "c")]);
    }

    #[test]
    fn f10_what_is_confirmed_while_it_is_sent_again_is_left_out() {
        let mut out = three(100);
        written(&mut out);
        out.resume(0).unwrap();
        assert_eq!(out.write(), Some((1, "a")));
        out.confirm(2).unwrap();
        assert_eq!(written(&mut out), [(3, "c")]);
    }

    #[test]
    fn f10_the_kept_is_bounded() {
        let mut out = Outgoing::new(10);
        assert!(out.has_room());
        out.push("longer than the limit", 1000);
        assert!(!out.has_room());
        out.write();
        assert!(!out.has_room(), "written is not confirmed");
        out.confirm(1).unwrap();
        assert!(out.has_room());
        out.push("", 0);
        assert!(!out.has_room(), "what is empty counts too");
    }

    #[test]
    fn t90_streams_that_break_at_once_are_no_progress() {
        let seconds = Duration::from_secs;
        let (mut out, mut incoming) = (three(100), Incoming::<()>::default());
        written(&mut out);
        let mut progress = GettingOn::begin(seconds(0));
        // Opened, broke, confirmed by then, processed by then: since when it does not get on.
        for (opened, broke, confirmed, processed, since) in [
            (0, 1, 1, 0, 1),
            (2, 3, 1, 0, 1),
            (4, 5, 1, 0, 1),
            (6, 7, 2, 0, 7),
            (8, 9, 2, 1, 9),
            (10, 11, 2, 1, 9),
            (12, 22, 2, 1, 22),
        ] {
            out.confirm(confirmed).unwrap();
            while incoming.processed() < processed {
                incoming.take(processed, (), 0).unwrap();
                incoming.process();
            }
            let at = progress.broken((seconds(opened), seconds(broke)), &out, &incoming);
            assert_eq!(at, seconds(since), "broke at {broke}");
        }
    }

    #[test]
    fn t90_messages_without_content_fill_both_ends_alike() {
        let limit = 100 * PER_MESSAGE;
        let (mut out, mut incoming) = (Outgoing::new(limit), Incoming::default());
        while out.has_room() {
            out.push((), 0);
        }
        while let Some((number, message)) = out.write() {
            incoming.take(number, message, 0).unwrap();
        }
        assert_eq!((out.written(), incoming.bytes()), (100, limit));
    }

    #[test]
    fn f10_messages_are_taken_once_and_without_gaps() {
        // What came on the first stream, how much of it was processed, what comes on the second: what is processed in all.
        type Row = (&'static [u64], u64, &'static [u64], Result<u64, (u64, u64)>);
        let rows: [Row; 9] = [
            (&[1, 2, 3], 3, &[4, 5], Ok(5)),
            (&[1, 2, 3], 1, &[2, 3, 4], Ok(4)),
            (&[1, 2, 3], 0, &[1, 2, 3, 4], Ok(4)),
            (&[1, 2, 3], 0, &[1, 3, 4], Ok(4)),
            (&[], 0, &[1], Ok(1)),
            (&[1, 2], 2, &[4], Err((2, 4))),
            (&[1, 2], 2, &[2], Err((2, 2))),
            (&[1, 2], 0, &[1, 1], Err((1, 1))),
            (&[1, 2], 0, &[0], Err((0, 0))),
        ];
        for (first, processed, second, expected) in rows {
            let mut incoming = Incoming::default();
            assert_eq!(incoming.resume(), 0);
            for number in first {
                incoming.take(*number, *number, 1).unwrap();
            }
            let mut all: Vec<u64> = (0..processed).filter_map(|_| incoming.process()).collect();
            assert_eq!(incoming.resume(), processed);
            let taken = second.iter().try_for_each(|n| incoming.take(*n, *n, 1));
            all.extend(std::iter::from_fn(|| incoming.process()));
            match (taken, expected) {
                (Ok(()), Ok(last)) => assert_eq!(all, (1..=last).collect::<Vec<_>>(), "{second:?}"),
                (Err(refused), Err((last, got))) => {
                    assert_eq!(refused, Misnumbered::Sequence { last, got });
                }
                (taken, expected) => panic!("{second:?} came to {taken:?}, not {expected:?}"),
            }
            assert_eq!(incoming.bytes(), 0);
        }
    }

    #[test]
    fn f10_who_sends_nothing_confirms_now_and_then() {
        let mut incoming = Incoming::default();
        incoming.take(1, (), 1).unwrap();
        assert!(!incoming.has_untold(), "not processed");
        incoming.process();
        assert!(incoming.has_untold() && !incoming.should_tell());
        assert_eq!(incoming.tell(), 1);
        assert!(!incoming.has_untold());
        incoming.take(2, (), CONFIRM_BYTES).unwrap();
        incoming.process();
        assert!(incoming.should_tell());
        assert_eq!(incoming.tell(), 2);
        for number in 3..67 {
            assert!(!incoming.should_tell());
            incoming.take(number, (), 1).unwrap();
            incoming.process();
        }
        assert!(incoming.should_tell());
    }
}
