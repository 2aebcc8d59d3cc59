//! The journal's way to a leader: what a welcome means for it, and what is sent next (R-05, DESIGN 3).

use outlast_proto::words::JournalId;

use crate::writers::Writers;

/// Where a journal stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Which journal.
    pub journal: JournalId,
    /// The last event that the primary has, as far as we know.
    pub acknowledged: u64,
    /// The last event there is; 0: none ever.
    pub last: u64,
    /// Which process wrote which events.
    pub writers: Writers,
}

/// What a welcome says of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The primary has it up to here; 0: nothing.
    pub acknowledged: u64,
    /// The process that wrote that event; 0: not known.
    pub writer: u64,
    /// What was recorded is not in the journal, or what comes next.
    pub begin_new: bool,
}

/// What follows from a leader's welcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// The primary knows another history of this journal, because the disk was set back: a new one begins, and the attempts that
    /// run end with it.
    BeginNew,
    /// The journal goes on from here.
    Deliver(Delivery),
}

/// Judges a welcome. Numbers alone do not tell whether the disk was set back: what was written since may have the same ones.
#[must_use]
pub fn open(status: &Status, recorded: Recorded) -> Opening {
    let Recorded {
        acknowledged, writer, ..
    } = recorded;
    let is_other = acknowledged > 0 && status.writers.of(acknowledged) != writer;
    if recorded.begin_new || acknowledged < status.acknowledged || acknowledged > status.last || is_other {
        return Opening::BeginNew;
    }
    Opening::Deliver(Delivery {
        journal: status.journal.clone(),
        next: acknowledged + 1,
    })
}

/// How far a session has sent the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    journal: JournalId,
    next: u64,
}

/// What a session does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send events from this one on.
    Send(u64),
    /// There are none yet.
    Wait,
    /// The journal is another one now: this session is over.
    Over,
}

impl Delivery {
    /// Which journal it delivers.
    #[must_use]
    pub fn journal(&self) -> &JournalId {
        &self.journal
    }

    /// What to do, with the journal as it is now. What the leader has acknowledged beyond what this session sent came from the
    /// one before.
    pub fn next(&mut self, now: &Status) -> Next {
        if now.journal != self.journal {
            return Next::Over;
        }
        self.next = self.next.max(now.acknowledged + 1);
        if self.next <= now.last {
            Next::Send(self.next)
        } else {
            Next::Wait
        }
    }

    /// Everything up to `last` was sent.
    pub fn sent(&mut self, last: u64) {
        self.next = last + 1;
    }
}
