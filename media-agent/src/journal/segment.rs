//! One file of the journal: made durably, appended to and synced, scanned at start.
//!
//! Knows frames and places, not what records mean. Used by `store` only.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use outlast_kit::files::{flush, remove_durably, write_durably};

use super::error::JournalError;
use super::format::{self, BadHeader, FRAME_HEAD, HEADER_LENGTH, Header, Span};
use outlast_media_core::Record;

/// An open file of the journal.
pub(crate) struct Segment {
    pub(crate) header: Header,
    path: PathBuf,
    file: File,
    length: u64,
    /// A test's idea of how much more fits on the disk.
    #[cfg(test)]
    pub(crate) room: Option<u64>,
}

/// What a file held when it was opened.
pub(crate) struct Scanned {
    pub(crate) segment: Segment,
    pub(crate) records: Vec<(Record, Span)>,
    /// Bytes behind the last valid frame, left by a crash.
    pub(crate) torn: u64,
}

/// A write that failed, and whether the disk is as it was before.
pub(crate) struct WriteFailed {
    pub(crate) error: JournalError,
    pub(crate) undone: bool,
}

impl WriteFailed {
    /// The error; if nobody knows what is on disk, nothing may be written any more.
    pub(crate) fn noted(self, broken: &mut Option<JournalError>) -> JournalError {
        if !self.undone {
            *broken = Some(JournalError::Closed);
        }
        self.error
    }
}

/// The name of file number `number`; names sort like numbers.
pub(crate) fn file_name(number: u64) -> String {
    format!("{number:020}.journal")
}

/// The number of a file of that name.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".journal")?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

impl Segment {
    /// Makes a file whose first frame holds `records`: whole and durable. If it fails and cannot be undone, the file may be
    /// there after all, and the next process would go on in it.
    pub(crate) fn create(dir: &Path, header: Header, records: &[Record]) -> Result<Self, WriteFailed> {
        let path = dir.join(file_name(header.number));
        let (frame, _) = format::encode_frame(&header, HEADER_LENGTH as u64, records);
        let mut content = header.encode().to_vec();
        content.extend_from_slice(&frame);
        let created = write_durably(&path, &content, 0o600)
            .map_err(|error| JournalError::io(&path, error))
            .and_then(|()| open(&path));
        let file = created.map_err(|error| WriteFailed {
            error,
            undone: matches!(path.try_exists(), Ok(false)) || remove_durably(&path).is_ok(),
        })?;
        Ok(Self {
            header,
            path,
            file,
            length: content.len() as u64,
            #[cfg(test)]
            room: None,
        })
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Appends the records as one frame and syncs it.
    pub(crate) fn append(&mut self, records: &[Record]) -> Result<Vec<Span>, WriteFailed> {
        let (frame, spans) = format::encode_frame(&self.header, self.length, records);
        let written = self
            .write(&frame)
            .and_then(|()| self.file.sync_data())
            .and_then(|()| flush(&self.file));
        match written {
            Ok(()) => {
                self.length += frame.len() as u64;
                Ok(spans)
            }
            Err(error) => {
                let full = JournalError::io(&self.path, error);
                // After a failed sync nobody knows what is on disk; only a write that ran out of space can be undone.
                let undone = full.is_full()
                    && self
                        .file
                        .set_len(self.length)
                        .and_then(|()| self.file.sync_data())
                        .and_then(|()| flush(&self.file))
                        .is_ok();
                Err(WriteFailed { error: full, undone })
            }
        }
    }

    #[cfg(not(test))]
    fn write(&self, frame: &[u8]) -> io::Result<()> {
        self.file.write_all_at(frame, self.length)
    }

    #[cfg(test)]
    fn write(&self, frame: &[u8]) -> io::Result<()> {
        match self.room {
            Some(room) if room < frame.len() as u64 => {
                self.file
                    .write_all_at(&frame[..usize::try_from(room).unwrap()], self.length)?;
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => self.file.write_all_at(frame, self.length),
        }
    }

    /// The body of a record.
    pub(crate) fn read(&self, span: Span) -> Result<Vec<u8>, JournalError> {
        let mut body = vec![0; span.length as usize];
        self.file
            .read_exact_at(&mut body, span.offset)
            .map_err(|error| JournalError::io(&self.path, error))?;
        Ok(body)
    }

    /// Opens a file and reads all of it. Only the last one may have a torn tail, which is cut off; and its last frame may be
    /// that of a process that was killed between write and sync: what is believed is made durable first.
    pub(crate) fn scan(dir: &Path, number: u64, is_last: bool) -> Result<Scanned, JournalError> {
        let path = dir.join(file_name(number));
        let content = std::fs::read(&path).map_err(|error| JournalError::io(&path, error))?;
        let header = read_header(&path, &content, number)?;
        let mut records = Vec::new();
        let (mut at, mut last) = (HEADER_LENGTH, HEADER_LENGTH);
        while let Some(payload) = format::frame_at(&header, &content, at) {
            let found = format::records_of(payload, (at + FRAME_HEAD) as u64).ok_or_else(|| {
                JournalError::Damaged {
                    path: path.clone(),
                    offset: at as u64,
                }
            })?;
            records.extend(found);
            last = at;
            at += FRAME_HEAD + payload.len();
        }
        let torn = (content.len() - at) as u64;
        // The first frame was renamed into place whole: a file without one is no crash's work.
        let crash = is_last && at > HEADER_LENGTH && !valid_frame_after(&header, &content, at);
        if torn > 0 && !crash || records.is_empty() {
            let offset = at as u64;
            return Err(JournalError::Damaged { path, offset });
        }
        let file = open(&path)?;
        if is_last {
            make_durable(&file, &content[..at], last).map_err(|error| JournalError::io(&path, error))?;
        }
        let segment = Segment {
            header,
            path,
            file,
            length: at as u64,
            #[cfg(test)]
            room: None,
        };
        Ok(Scanned {
            segment,
            records,
            torn,
        })
    }

    pub(crate) fn remove(self) -> Result<(), JournalError> {
        remove_durably(&self.path).map_err(|error| JournalError::io(&self.path, error))
    }
}

/// Cuts the file to `good` and brings its last frame, at `last`, to the disk. It is written once more: after a sync that failed
/// the system may hold pages for written that the disk never got. Every earlier frame was synced before the next was begun.
fn make_durable(file: &File, good: &[u8], last: usize) -> io::Result<()> {
    file.set_len(good.len() as u64)?;
    file.write_all_at(&good[last..], last as u64)?;
    file.sync_all()?;
    flush(file)
}

fn read_header(path: &Path, content: &[u8], number: u64) -> Result<Header, JournalError> {
    let path = path.to_owned();
    match Header::decode(content) {
        Ok(header) if header.number == number => Ok(header),
        Err(BadHeader::NotOurs) => Err(JournalError::NotAJournal { path }),
        Err(BadHeader::Newer(version)) => Err(JournalError::NewerFormat { path, version }),
        Ok(_) | Err(BadHeader::Damaged) => Err(JournalError::Damaged { path, offset: 0 }),
    }
}

/// Whether anything behind `at` is a frame: then what lies between was not torn by a crash but damaged later.
fn valid_frame_after(header: &Header, content: &[u8], at: usize) -> bool {
    (at + 1..content.len()).any(|offset| format::frame_at(header, content, offset).is_some())
}

fn open(path: &Path) -> Result<File, JournalError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| JournalError::io(path, error))
}
