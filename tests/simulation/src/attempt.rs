//! One attempt at its media agent: the machines of `outlast-media-core` over this world's disks. A kill can come between any two steps.
//!
//! `life` does what the attempt's machine says, `work` what that of its backup says; `stream` has the client's streams, `items` what the
//! storage unit has of a job.

use std::time::Duration;

use outlast_media_core::attempt::{Attempt, Terms};
use outlast_media_core::{AttemptId, Greeting};
use outlast_proto::v1::{backup_down, backup_up};

use crate::line::Line;
use crate::media::{Media, Ticket};
use crate::net::{ConnId, S, Time};

mod items;
mod life;
mod stream;
mod work;

pub(crate) use items::found;
use life::UnderWay;
pub(crate) use life::{LOCK_WAIT, at};
use work::Work;

const RECONNECT_FOR: Time = 300 * S;

/// An attempt under way.
pub(crate) struct Run {
    ticket: Ticket,
    attempt: Attempt,
    /// What takes time at the moment, of the attempt's life.
    under_way: Option<UnderWay>,
    /// For when it was last to be woken.
    wakes_at: Option<Duration>,
    /// A stream that waits to be taken up; dead if it broke meanwhile.
    entrance: Option<(ConnId, Greeting)>,
    /// The stream with which the work begins.
    first: Option<ConnId>,
    pub(crate) line: Line<backup_down::Body, backup_up::Body>,
    has_line: bool,
    work: Work,
}

impl Run {
    pub(crate) fn new(ticket: Ticket, terms: Terms, lost_at: Option<Duration>) -> Self {
        Self {
            attempt: Attempt::new(terms, lost_at, life::grace()),
            under_way: None,
            wakes_at: None,
            entrance: None,
            first: None,
            line: Line::new(0),
            has_line: false,
            work: Work::new(&ticket),
            ticket,
        }
    }

    /// It goes on although it may not do without a primary.
    pub(crate) fn outstays(&self) -> bool {
        self.attempt.works() && !self.ticket.resilient && !self.is_halted()
    }

    fn is_leaving(&self) -> bool {
        self.attempt.told().leaving().is_some()
    }

    fn is_halted(&self) -> bool {
        self.attempt.told().halted().is_some()
    }
}

impl Media {
    fn run(&mut self, id: AttemptId) -> Option<&mut Run> {
        self.process.as_mut()?.runs.get_mut(&id)
    }
}
