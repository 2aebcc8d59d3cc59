//! What is left out of a journal that has grown large because no primary takes it: details, which are counted. Results never are.
//!
//! Asked by the media agent's `journal::store` before it writes.

use std::collections::BTreeMap;

use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{DetailSaid, Severity};

use crate::record::{NewEvent, NewRecord};
use outlast_proto::words::AttemptId;

/// So many bytes of events may wait for a primary before details are left out. Results of some hundred bytes each come on top.
pub const FOLD_FROM: u64 = 64 << 20;

/// What was left out of the attempts that have not ended. A crash forgets the numbers, not the results.
#[derive(Debug, Default)]
pub struct Fold {
    left_out: BTreeMap<AttemptId, LeftOut>,
}

#[derive(Clone, Copy, Debug, Default)]
struct LeftOut {
    details: u64,
    names: u64,
}

impl Fold {
    /// What of `new` is to be written while the journal `is_large`; an attempt that ends says what was left out of it.
    #[must_use]
    pub fn of(&mut self, new: Vec<NewRecord>, is_large: bool) -> Vec<NewRecord> {
        let mut written = Vec::with_capacity(new.len());
        for record in new {
            if let NewRecord::Event(event) = &record {
                if is_large && self.leaves_out(event) {
                    continue;
                }
                written.extend(self.note_before(event));
            }
            written.push(record);
        }
        written
    }

    /// The attempts that end with `records`.
    #[must_use]
    pub fn ended(records: &[NewRecord]) -> Vec<AttemptId> {
        let ended = |record: &NewRecord| match record {
            NewRecord::Event(event) => is_last(&event.what).then_some(event.id),
            NewRecord::Admitted(_) | NewRecord::Fenced { .. } => None,
        };
        records.iter().filter_map(ended).collect()
    }

    /// Their ends are durable, and their notes with them.
    pub fn forget(&mut self, ended: &[AttemptId]) {
        for id in ended {
            self.left_out.remove(id);
        }
    }

    fn leaves_out(&mut self, event: &NewEvent) -> bool {
        let (details, names) = match &event.what {
            What::Exceptions(found) => (0, found.exceptions.len() as u64),
            // A checkpoint costs time if nobody knows of it, never correctness (F-05).
            What::Detail(_) | What::Checkpoint(_) => (1, 0),
            What::Marked(_)
            | What::MarkLost(_)
            | What::ItemStarted(_)
            | What::ItemEnded(_)
            | What::Surveyed(_)
            | What::Interrupted(_)
            | What::Ended(_) => return false,
        };
        let left_out = self.left_out.entry(event.id).or_default();
        left_out.details += details;
        left_out.names += names;
        true
    }

    fn note_before(&self, event: &NewEvent) -> Option<NewRecord> {
        let LeftOut { details, names } = *self.left_out.get(&event.id).filter(|_| is_last(&event.what))?;
        let text = format!(
            "left out, because the journal had grown too large while no primary answered: {details} details, the names of {names} files with exceptions"
        );
        Some(NewRecord::Event(NewEvent {
            at: event.at,
            id: event.id,
            what: What::Detail(DetailSaid {
                severity: Severity::Warning.into(),
                text,
            }),
        }))
    }
}

fn is_last(what: &What) -> bool {
    matches!(what, What::Interrupted(_) | What::Ended(_))
}
