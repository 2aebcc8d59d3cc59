//! The log as a whole: its files in order, over the core's `Ledger`. Synchronous.
//!
//! When a file is full the next begins with everything that still counts, so a file goes as soon as the primary has
//! committed its events: the disk holds what is not delivered and little more. Owned by `worker`; tests drive it directly.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use outlast_kit::files::{create_folder, remove_durably, sync_folder};
use outlast_media_core::{FOLD_FROM, Fold, Gap, Known, Ledger, NewRecord, Record, Writers};
use outlast_proto::v1::JournalEvent;
use outlast_proto::words::{JournalId, Timestamp};
use prost::Message as _;

use super::error::JournalError;
use super::format::{Header, MAX_FRAME, Span};
use super::segment::{Scanned, Segment, WriteFailed, number_of};

/// How large a file grows before the next is begun.
pub(crate) const ROTATE_AT: u64 = 4 << 20;

/// Where an event that is not acknowledged lies.
#[derive(Clone, Copy)]
struct Place {
    file: u64,
    span: Span,
}

pub(crate) struct Store {
    dir: PathBuf,
    rotate_at: u64,
    /// By number; the last is appended to.
    files: BTreeMap<u64, Segment>,
    header: Header,
    ledger: Ledger,
    /// Of events `acknowledged + 1` to `last`.
    places: VecDeque<Place>,
    /// Bytes of these events.
    waiting: u64,
    /// From so many on details are left out.
    fold_from: u64,
    fold: Fold,
    /// The error after which nothing is written any more.
    broken: Option<JournalError>,
}

impl Store {
    /// Opens the journal in `dir`, or begins one there.
    pub(crate) fn open(dir: &Path, rotate_at: u64) -> Result<Self, JournalError> {
        let failed = |error| JournalError::io(dir, error);
        create_folder(dir, 0o700).map_err(failed)?;
        let mut numbers = list(dir)?;
        // A file whose name an earlier process did not come to sync is believed from here on.
        sync_folder(dir).map_err(failed)?;
        let Some(newest) = numbers.last().copied() else {
            return Self::begin(dir, rotate_at, 1, &Known::default(), new_writer())
                .map_err(|failed| failed.error);
        };
        let newest = Segment::scan(dir, newest, true)?;
        numbers.pop();
        let mut older = Vec::new();
        for number in numbers {
            let scanned = Segment::scan(dir, number, false)?;
            if scanned.segment.header.journal == newest.segment.header.journal {
                older.push(scanned);
            } else {
                // Of the journal before this one; a crash came before it was removed.
                scanned.segment.remove()?;
            }
        }
        Self::replay(dir, rotate_at, older, newest)
    }

    fn begin(
        dir: &Path,
        rotate_at: u64,
        number: u64,
        known: &Known,
        writer: u64,
    ) -> Result<Self, WriteFailed> {
        let header = Header {
            journal: uuid::Uuid::new_v4(),
            number,
            first_sequence: 1,
        };
        let segment = Segment::create(dir, header.clone(), &[Record::Kept(known.keep(0))])?;
        Ok(Self {
            dir: dir.to_owned(),
            rotate_at,
            files: BTreeMap::from([(number, segment)]),
            header,
            ledger: Ledger::begin(known, writer),
            places: VecDeque::new(),
            waiting: 0,
            fold_from: FOLD_FROM,
            fold: Fold::default(),
            broken: None,
        })
    }

