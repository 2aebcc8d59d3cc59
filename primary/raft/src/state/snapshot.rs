//! Snapshot files: their format. Written by [`build`](super::build) and by [`net`](crate::net) when one arrives; read when
//! one is sent or installed. Which ones are kept is decided in [`kept`](super::kept).
//!
//! The file: `OUTLSNAP`; length of the head (4 bytes, big endian); head: version byte 1 and [`Head`] in MessagePack with
//! field names; rows: length of the key, length of the value (4 bytes each), key, value; at last a CRC-32 of all
//! before it. It is named `snapshot-<index>-<term>` only once it is complete and synced.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::format::{self, FormatError, LogIdForm, MembershipForm};
use crate::state::rows::{Meta, Row, Tally};
use crate::state::terms::Terms;
use crate::types::SnapshotMeta;

const MAGIC: &[u8; 8] = b"OUTLSNAP";
const VERSION: u8 = 1;
const MAX_HEAD: u32 = 16 * 1024 * 1024;

/// What the rows of a snapshot are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) applied: Option<LogIdForm>,
    pub(crate) membership: MembershipForm,
    pub(crate) tally: Tally,
    /// Empty in snapshots of before it was kept.
    #[serde(default, skip_serializing_if = "Terms::is_empty")]
    pub(crate) terms: Terms,
}

impl From<&Meta> for Head {
    fn from(meta: &Meta) -> Self {
        Self {
            applied: meta.applied,
            membership: meta.membership.clone(),
            tally: meta.tally,
            terms: meta.terms.clone(),
        }
    }
}

/// A complete, checked snapshot. Stays readable for whoever holds it, even after a newer one replaced it.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotFile {
    path: PathBuf,
    file: Arc<File>,
    len: u64,
    head: Head,
}

impl SnapshotFile {
    /// Reads all of it: a snapshot that does not check is no snapshot.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let mut reader = match Reader::new(&file, len) {
            // A damaged byte can look like another version; only a file that is whole was written by one.
            Err(error) if is_newer(&error) && !sum_fits(&file, len)? => {
                return Err(damaged("its checksum does not fit"));
            }
            opened => opened?,
        };
        let mut found = Tally::default();
        while let Some((key, value)) = reader.row()? {
            found.add(&key, &value);
        }
        reader.check_end()?;
        let head = reader.head;
        if found != head.tally {
            return Err(damaged("its rows are not those it announces"));
        }
        Ok(Self {
            path: path.to_path_buf(),
            file: Arc::new(file),
            len,
            head,
        })
    }

    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file another name; whoever wants that durable syncs the directory.
    pub(crate) fn rename(self, path: PathBuf) -> io::Result<Self> {
        if self.path != path {
            fs::rename(&self.path, &path)?;
        }
        Ok(Self { path, ..self })
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn meta(&self) -> Result<SnapshotMeta, format::FormatError> {
        Ok(SnapshotMeta {
            last_log_id: self.head.applied.map(Into::into),
            last_membership: self.head.membership.clone().try_into()?,
        })
    }

    /// The bytes, for sending them.
    pub(crate) fn file(&self) -> Arc<File> {
        self.file.clone()
    }

    pub(crate) fn rows(&self) -> io::Result<impl Iterator<Item = io::Result<Row>>> {
        let mut reader = Reader::new(File::open(&self.path)?, self.len)?;
        Ok(std::iter::from_fn(move || reader.row().transpose()))
    }
}

/// Writes one snapshot file.
pub(crate) struct SnapshotWriter {
    out: BufWriter<File>,
    crc: crc32fast::Hasher,
}

impl SnapshotWriter {
    pub(crate) fn create(path: &Path, head: &Head) -> io::Result<Self> {
        let mut writer = Self {
            out: BufWriter::new(File::create(path)?),
            crc: crc32fast::Hasher::new(),
        };
        let head = format::encode(VERSION, head)?;
        writer.put(MAGIC)?;
        writer.put(&length(head.len())?)?;
        writer.put(&head)?;
        Ok(writer)
    }

    pub(crate) fn row(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.put(&length(key.len())?)?;
        self.put(&length(value.len())?)?;
        self.put(key)?;
        self.put(value)
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        let sum = self.crc.clone().finalize();
        self.out.write_all(&sum.to_be_bytes())?;
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        outlast_kit::files::close(file)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc.update(bytes);
        self.out.write_all(bytes)
    }
}

