//! Reads blobs, trees and pack headers back, trusting nothing: every length, signature and checksum is checked.
//! Called by the media agent for restores, and for comparing with parent snapshots.

use std::cell::RefCell;
use std::ops::Range;

use bytes::Bytes;
use outlast_direct_io::{AlignedBuffer, BLOCK};

use crate::compress::{MAX_BLOB, plain_bytes};
use crate::crypto::OVERHEAD;
use crate::error::{Damage, RepositoryError, Result};
use crate::id::{BlobId, BlobKind, PackId};
use crate::index::Location;
use crate::pack::{PackedBlob, parse_header, plain_len};
use crate::repository::{Repository, SealedPieces};
use crate::storage::FileKind;
use crate::tree::{Tree, TreeReader};

/// The format limits pack headers to this.
const MAX_HEADER: u32 = 16 << 20;
/// A thread keeps its buffer for sealed blobs unless it got larger than this.
const KEPT_BUFFER: usize = 16 << 20;
/// A tree that is longer stays in the buffer that it was read into, or in the storage unit.
const LONG: usize = 1 << 20;

thread_local! {
    static SEALED: RefCell<AlignedBuffer> = RefCell::new(AlignedBuffer::new(BLOCK));
}

/// A blob as it is stored, opened where it was read.
struct Opened<'a> {
    buffer: &'a mut AlignedBuffer,
    at: Range<usize>,
}

impl Opened<'_> {
    fn bytes(&self) -> &[u8] {
        &self.buffer.bytes()[self.at.clone()]
    }

    /// A long one is handed over, not copied.
    fn into_bytes(self) -> Bytes {
        if self.at.len() <= LONG {
            return Bytes::copy_from_slice(self.bytes());
        }
        let buffer = std::mem::replace(self.buffer, AlignedBuffer::new(BLOCK));
        Bytes::from_owner(buffer).slice(self.at)
    }
}

/// Reads a range of a pack into a buffer and says where it lies there.
pub(super) trait Fetch: Fn(&str, Range<u64>, &mut AlignedBuffer) -> Result<Range<usize>> {}
impl<F: Fn(&str, Range<u64>, &mut AlignedBuffer) -> Result<Range<usize>>> Fetch for F {}

impl Repository {
    /// The length of a blob when plain, if a loaded index names it.
    pub fn blob_len(&self, kind: BlobKind, id: &BlobId) -> Option<u32> {
        let location = self.index().location(kind, id)?;
        Some(plain_len(location.length, location.compressed_from))
    }

    /// The plain bytes of a blob. If it was stored more than once, an undamaged copy is enough.
    pub fn read_blob(&self, kind: BlobKind, id: &BlobId) -> Result<Bytes> {
        self.read_through(kind, id, |name, range, buffer| {
            self.storage().read_range(FileKind::Pack, name, range, buffer)
        })
    }

    /// As [`Repository::read_blob`]; `fetch` reads a range of a pack.
    pub(super) fn read_through(&self, kind: BlobKind, id: &BlobId, fetch: impl Fetch) -> Result<Bytes> {
        self.of_copies(kind, id, fetch, |stored, plain_len| {
            let bytes = plain_bytes(stored.bytes(), plain_len)?;
            if BlobId::of(&bytes) == *id {
                Ok(bytes)
            } else {
                Err(Damage::HashMismatch)
            }
        })
    }

    /// The entries of a directory.
    pub fn load_tree(&self, id: &BlobId) -> Result<Tree> {
        let blob = self.read_blob(BlobKind::Tree, id)?;
        Tree::decode(&blob)
            .map_err(|damage| RepositoryError::damaged_blob(self.location(), BlobKind::Tree, id, damage))
    }

    /// The entries of a directory one by one. What is kept of a long one is its compressed form.
    pub fn open_tree(&self, id: &BlobId) -> Result<TreeReader> {
        self.open_tree_through(id, |name, range, buffer| {
            self.storage().read_range(FileKind::Pack, name, range, buffer)
        })
    }

    /// As [`Repository::open_tree`]; `fetch` reads a range of a pack.
    pub(super) fn open_tree_through(&self, id: &BlobId, fetch: impl Fetch) -> Result<TreeReader> {
        self.of_copies(BlobKind::Tree, id, fetch, |stored, plain_len| {
            TreeReader::open(id, stored.into_bytes(), plain_len)
        })
    }

    /// As [`Repository::open_tree`], for who goes on as well without the rest: nothing of a long tree is kept, so that what is read in
    /// the storage unit when its turn comes may be missing then, or another than it was. Then the entries end with an error.
    pub fn stream_tree(&self, id: &BlobId) -> Result<TreeReader> {
        self.streamed(id).map_or_else(|| self.open_tree(id), Ok)
    }

