//! What an attempt was told about its end: the first reason to halt counts.
//!
//! Part of the machine; the media agent's `Control` shares one with the blocking engine and the stream.

use crate::ending::Halt;

/// Why it is to end, if it is, and whether it may begin anything more.
#[derive(Clone, Debug, Default)]
pub struct Told {
    halt: Option<Halt>,
    graceful: bool,
    leaving: Option<String>,
}

/// What is told about the work that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// Nothing.
    On,
    /// No further item is to be begun.
    StopGracefully,
    /// It is to make a checkpoint and end (C-08b).
    Leave,
}

impl Told {
    /// It is to end for this reason, unless it has one already. Whether this is the reason now.
    pub fn halt(&mut self, why: Halt) -> bool {
        let is_first = self.halt.is_none();
        if is_first {
            self.halt = Some(why);
        }
        is_first
    }

    /// The reason to end.
    #[must_use]
    pub fn halted(&self) -> Option<&Halt> {
        self.halt.as_ref()
    }

    /// No further item is begun.
    pub fn stop_gracefully(&mut self) {
        self.graceful = true;
    }

    /// It is to make a checkpoint at once and end, for this reason (C-08b). Whether it was not told before.
    pub fn leave(&mut self, why: String) -> bool {
        let is_new = self.leaving.is_none();
        self.leaving.get_or_insert(why);
        is_new
    }

    /// Why it is to make a checkpoint and end.
    #[must_use]
    pub fn leaving(&self) -> Option<&str> {
        self.leaving.as_deref()
    }

    /// What the work is to do. A job that is to be stopped finishes its item: it goes on nowhere.
    #[must_use]
    pub fn course(&self) -> Course {
        match &self.leaving {
            _ if self.graceful => Course::StopGracefully,
            Some(_) => Course::Leave,
            None => Course::On,
        }
    }

    /// Whether no further item is begun.
    #[must_use]
    pub fn is_stopping_gracefully(&self) -> bool {
        self.graceful
    }
}
