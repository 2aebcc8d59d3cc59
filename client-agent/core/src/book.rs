//! The tickets this host has accepted, without their files (F-04a).
//!
//! The shell asks what to write, writes it durably, and only then says so with [`Book::keep`].

use std::collections::{BTreeMap, BTreeSet};

use outlast_proto::v1::SignedTicket;
use outlast_proto::words::{Attempt, AttemptId, JobId, JobKey, JobNonce, StartId};

/// What is kept of a job. Part of the format on disk: add fields, never change them.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Record {
    /// Which job.
    #[prost(uint64, tag = "1")]
    pub job: u64,
    /// The highest attempt that was accepted.
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
    /// This attempt and lower ones must never run again.
    #[prost(uint32, tag = "3")]
    pub fenced: u32,
    /// The process that admitted it.
    #[prost(string, tag = "4")]
    pub start_id: String,
    /// Its right to run.
    #[prost(message, optional, tag = "5")]
    pub ticket: Option<SignedTicket>,
    /// Where its media agent was said to be.
    #[prost(string, repeated, tag = "6")]
    pub addresses: Vec<String>,
    /// The job's nonce; 0: of before there were nonces.
    #[prost(fixed64, tag = "7")]
    pub nonce: u64,
    /// The code of its media agent's last word; none: that was not heard, or by a process of before this was kept.
    #[prost(uint32, optional, tag = "8")]
    pub ended: Option<u32>,
}

impl Record {
    /// Which job.
    #[must_use]
    pub const fn key(&self) -> JobKey {
        JobKey {
            id: JobId(self.job),
            nonce: JobNonce(self.nonce),
        }
    }
}

/// Why an attempt is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A later attempt was accepted before.
    Lower {
        /// The highest known one.
        highest: Attempt,
    },
    /// It was fenced.
    Fenced,
    /// What was kept of the job cannot be read: nobody knows any more which attempts are to be refused.
    Unreadable,
}

/// What this host has accepted.
#[derive(Clone, Debug)]
pub(crate) struct Book {
    start_id: StartId,
    records: BTreeMap<JobKey, Record>,
    unreadable: BTreeSet<JobKey>,
}

impl Book {
    /// An empty one, of the process with this start id.
    #[must_use]
    pub(crate) fn new(start_id: StartId) -> Self {
        Self {
            start_id,
            records: BTreeMap::new(),
            unreadable: BTreeSet::new(),
        }
    }

    /// This record is durable.
    pub(crate) fn keep(&mut self, record: Record) {
        self.records.insert(record.key(), record);
    }

    /// The job's record cannot be read.
    pub(crate) fn keep_unreadable(&mut self, job: JobKey) {
        self.unreadable.insert(job);
    }

    /// Accepts an attempt whose media agent is at one of `addresses`: what is to be kept before anybody hears of it; none if
    /// that is kept already.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) fn admit(
        &self,
        id: AttemptId,
        ticket: &SignedTicket,
        addresses: &[String],
    ) -> Result<Option<Record>, Refusal> {
        let (job, attempt) = (id.key(), id.attempt);
        self.usable(job)?;
        let (mut fenced, mut ended) = (0, None);
        if let Some(record) = self.records.get(&job) {
            let highest = Attempt(record.attempt);
            if attempt < highest {
                return Err(Refusal::Lower { highest });
            }
            if attempt.0 <= record.fenced {
                return Err(Refusal::Fenced);
            }
            let is_ours = attempt == highest && record.start_id == self.start_id.0;
            if is_ours && record.addresses == addresses {
                return Ok(None);
            }
            fenced = record.fenced;
            ended = record.ended.filter(|_| attempt == highest);
        }
        Ok(Some(Record {
            job: id.job.0,
            nonce: id.nonce.0,
            attempt: attempt.0,
            fenced,
            start_id: self.start_id.0.clone(),
            ticket: Some(ticket.clone()),
            addresses: addresses.to_vec(),
            ended,
        }))
    }

    /// The media agent spoke the last word of an attempt: what is to be kept, so that a later process can tell it (C-08); none if that is
    /// kept already, or is nobody's business any more.
    #[must_use]
    pub(crate) fn end(&self, id: AttemptId, code: u32) -> Option<Record> {
        let record = self.records.get(&id.key())?;
        let is_of_use = record.attempt == id.attempt.0 && record.attempt > record.fenced;
        let is_kept = record.ended == Some(code);
        (is_of_use && !is_kept).then(|| Record {
            ended: Some(code),
            ..record.clone()
        })
    }

    /// Refuses this attempt and lower ones from now on: what is to be kept; none if that is kept already.
    ///
    /// # Errors
    /// [`Refusal::Unreadable`].
    pub(crate) fn fence(&self, id: AttemptId) -> Result<Option<Record>, Refusal> {
        let (job, attempt) = (id.key(), id.attempt);
        self.usable(job)?;
        let mut record = self.records.get(&job).cloned().unwrap_or_default();
        if record.fenced >= attempt.0 {
            return Ok(None);
        }
        (record.job, record.nonce) = (id.job.0, id.nonce.0);
        record.fenced = attempt.0;
        if record.attempt <= attempt.0 {
            record.attempt = attempt.0;
            record.ticket = None;
            record.ended = None;
        }
        Ok(Some(record))
    }

    /// Those of `open` that an earlier process accepted: they are shown to their media agents again, who say what follows (F-09).
    pub(crate) fn of_earlier_processes(
        &self,
        open: &BTreeMap<JobKey, Attempt>,
    ) -> impl Iterator<Item = &Record> {
        self.records.iter().filter_map(|(job, record)| {
            let is_earlier = open.get(job) == Some(&Attempt(record.attempt))
                && record.attempt > record.fenced
                && record.ended.is_none()
                && record.start_id != self.start_id.0;
            is_earlier.then_some(record)
        })
    }

    /// The jobs that are neither in `open` nor in `running`: they can be forgotten.
    #[must_use]
    pub(crate) fn over(&self, open: &BTreeMap<JobKey, Attempt>, running: &BTreeSet<JobKey>) -> Vec<JobKey> {
        let known = self.records.keys().chain(&self.unreadable);
        known
            .filter(|job| !open.contains_key(job) && !running.contains(job))
            .copied()
            .collect()
    }

    /// Nothing is kept of the job any more.
    pub(crate) fn forget(&mut self, job: JobKey) {
        self.records.remove(&job);
        self.unreadable.remove(&job);
    }

    fn usable(&self, job: JobKey) -> Result<(), Refusal> {
        if self.unreadable.contains(&job) {
            return Err(Refusal::Unreadable);
        }
        Ok(())
    }
}