struct Reader<F> {
    input: BufReader<F>,
    crc: crc32fast::Hasher,
    head: Head,
    /// Bytes before the final checksum that were not read yet.
    left: u64,
}

impl<F: Read> Reader<F> {
    fn new(file: F, len: u64) -> io::Result<Self> {
        let head = Head::default();
        let left = len.checked_sub(4).ok_or_else(|| damaged("it is too short"))?;
        let input = BufReader::with_capacity(256 * 1024, file);
        let mut reader = Self {
            input,
            crc: crc32fast::Hasher::new(),
            head,
            left,
        };
        if &reader.take::<8>()? != MAGIC {
            return Err(damaged("it does not begin like a snapshot"));
        }
        let size = u32::from_be_bytes(reader.take()?);
        if size > MAX_HEAD {
            return Err(damaged("its head is too long"));
        }
        reader.head = format::decode(VERSION, &reader.bytes(size)?)?;
        Ok(reader)
    }

    fn row(&mut self) -> io::Result<Option<Row>> {
        if self.left == 0 {
            return Ok(None);
        }
        let (key, value) = (u32::from_be_bytes(self.take()?), u32::from_be_bytes(self.take()?));
        Ok(Some((self.bytes(key)?, self.bytes(value)?)))
    }

    fn check_end(&mut self) -> io::Result<()> {
        let mut sum = [0; 4];
        self.input.read_exact(&mut sum)?;
        if u32::from_be_bytes(sum) != self.crc.clone().finalize() {
            return Err(damaged("its checksum does not fit"));
        }
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn bytes(&mut self, size: u32) -> io::Result<Vec<u8>> {
        // Checked before memory is asked for: the length may be damaged.
        if u64::from(size) > self.left {
            return Err(damaged("it is cut short"));
        }
        let mut bytes = vec![0; size as usize];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| damaged("it is cut short"))?;
        self.input.read_exact(bytes)?;
        self.crc.update(bytes);
        Ok(())
    }
}

/// Whether all of the file is what its last four bytes say, whatever it holds.
fn sum_fits(file: &File, len: u64) -> io::Result<bool> {
    let mut crc = crc32fast::Hasher::new();
    let (mut at, mut buffer) = (0, vec![0; 64 * 1024]);
    let end = len.saturating_sub(4);
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        file.read_exact_at(&mut buffer[..want], at)?;
        crc.update(&buffer[..want]);
        at += want as u64;
    }
    let mut sum = [0; 4];
    Ok(len >= 4 && {
        file.read_exact_at(&mut sum, end)?;
        u32::from_be_bytes(sum) == crc.finalize()
    })
}

/// A newer version of this program wrote it.
pub(super) fn is_newer(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(FormatError::Version { .. }))
}

fn length(size: usize) -> io::Result<[u8; 4]> {
    let size =
        u32::try_from(size).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a row of 4 GiB"))?;
    Ok(size.to_be_bytes())
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the snapshot is damaged: {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(path: &Path) -> Vec<u8> {
        let mut tally = Tally::default();
        tally.add(b"key", b"value");
        let applied = Some(LogIdForm { term: 1, index: 7 });
        let head = Head {
            applied,
            tally,
            ..Head::default()
        };
        let mut writer = SnapshotWriter::create(path, &head).unwrap();
        writer.row(b"key", b"value").unwrap();
        writer.finish().unwrap();
        fs::read(path).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("one");
        written(&path);
        let file = SnapshotFile::open(&path).unwrap();
        assert_eq!(file.head().applied, Some(LogIdForm { term: 1, index: 7 }));
        let rows: Vec<_> = file.rows().unwrap().map(Result::unwrap).collect();
        assert_eq!(rows, [(b"key".to_vec(), b"value".to_vec())]);
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("one");
        let good = written(&path);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x20;
            fs::write(&path, &bad).unwrap();
            assert!(SnapshotFile::open(&path).is_err(), "byte {at}");
            fs::write(&path, &good[..at]).unwrap();
            assert!(SnapshotFile::open(&path).is_err(), "cut at {at}");
        }
    }
}
