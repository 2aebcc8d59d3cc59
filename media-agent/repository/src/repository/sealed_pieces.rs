//! A long blob read in pieces, of which one is in memory: all of it passes through the check of its tag first, and each piece must
//! be what it was then when its turn comes.
//!
//! Made by `Repository::stream_tree`; what the text means is the tree reader's.

use std::io::{self, BufRead, Read};
use std::ops::Range;
use std::sync::Arc;

use outlast_direct_io::{AlignedBuffer, BLOCK};
use sha2::{Digest, Sha256};

use crate::crypto::{Keystream, NONCE, OVERHEAD};
use crate::error::{Damage, RepositoryError, Result};
use crate::id::{BlobId, BlobKind};
use crate::index::Location;
use crate::repository::Repository;
use crate::storage::FileKind;

/// Of the sealed text. A multiple of the ciphers' blocks.
const PIECE: usize = 1 << 20;
const TAG: usize = OVERHEAD - NONCE;

type Sum = [u8; 32];

/// Where the text is, and what its pieces are.
#[derive(Clone)]
pub(crate) struct SealedPieces {
    repository: Repository,
    pack: String,
    /// Of the text in the pack.
    text: Range<u64>,
    nonce: [u8; NONCE],
    sums: Arc<[Sum]>,
}

/// Gives the opened text.
pub(crate) struct OpenedPieces {
    of: SealedPieces,
    keystream: Keystream,
    next: usize,
    buffer: AlignedBuffer,
    /// What of the buffer was not given yet.
    left: Range<usize>,
}

impl SealedPieces {
    /// Reads all of the blob and checks its tag.
    pub(super) fn check(repository: &Repository, id: &BlobId, location: &Location) -> Result<SealedPieces> {
        let start = u64::from(location.offset);
        let end = start + u64::from(location.length);
        let mut pieces = SealedPieces {
            repository: repository.clone(),
            pack: location.pack.to_string(),
            text: start + NONCE as u64..end - TAG as u64,
            nonce: [0; NONCE],
            sums: Arc::default(),
        };
        let mut buffer = AlignedBuffer::new(BLOCK);
        let at = pieces.read(start..pieces.text.start, &mut buffer)?;
        pieces.nonce.copy_from_slice(&buffer.bytes()[at]);
        let mut tag = repository.key().check_tag(pieces.nonce);
        let mut sums = Vec::new();
        for number in 0..pieces.count() {
            let at = pieces.read(pieces.range(number), &mut buffer)?;
            let piece = &buffer.bytes()[at];
            sums.push(Sha256::digest(piece).into());
            tag.update(piece);
        }
        let at = pieces.read(pieces.text.end..end, &mut buffer)?;
        tag.finish(&buffer.bytes()[at]).map_err(|damage| {
            RepositoryError::damaged_blob(repository.location(), BlobKind::Tree, id, damage)
        })?;
        pieces.sums = sums.into();
        Ok(pieces)
    }

    /// The bytes of the text.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.text.end - self.text.start).unwrap_or(usize::MAX)
    }

    /// The text from its beginning.
    pub(crate) fn open(&self) -> OpenedPieces {
        OpenedPieces {
            of: self.clone(),
            keystream: self.repository.key().keystream(self.nonce),
            next: 0,
            buffer: AlignedBuffer::new(OpenedPieces::MEMORY),
            left: 0..0,
        }
    }

    fn count(&self) -> usize {
        self.len().div_ceil(PIECE)
    }

    fn range(&self, number: usize) -> Range<u64> {
        let start = self.text.start + (number * PIECE) as u64;
        start..self.text.end.min(start + PIECE as u64)
    }

    fn read(&self, range: Range<u64>, buffer: &mut AlignedBuffer) -> Result<Range<usize>> {
        let storage = self.repository.storage();
        storage.read_range(FileKind::Pack, &self.pack, range, buffer)
    }
}

impl OpenedPieces {
    /// What it takes.
    pub(crate) const MEMORY: usize = PIECE + 2 * BLOCK;

    fn read_next(&mut self) -> Result<()> {
        let at = self.of.read(self.of.range(self.next), &mut self.buffer)?;
        let piece = &mut self.buffer.bytes_mut()[at.clone()];
        if self.of.sums[self.next] != Sum::from(Sha256::digest(&*piece)) {
            let (location, damage) = (self.of.repository.location(), Damage::NotAuthentic);
            return Err(RepositoryError::damaged_file(
                location,
                FileKind::Pack,
                &self.of.pack,
                damage,
            ));
        }
        self.keystream.apply(piece);
        (self.next, self.left) = (self.next + 1, at);
        Ok(())
    }
}

impl BufRead for OpenedPieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left.is_empty() && self.next < self.of.count() {
            self.read_next().map_err(io::Error::other)?;
        }
        Ok(&self.buffer.bytes()[self.left.clone()])
    }

    fn consume(&mut self, count: usize) {
        self.left.start += count;
    }
}

impl Read for OpenedPieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}
