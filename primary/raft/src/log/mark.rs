//! How much of the log was promised: the offset up to which it was synced and acknowledged.
//!
//! Votes and entries count once they are synced, but a log whose end was cut off or overwritten looks just like one
//! whose last write was interrupted. The mark tells them apart: it is written after each sync, so a log that ends
//! before it has lost something it promised. It is itself synced only with votes, snapshots, at start and at shutdown;
//! after a power cut it may lag, never lead.
//!
//! The file: `OUTLMARK`, the offset (8 bytes, big endian), a CRC-32 of both. Overwritten in place: 20 bytes do not
//! cross a sector. Written by the log's writer thread ([`flushed`](super::flushed)), read by [`open`](super::open).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use outlast_kit::files::flush;

use crate::files;

const MAGIC: &[u8; 8] = b"OUTLMARK";
const SIZE: usize = 20;

#[derive(Debug)]
pub(crate) struct Mark {
    file: File,
    offset: AtomicU64,
}

impl Mark {
    /// Makes a new mark at offset 0, durably.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        files::replace(path, &encode(0))?;
        Self::open(path)
    }

    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut bytes = [0; SIZE];
        file.read_exact_at(&mut bytes, 0)?;
        let mut offset = [0; 8];
        offset.copy_from_slice(&bytes[8..16]);
        let offset = u64::from_be_bytes(offset);
        if bytes != encode(offset) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "its checksum does not fit",
            ));
        }
        Ok(Self {
            file,
            offset: AtomicU64::new(offset),
        })
    }

    /// Everything before this offset was promised.
    pub(crate) fn offset(&self) -> u64 {
        self.offset.load(Ordering::Acquire)
    }

    /// Records that the log is synced up to `offset`. One caller at a time.
    pub(crate) fn raise(&self, offset: u64) -> io::Result<()> {
        if offset > self.offset() {
            self.file.write_all_at(&encode(offset), 0)?;
            self.offset.store(offset, Ordering::Release);
        }
        Ok(())
    }

    /// Makes the mark itself durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        flush(&self.file)
    }
}

fn encode(offset: u64) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..16].copy_from_slice(&offset.to_be_bytes());
    let sum = crc32fast::hash(&bytes[..16]);
    bytes[16..].copy_from_slice(&sum.to_be_bytes());
    bytes
}
