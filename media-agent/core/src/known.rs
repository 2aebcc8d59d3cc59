//! What the journal's records say about attempts: which are open, which numbers are over.
//!
//! Pure: the same for replay at start, live appends and tests. No files, no clock. Used by `ledger`.

use std::collections::BTreeMap;

use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{JournalEvent, Ticket};
use outlast_proto::words::{Attempt, AttemptId, JobId, JobKey, JobNonce, are_compatible};
use prost::Message as _;

use crate::kept::{ClosedJob, KeptState, OpenAttempt};
use crate::record::Record;

/// Longer than a ticket may be shown for the first time (24 h), twice over: after that nobody can show it any more.
const REMEMBERED_MICROS: i64 = 48 * 3600 * 1_000_000;

/// What this agent knows of an attempt that somebody speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Never heard of.
    New,
    /// Admitted, not ended.
    Open,
    /// It, or a later attempt of its job, has ended or was fenced.
    Closed,
    /// A later attempt of its job is open.
    Superseded,
}

/// Open attempts and closed numbers.
#[derive(Clone, Debug, Default)]
pub struct Known {
    open: BTreeMap<AttemptId, OpenAttempt>,
    /// Job -> (highest attempt that is over, when last heard of).
    closed: BTreeMap<JobKey, (Attempt, i64)>,
    newest: i64,
}

