//! A conversation over one data stream after another, with the kit's real numbering. Used by both ends.

use outlast_kit::resume::{Incoming, Misnumbered, Outgoing};

use crate::net::ConnId;

/// One end.
pub(crate) struct Line<O, I> {
    pub(crate) conn: Option<ConnId>,
    pub(crate) outgoing: Outgoing<O>,
    pub(crate) incoming: Incoming<I>,
    /// Rises with each break.
    pub(crate) breaks: u64,
}

impl<O: Clone, I> Line<O, I> {
    pub(crate) fn new() -> Self {
        Self {
            conn: None,
            outgoing: Outgoing::new(usize::MAX),
            incoming: Incoming::default(),
            breaks: 0,
        }
    }

    pub(crate) fn say(&mut self, body: O) {
        self.outgoing.push(body, 1);
    }

    /// What is to be sent now: messages, or a confirmation alone.
    pub(crate) fn due(&mut self) -> Vec<(u64, u64, Option<O>)> {
        let mut due = Vec::new();
        if self.conn.is_none() {
            return due;
        }
        while let Some((sequence, body)) = self.outgoing.write() {
            due.push((sequence, self.incoming.tell(), Some(body)));
        }
        if self.incoming.has_untold() {
            due.push((0, self.incoming.tell(), None));
        }
        due
    }

    pub(crate) fn take(&mut self, sequence: u64, received: u64, body: Option<I>) -> Result<(), Misnumbered> {
        self.outgoing.confirm(received)?;
        match body {
            Some(body) => self.incoming.take(sequence, body, 1),
            None => Ok(()),
        }
    }

    /// The stream is gone.
    pub(crate) fn broken(&mut self) {
        self.conn = None;
        self.breaks += 1;
    }
}
