//! A journal without its disk: which numbers events get, what is acknowledged, what is known of attempts.
//!
//! The shell asks for the records to be written, writes and syncs them, and only then says so with [`Ledger::written`]. Replay
//! at start goes the same way. Used by the media agent's `journal::store`, and by the simulation over a disk of its own.

use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{JournalEvent, MarkLost};
use outlast_proto::words::Timestamp;

use crate::kept::{Fence, KeptState};
use crate::known::Known;
use crate::record::{NewEvent, NewRecord, Record};
use crate::writers::Writers;

/// The state of one journal.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// This process, in what it writes.
    writer: u64,
    known: Known,
    writers: Writers,
    acknowledged: u64,
    /// The acknowledgement that is on disk already.
    acknowledged_on_disk: u64,
    last: u64,
}

/// An event does not follow the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap;

impl Ledger {
    /// A journal with a new id; open attempts and closed numbers of the one before are taken along. `writer` is a number that no
    /// process had before.
    #[must_use]
    pub fn begin(known: &Known, writer: u64) -> Self {
        Self {
            writer,
            known: known.clone(),
            ..Self::default()
        }
    }

    /// A journal about to be replayed, the first of whose events that are left has this number.
    #[must_use]
    pub fn replaying(first: u64, writer: u64) -> Self {
        Self {
            writer,
            last: first - 1,
            acknowledged: first - 1,
            ..Self::default()
        }
    }

    /// Takes in a record that lies on disk, in order.
    ///
    /// # Errors
    /// [`Gap`] if events are missing before it.
    pub fn replay(&mut self, record: &Record) -> Result<(), Gap> {
        match record {
            Record::Event(event) if event.sequence == self.last + 1 => {
                self.last = event.sequence;
                self.writers.wrote(event.sequence, event.writer);
            }
            Record::Event(_) => return Err(Gap),
            Record::Acknowledged(sequence) => self.acknowledged = self.acknowledged.max(*sequence),
            Record::Kept(kept) => {
                self.acknowledged = self.acknowledged.max(kept.acknowledged);
                self.writers.take(&kept.writers);
            }
            Record::Admitted(_) | Record::Fenced(_) => {}
        }
        self.known.apply(record);
        Ok(())
    }

    /// Everything was replayed.
    pub fn replayed(&mut self) {
        self.acknowledged = self.acknowledged.min(self.last);
        self.acknowledged_on_disk = self.acknowledged;
    }

    /// The records as they are to be written, events with their numbers.
    #[must_use]
    pub fn number(&self, new: Vec<NewRecord>) -> Vec<Record> {
        let mut sequence = self.last;
        new.into_iter()
            .map(|record| number(record, &mut sequence, self.writer))
            .collect()
    }

    /// What is to be written with the next records, so that the next process does not ask the primary for it.
    #[must_use]
    pub fn unwritten_acknowledgement(&self) -> Option<Record> {
        (self.acknowledged > self.acknowledged_on_disk).then_some(Record::Acknowledged(self.acknowledged))
    }

    /// These records are durable now.
    pub fn written(&mut self, records: &[Record]) {
        for record in records {
            match record {
                Record::Event(event) => {
                    self.last = event.sequence;
                    self.writers.wrote(event.sequence, event.writer);
                }
                Record::Acknowledged(sequence) => self.acknowledged_on_disk = *sequence,
                Record::Kept(kept) => self.acknowledged_on_disk = kept.acknowledged,
                Record::Admitted(_) | Record::Fenced(_) => {}
            }
            self.known.apply(record);
        }
    }

    /// A primary of this version has answered: what is to be written, for attempts that lose their mark by it.
    #[must_use]
    pub fn meet(&mut self, version: &str, at: Timestamp) -> Vec<NewRecord> {
        let lost = self.known.meet(version).into_iter();
        lost.map(|(id, from)| {
            let to = version.to_owned();
            let what = What::MarkLost(MarkLost { from, to });
            NewRecord::Event(NewEvent { at, id, what })
        })
        .collect()
    }

    /// The primary has committed everything up to `sequence`: how many events that makes more. Reaches the disk with the next
    /// records.
    pub fn acknowledge(&mut self, sequence: u64) -> u64 {
        let sequence = sequence.min(self.last).max(self.acknowledged);
        let more = sequence - self.acknowledged;
        self.acknowledged = sequence;
        self.writers.forget_before(sequence);
        more
    }

    /// What a new file begins with.
    #[must_use]
    pub fn keep(&self) -> KeptState {
        KeptState {
            writers: self.writers.kept(),
            ..self.known.keep(self.acknowledged)
        }
    }

    /// Which process wrote which events.
    #[must_use]
    pub fn writers(&self) -> &Writers {
        &self.writers
    }

    /// This process, in what it writes.
    #[must_use]
    pub fn writer(&self) -> u64 {
        self.writer
    }

    /// What the records say of attempts.
    #[must_use]
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// The last event that the primary has.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// The last event there is; 0: none ever.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }
}

fn number(record: NewRecord, sequence: &mut u64, writer: u64) -> Record {
    match record {
        NewRecord::Event(event) => {
            *sequence += 1;
            Record::Event(JournalEvent {
                sequence: *sequence,
                at: Some(crate::stamps::to_message(event.at)),
                attempt: Some(event.id.to_ref()),
                what: Some(event.what),
                writer,
            })
        }
        NewRecord::Admitted(ticket) => Record::Admitted(ticket),
        NewRecord::Fenced { id, at } => Record::Fenced(Fence {
            attempt: Some(id.to_ref()),
            at_micros: at.0,
        }),
    }
}