impl Known {
    /// Takes in a record, in the order of the log.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Event(event) => self.apply_event(event),
            Record::Admitted(signed) => {
                let reference = Ticket::decode(signed.ticket.clone())
                    .ok()
                    .and_then(|ticket| ticket.attempt);
                let Ok(id) = AttemptId::of_message(reference.as_ref()) else {
                    return;
                };
                let open = self.open.entry(id).or_default();
                open.attempt = reference;
                open.ticket = Some(signed.clone());
            }
            Record::Fenced(fence) => {
                self.newest = self.newest.max(fence.at_micros);
                if let Ok(id) = AttemptId::of_message(fence.attempt.as_ref()) {
                    self.close(id);
                }
            }
            Record::Kept(kept) => self.replace(kept),
            Record::Acknowledged(_) => {}
        }
    }

    fn apply_event(&mut self, event: &JournalEvent) {
        self.newest = self.newest.max(crate::stamps::of_message(event.at.as_ref()).0);
        let Ok(id) = AttemptId::of_message(event.attempt.as_ref()) else {
            return;
        };
        match &event.what {
            Some(What::Ended(_) | What::Interrupted(_)) => self.close(id),
            Some(What::ItemEnded(item)) => {
                if let Some(open) = self.open.get_mut(&id) {
                    open.items.push(item.clone());
                }
            }
            Some(What::Exceptions(found)) => {
                if let Some(open) = self.open.get_mut(&id) {
                    open.exceptions += found.exceptions.len() as u64;
                }
            }
            Some(What::Marked(marked)) => {
                if let Some(open) = self.open.get_mut(&id) {
                    open.resilient = marked.resilient;
                    open.primary_version.clone_from(&marked.primary_version);
                }
            }
            Some(What::MarkLost(_)) => {
                if let Some(open) = self.open.get_mut(&id) {
                    open.resilient = false;
                }
            }
            Some(What::ItemStarted(_) | What::Checkpoint(_) | What::Surveyed(_) | What::Detail(_)) | None => {
            }
        }
    }

    /// Its number and all lower ones of the job are over.
    fn close(&mut self, id: AttemptId) {
        let at = self.newest;
        self.open.retain(|open, _| !open.is_through(id));
        let (through, heard) = self.closed.entry(id.key()).or_insert((id.attempt, at));
        (*through, *heard) = ((*through).max(id.attempt), at);
    }

    fn replace(&mut self, kept: &KeptState) {
        self.newest = self.newest.max(kept.newest_micros);
        self.open = kept
            .open
            .iter()
            .filter_map(|open| Some((AttemptId::of_message(open.attempt.as_ref()).ok()?, open.clone())))
            .collect();
        self.closed = kept
            .jobs
            .iter()
            .map(|job| {
                let (id, nonce) = (JobId(job.job), JobNonce(job.nonce));
                (JobKey { id, nonce }, (Attempt(job.through), job.at_micros))
            })
            .collect();
    }

    /// What a new file repeats. Jobs nobody can show a ticket of any more are left out.
    #[must_use]
    pub fn keep(&self, acknowledged: u64) -> KeptState {
        KeptState {
            acknowledged,
            open: self.open.values().cloned().collect(),
            jobs: self
                .closed
                .iter()
                .filter(|(_, (_, at))| self.newest.saturating_sub(*at) <= REMEMBERED_MICROS)
                .map(|(job, (through, at))| ClosedJob {
                    job: job.id.0,
                    nonce: job.nonce.0,
                    through: through.0,
                    at_micros: *at,
                })
                .collect(),
            newest_micros: self.newest,
            writers: Vec::new(),
        }
    }

    /// What is known of an attempt.
    #[must_use]
    pub fn standing(&self, id: AttemptId) -> Standing {
        if self
            .closed
            .get(&id.key())
            .is_some_and(|(through, _)| *through >= id.attempt)
        {
            return Standing::Closed;
        }
        if self
            .open
            .keys()
            .any(|open| open.is_of_same_job(id) && open.attempt > id.attempt)
        {
            return Standing::Superseded;
        }
        if self.open.contains_key(&id) {
            Standing::Open
        } else {
            Standing::New
        }
    }

    /// The open attempts that lose their mark because a primary of this version has answered, and the version each was marked
    /// under. One of which that is not known was marked under the first version met.
    pub fn meet(&mut self, version: &str) -> Vec<(AttemptId, String)> {
        let mut lost = Vec::new();
        for (id, open) in self.open.iter_mut().filter(|(_, open)| open.resilient) {
            if open.primary_version.is_empty() {
                version.clone_into(&mut open.primary_version);
            }
            if !are_compatible(&open.primary_version, version) {
                lost.push((*id, open.primary_version.clone()));
            }
        }
        lost
    }

    /// Whether the attempt may go on without a primary.
    #[must_use]
    pub fn is_resilient(&self, id: AttemptId) -> bool {
        self.open.get(&id).is_some_and(|open| open.resilient)
    }

    /// Those that were admitted and have no end.
    #[must_use]
    pub fn open_attempts(&self) -> Vec<OpenAttempt> {
        self.open.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use outlast_proto::v1::{AttemptEnded, SignedTicket};

    use super::*;

    fn id(nonce: u64, attempt: u32) -> AttemptId {
        AttemptId {
            job: JobId(3),
            nonce: JobNonce(nonce),
            attempt: Attempt(attempt),
        }
    }

    fn admitted(id: AttemptId) -> Record {
        let ticket = Ticket {
            attempt: Some(id.to_ref()),
            ..Ticket::default()
        };
        Record::Admitted(SignedTicket {
            ticket: ticket.encode_to_vec().into(),
            ..SignedTicket::default()
        })
    }

    fn ended(id: AttemptId) -> Record {
        Record::Event(JournalEvent {
            attempt: Some(id.to_ref()),
            what: Some(What::Ended(AttemptEnded::default())),
            ..JournalEvent::default()
        })
    }

    /// A group that was set back gives number 3 out again: nothing of the job before closes or supersedes the new one's attempts.
    #[test]
    fn t90_s12b_nothing_is_called_over_that_carries_another_nonce() {
        let mut known = Known::default();
        for record in [
            admitted(id(0, 9)),
            ended(id(0, 9)),
            admitted(id(5, 1)),
            ended(id(5, 1)),
            admitted(id(5, 2)),
        ] {
            known.apply(&record);
        }
        let mut again = Known::default();
        again.apply(&Record::Kept(known.keep(0)));
        for known in [known, again] {
            for (of, standing) in [
                (id(5, 1), Standing::Closed),
                (id(5, 2), Standing::Open),
                (id(5, 3), Standing::New),
                (id(6, 1), Standing::New),
                (id(0, 1), Standing::Closed),
                (id(0, 10), Standing::New),
            ] {
                assert_eq!(known.standing(of), standing, "{of:?}");
            }
        }
    }

    #[test]
    fn t90_s12b_an_attempt_ends_no_other_of_its_number() {
        let mut known = Known::default();
        for record in [admitted(id(5, 1)), admitted(id(6, 2)), ended(id(6, 2))] {
            known.apply(&record);
        }
        assert_eq!(known.standing(id(5, 1)), Standing::Open);
        assert_eq!(known.open_attempts().len(), 1);
    }
}
