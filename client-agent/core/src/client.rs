//! What a client agent accepts, begins and ends: one machine over the book of tickets and the list of attempts.
//!
//! It does nothing itself. What it says is to be kept is written durably first and handed back with [`Client::kept`]; only then does anybody
//! hear of it. Driven by `tickets` and `attempts` of the agent, and by the simulation.

use std::collections::{BTreeMap, BTreeSet};

use outlast_proto::v1::SignedTicket;
use outlast_proto::words::{Attempt, AttemptId, JobKey, StartId};

use crate::attempts::{Attempts, Start, State};
use crate::book::{Book, Record, Refusal};

/// The attempts of a host, as one process of its agent knows them.
#[derive(Clone, Debug)]
pub struct Client {
    book: Book,
    attempts: Attempts,
}

/// What follows from the leader's welcome.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Welcomed {
    /// Jobs of which nothing is to be kept any more; each is handed back with [`Client::forgotten`].
    pub over: Vec<JobKey>,
    /// Attempts of an earlier process that are still open: they begin, so that their media agents hear that it is gone (F-09).
    pub earlier: Vec<Record>,
}

impl Client {
    /// A process with this start id that finds nothing.
    #[must_use]
    pub fn new(start_id: StartId) -> Self {
        Self {
            book: Book::new(start_id),
            attempts: Attempts::default(),
        }
    }

    /// This was found on the disk: earlier processes kept it.
    pub fn found(&mut self, record: Record) {
        if let Some(code) = record.ended {
            let id = record.key().attempt(Attempt(record.attempt));
            self.attempts.ended_before(id, code);
        }
        self.book.keep(record);
    }

    /// What was kept of this job cannot be read.
    pub fn found_unreadable(&mut self, job: JobKey) {
        self.book.keep_unreadable(job);
    }

    /// The leader orders an attempt whose media agent is at one of `addresses`: what is to be kept before it is answered and
    /// begun; none if that is kept already.
    ///
    /// # Errors
    /// [`Refusal`]: it is answered with that.
    pub fn admit(
        &self,
        id: AttemptId,
        ticket: &SignedTicket,
        addresses: &[String],
    ) -> Result<Option<Record>, Refusal> {
        self.book.admit(id, ticket, addresses)
    }

    /// This record is durable.
    pub fn kept(&mut self, record: Record) {
        self.book.keep(record);
    }

    /// Whether an attempt that was admitted begins.
    pub fn begin(&mut self, id: AttemptId) -> Start {
        self.attempts.start(id)
    }

    /// The leader says what is open.
    pub fn welcomed(&mut self, open: &BTreeMap<JobKey, Attempt>) -> Welcomed {
        self.attempts.retain(open);
        let running = self.attempts.running().map(AttemptId::key).collect();
        Welcomed {
            over: self.book.over(open, &running),
            earlier: self.book.of_earlier_processes(open).cloned().collect(),
        }
    }

    /// Nothing is kept of the job any more.
    pub fn forgotten(&mut self, job: JobKey) {
        self.book.forget(job);
    }

    /// This attempt and lower ones have no right any more. Whether the one known is among them: it ends at once, whatever comes of
    /// keeping the fence.
    pub fn end_fenced(&mut self, id: AttemptId) -> bool {
        self.attempts.fence(id)
    }

    /// As [`Client::end_fenced`]: what is to be kept of it; none if that is kept already.
    ///
    /// # Errors
    /// [`Refusal::Unreadable`].
    pub fn fence(&self, id: AttemptId) -> Result<Option<Record>, Refusal> {
        self.book.fence(id)
    }

    /// The media agent has spoken the last word of an attempt: what is to be kept before anybody hears of it; none if that is kept
    /// already, or of no use.
    #[must_use]
    pub fn last_word(&self, id: AttemptId, code: u32) -> Option<Record> {
        self.book.end(id, code)
    }

    /// Nothing of an attempt runs any more.
    pub fn gone(&mut self, id: AttemptId, state: State) {
        self.attempts.over(id, state);
    }

    /// The leader knows that these are over.
    pub fn closed(&mut self, ids: &BTreeSet<AttemptId>) {
        self.attempts.closed(ids);
    }

    /// Those that run.
    pub fn running(&self) -> impl Iterator<Item = AttemptId> {
        self.attempts.running()
    }

    /// Those that have ended, with the code of the last word, as far as the leader may not know it (C-08).
    pub fn ended(&self) -> impl Iterator<Item = (AttemptId, Option<u32>)> {
        self.attempts.ended()
    }

    /// The highest attempt of a job that this process has run, and how it stands.
    #[must_use]
    pub fn get(&self, job: JobKey) -> Option<(Attempt, State)> {
        self.attempts.get(job)
    }
}