    fn replay(
        dir: &Path,
        rotate_at: u64,
        older: Vec<Scanned>,
        newest: Scanned,
    ) -> Result<Self, JournalError> {
        if newest.torn > 0 {
            tracing::warn!(
                journal = %dir.display(), bytes = newest.torn,
                "the journal's last record was not finished when the agent ended; it is cut off"
            );
        }
        let first = older.first().unwrap_or(&newest).segment.header.first_sequence;
        let mut store = Self {
            dir: dir.to_owned(),
            rotate_at,
            files: BTreeMap::new(),
            header: newest.segment.header.clone(),
            ledger: Ledger::replaying(first, new_writer()),
            places: VecDeque::new(),
            waiting: 0,
            fold_from: FOLD_FROM,
            fold: Fold::default(),
            broken: None,
        };
        let mut next_number = None;
        for scanned in older.into_iter().chain([newest]) {
            let number = scanned.segment.header.number;
            if let Some(missing) = next_number.filter(|next| *next != number) {
                return Err(JournalError::SegmentMissing {
                    dir: dir.to_owned(),
                    missing,
                });
            }
            next_number = Some(number + 1);
            store.take(number, &scanned.records)?;
            store.files.insert(number, scanned.segment);
        }
        store.ledger.replayed();
        let delivered = store.ledger.acknowledged() - (first - 1);
        store
            .places
            .drain(..usize::try_from(delivered).unwrap_or(usize::MAX));
        store.waiting = store
            .places
            .iter()
            .map(|place| u64::from(place.span.length))
            .sum();
        store.drop_delivered_files()?;
        Ok(store)
    }

    /// Takes in the records of a file at start.
    fn take(&mut self, number: u64, records: &[(Record, Span)]) -> Result<(), JournalError> {
        for (record, span) in records {
            self.ledger.replay(record).map_err(|Gap| JournalError::Damaged {
                path: self.dir.join(super::segment::file_name(number)),
                offset: span.offset,
            })?;
            if let Record::Event(_) = record {
                self.places.push_back(Place {
                    file: number,
                    span: *span,
                });
            }
        }
        Ok(())
    }

    pub(crate) fn journal_id(&self) -> JournalId {
        self.header.journal_id()
    }

    pub(crate) fn known(&self) -> &Known {
        self.ledger.known()
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.ledger.acknowledged()
    }

    pub(crate) fn last(&self) -> u64 {
        self.ledger.last()
    }

    pub(crate) fn writers(&self) -> &Writers {
        self.ledger.writers()
    }

