//! What an attempt was told about its end: the first reason counts.
//!
//! Part of the machine; the media agent's `Control` shares one with the blocking engine and the stream.

use crate::ending::Halt;

/// Why it is to end, if it is, and whether it may begin anything more.
#[derive(Clone, Debug, Default)]
pub struct Told {
    halt: Option<Halt>,
    graceful: bool,
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

    /// Whether no further item is begun.
    #[must_use]
    pub fn is_stopping_gracefully(&self) -> bool {
        self.graceful
    }
}