    /// A long tree of which nothing is kept.
    pub(super) fn streamed(&self, id: &BlobId) -> Option<TreeReader> {
        let kind = BlobKind::Tree;
        let location = self.index().location(kind, id);
        let location =
            location.filter(|location| location.length as usize > LONG && self.contains(kind, id))?;
        let streamed = SealedPieces::check(self, id, &location).and_then(|pieces| {
            TreeReader::stream(id, &pieces, location.compressed_from)
                .map_err(|damage| RepositoryError::damaged_blob(self.location(), kind, id, damage))
        });
        // There may be another copy; and what is wrong has to be noted.
        streamed
            .inspect_err(|error| tracing::debug!(tree = %id, %error, "a long tree is read as a whole"))
            .ok()
    }

    /// Takes the first copy of a blob that is as it should be, given its stored form and plain length if compressed.
    fn of_copies<T>(
        &self,
        kind: BlobKind,
        id: &BlobId,
        fetch: impl Fetch,
        take: impl Fn(Opened<'_>, Option<u32>) -> Result<T, Damage>,
    ) -> Result<T> {
        let mut first_error = None;
        for location in self.index().locations(kind, id) {
            match self.stored_at(kind, id, &location, &fetch, &take) {
                Ok(taken) => return Ok(taken),
                Err(error) => {
                    self.note_damage(kind, id, &location.pack, &error);
                    first_error = first_error.or(Some(error));
                }
            }
        }
        let location = self.location().to_owned();
        Err(first_error.unwrap_or(RepositoryError::MissingBlob {
            kind,
            id: *id,
            location,
        }))
    }

    /// Which blobs the pack file itself says it holds. `size` is the size of the file, as a listing gives it.
    pub fn pack_blobs(&self, pack: &PackId, size: u64) -> Result<Vec<PackedBlob>> {
        let name = pack.to_string();
        let damaged = |damage| RepositoryError::damaged_file(self.location(), FileKind::Pack, &name, damage);
        let too_short = || damaged(Damage::TooShort { length: size });
        let length_at = size.checked_sub(4).ok_or_else(too_short)?;
        let mut buffer = AlignedBuffer::new(BLOCK);
        let read = |range: Range<u64>, buffer: &mut AlignedBuffer| {
            self.read_or_judge(FileKind::Pack, &name, || {
                self.storage()
                    .read_range(FileKind::Pack, &name, range.clone(), buffer)
            })
        };
        let at = read(length_at..size, &mut buffer)?;
        let length = u32::from_le_bytes(buffer.bytes()[at].try_into().map_err(|_| too_short())?);
        if length > MAX_HEADER {
            return Err(damaged(Damage::TooLarge {
                limit: u64::from(MAX_HEADER),
            }));
        }
        let header_at = length_at.checked_sub(u64::from(length)).ok_or_else(too_short)?;
        let at = read(header_at..length_at, &mut buffer)?;
        let header = &mut buffer.bytes_mut()[at];
        let plain = self.key().open_in_place(header).map_err(damaged)?;
        parse_header(&header[plain], header_at).map_err(damaged)
    }

    /// Gives the opened form of a blob as it is stored to `take`.
    fn stored_at<T>(
        &self,
        kind: BlobKind,
        id: &BlobId,
        location: &Location,
        fetch: &impl Fetch,
        take: &impl Fn(Opened<'_>, Option<u32>) -> Result<T, Damage>,
    ) -> Result<T> {
        let name = location.pack.to_string();
        if location.length as usize > MAX_BLOB as usize + OVERHEAD {
            let limit = u64::from(MAX_BLOB);
            let damage = Damage::TooLarge { limit };
            return Err(RepositoryError::damaged_blob(self.location(), kind, id, damage));
        }
        let start = u64::from(location.offset);
        SEALED.with_borrow_mut(|buffer| {
            let range = start..start + u64::from(location.length);
            let read = self.read_or_judge(FileKind::Pack, &name, || fetch(&name, range.clone(), buffer));
            let at = match read {
                Err(error) if error.is_not_found() => {
                    let damage = Damage::Missing;
                    return Err(RepositoryError::damaged_file(
                        self.location(),
                        FileKind::Pack,
                        &name,
                        damage,
                    ));
                }
                read => read?,
            };
            let start = at.start;
            let opened = self.key().open_in_place(&mut buffer.bytes_mut()[at]);
            let taken = opened.and_then(|plain| {
                let at = start + plain.start..start + plain.end;
                take(Opened { buffer, at }, location.compressed_from)
            });
            if buffer.capacity() > KEPT_BUFFER {
                *buffer = AlignedBuffer::new(BLOCK);
            }
            taken.map_err(|damage| RepositoryError::damaged_blob(self.location(), kind, id, damage))
        })
    }
}
