//! What goes into an attempt's machine, and what comes out.

use std::collections::BTreeSet;
use std::time::Duration;

use outlast_proto::v1::AttemptOver;
use outlast_proto::v1::journal_event::What;
use outlast_proto::words::{AttemptId, Counters};

use crate::ending::{Done, End, Ending, Halt};
use crate::fault::Fault;

/// What an attempt begins with.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Which one.
    pub id: AttemptId,
    /// For people.
    pub client: String,
    /// It was dispatched as resilient: it gets the mark.
    pub resilient: bool,
    /// Its primary decides what follows if it loses its client (F-09).
    pub decides_losses: bool,
    /// It may leave checkpoints.
    pub is_backup: bool,
    /// How long to wait for the client; `None` if it is here.
    pub client_wait: Option<Duration>,
    /// How long to wait for somebody else's lock.
    pub lock_wait: Duration,
    /// Superseded attempts of the job that are still ending.
    pub predecessors: BTreeSet<AttemptId>,
}

/// Something happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// One of the predecessors has ended.
    PredecessorOver(AttemptId),
    /// The storage unit is ready, and locked.
    Prepared,
    /// Somebody else has it for himself; `fault` is what the attempt ends with if that takes too long.
    Locked {
        /// Who, for people.
        by: String,
        /// Why it cannot be had.
        fault: Fault,
    },
    /// The storage unit cannot be had.
    NotPrepared(Fault),
    /// A stream of the client is here. Said when it [waits for one](super::Attempt::waits_for_client).
    ClientCame,
    /// The mark is durable. Whether it still makes the attempt resilient, as the journal says.
    Marked {
        /// The journal's word.
        resilient: bool,
    },
    /// The mark could not be made durable.
    NotMarked(End),
    /// The journal's word has changed, or may have.
    Resilient(bool),
    /// The work is over, by itself or because of a halt.
    Worked(Worked),
    /// What was asked for is done: checkpoints are removed, damage is written down, or the storage unit is let go.
    Done,
    /// Whether the end is durable.
    EndJournalled(bool),
    /// It is to end for this reason.
    Halt(Halt),
    /// No further item is to be begun.
    StopGracefully,
    /// It is to make a checkpoint at once and end, for this reason: its job goes on in another (C-08b).
    Leave(String),
    /// Since when no primary answers (monotonic; none: one does), and how long that may be.
    Contact {
        /// When it was lost.
        lost_at: Option<Duration>,
        /// How long an attempt without a mark does without.
        grace: Duration,
    },
    /// Time has passed.
    Woken,
}

/// What came of the work.
#[derive(Clone, Debug)]
pub struct Worked {
    /// Its result, or why there is none.
    pub outcome: Result<Done, End>,
    /// What was done.
    pub counters: Counters,
    /// Events that found no room in the journal; they go with the end, in one piece.
    pub unwritten: Vec<What>,
    /// The snapshot of a checkpoint may be in the storage unit.
    pub made_checkpoints: bool,
}

/// Something is to be done. What takes time is answered with an event, and nothing else that takes time is asked for until then.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Open and lock the storage unit.
    Prepare,
    /// Say that it waits for the lock of somebody else.
    SayLocked {
        /// Who.
        by: String,
    },
    /// Say that the lock is gone.
    SayUnlocked,
    /// Say that it waits for its client, until then at most.
    SayAwaited {
        /// Monotonic.
        until: Duration,
    },
    /// Take the client's stream, journal the ticket and the mark, then what the version of the primary makes of it.
    Mark,
    /// Back up, or restore.
    Work,
    /// The work is to end. The first reason counts.
    Halt(Halt),
    /// The work is to make a checkpoint at once and end.
    Leave,
    /// Remove the checkpoints of this attempt and of the ones before it.
    RemoveCheckpoints,
    /// Write down what was found damaged.
    RememberDamage,
    /// Journal these in one piece, however long there is no room; the last of them is the end.
    JournalEnd(Vec<What>),
    /// Say in the log how it ends.
    SayEnd(Ending),
    /// Let the storage unit go.
    Release,
    /// It is over. What the client is told; none: nobody knows yet how it ends, and the client tries on.
    Over(Option<AttemptOver>),
}