    /// Writes and syncs all of it, or nothing.
    pub(crate) fn append(&mut self, new: Vec<NewRecord>) -> Result<(), JournalError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let new = self.fold.of(new, self.waiting >= self.fold_from);
        let ended = Fold::ended(&new);
        let mut records = self.ledger.number(new);
        let length = records.iter().map(Record::length).sum();
        if length > MAX_FRAME / 2 {
            return Err(JournalError::TooLarge { length });
        }
        if self.current_length() > self.rotate_at {
            self.rotate()?;
        }
        records.extend(self.ledger.unwritten_acknowledgement());
        if records.is_empty() {
            return Ok(());
        }
        self.write(&records)?;
        self.fold.forget(&ended);
        Ok(())
    }

    /// A primary of this version has answered: attempts marked under one that is not compatible lose their mark.
    pub(crate) fn meet(&mut self, version: &str, at: Timestamp) -> Result<(), JournalError> {
        let events = self.ledger.meet(version, at);
        if events.is_empty() {
            return Ok(());
        }
        self.append(events)
    }

    fn write(&mut self, records: &[Record]) -> Result<(), JournalError> {
        let (&file, segment) = self.files.iter_mut().next_back().ok_or(JournalError::Closed)?;
        let spans = segment
            .append(records)
            .map_err(|failed| failed.noted(&mut self.broken))?;
        for (record, span) in records.iter().zip(spans) {
            if let Record::Event(_) = record {
                self.waiting += u64::from(span.length);
                self.places.push_back(Place { file, span });
            }
        }
        self.ledger.written(records);
        Ok(())
    }

    fn current_length(&self) -> u64 {
        self.files.values().next_back().map_or(0, Segment::length)
    }

    /// Begins the next file with what still counts.
    fn rotate(&mut self) -> Result<(), JournalError> {
        let header = Header {
            number: self.header.number + 1,
            first_sequence: self.last() + 1,
            journal: self.header.journal,
        };
        let kept = self.ledger.keep();
        if kept.encoded_len() > MAX_FRAME - 1024 {
            tracing::warn!(journal = %self.dir.display(), "so many attempts are open that the journal's file grows on");
            return Ok(());
        }
        let first = [Record::Kept(kept)];
        let segment = Segment::create(&self.dir, header.clone(), &first)
            .map_err(|failed| failed.noted(&mut self.broken))?;
        self.ledger.written(&first);
        self.files.insert(header.number, segment);
        self.header = header;
        self.drop_delivered_files()
    }

    /// The primary has committed everything up to `sequence`. Reaches the disk with the next append.
    pub(crate) fn acknowledge(&mut self, sequence: u64) -> Result<(), JournalError> {
        let more = self.ledger.acknowledge(sequence);
        let delivered = self.places.drain(..usize::try_from(more).unwrap_or(usize::MAX));
        self.waiting -= delivered.map(|place| u64::from(place.span.length)).sum::<u64>();
        self.drop_delivered_files()
    }

    /// Writes down what is acknowledged, so that the next process does not ask the primary for it.
    pub(crate) fn close(&mut self) -> Result<(), JournalError> {
        if self.ledger.unwritten_acknowledgement().is_some() {
            self.append(Vec::new())?;
        }
        Ok(())
    }

    /// Removes files, oldest first, of which every event is acknowledged.
    fn drop_delivered_files(&mut self) -> Result<(), JournalError> {
        while let Some((&oldest, _)) = self.files.first_key_value() {
            let Some(next) = self.files.get(&(oldest + 1)) else {
                break;
            };
            if next.header.first_sequence - 1 > self.acknowledged() {
                break;
            }
            if let Some(file) = self.files.remove(&oldest) {
                file.remove()?;
            }
        }
        Ok(())
    }

    /// Events from `from` on, as many as `limit`; empty if there are none yet.
    pub(crate) fn read(&self, from: u64, limit: usize) -> Result<Vec<JournalEvent>, JournalError> {
        let Some(skip) = from.checked_sub(self.acknowledged() + 1) else {
            return Ok(Vec::new());
        };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        self.places
            .iter()
            .skip(skip)
            .take(limit)
            .map(|place| {
                let file = self.files.get(&place.file).ok_or(JournalError::Closed)?;
                let body = file.read(place.span)?;
                JournalEvent::decode(body.as_slice()).map_err(|_| JournalError::Damaged {
                    path: self.dir.join(super::segment::file_name(place.file)),
                    offset: place.span.offset,
                })
            })
            .collect()
    }

    /// Leaves this journal behind and begins one with a new id; open attempts and closed numbers are taken along.
    pub(crate) fn begin_new(&mut self) -> Result<(), JournalError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let number = self.header.number + 1;
        let next = Self::begin(
            &self.dir,
            self.rotate_at,
            number,
            self.known(),
            self.ledger.writer(),
        )
        .map_err(|failed| failed.noted(&mut self.broken))?;
        let old = std::mem::replace(self, next);
        for file in old.files.into_values() {
            file.remove()?;
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn set_fold_from(&mut self, bytes: u64) {
        self.fold_from = bytes;
    }

    #[cfg(test)]
    pub(crate) fn set_room(&mut self, room: Option<u64>) {
        self.files.values_mut().next_back().unwrap().room = room;
    }
}

/// A number for this process that none before has had.
fn new_writer() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1
}

/// The numbers of the journal files in `dir`, rising. Half-made files of a crash are removed.
fn list(dir: &Path) -> Result<Vec<u64>, JournalError> {
    let failed = |error| JournalError::io(dir, error);
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_string_lossy();
        if let Some(number) = number_of(&name) {
            numbers.push(number);
        } else if name.ends_with(".tmp") {
            remove_durably(&dir.join(name.as_ref())).map_err(failed)?;
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}
