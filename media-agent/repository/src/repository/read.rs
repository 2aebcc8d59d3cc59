//! Reads blobs, trees and pack headers back, trusting nothing: every length, signature and checksum is checked.
//! Called by the media agent for restores, and for comparing with parent snapshots.

use bytes::Bytes;

use crate::compress::{MAX_BLOB, plain_bytes};
use crate::crypto::OVERHEAD;
use crate::error::{Damage, RepositoryError, Result};
use crate::id::{BlobId, BlobKind, PackId};
use crate::index::Location;
use crate::pack::{PackedBlob, parse_header, plain_len};
use crate::repository::Repository;
use crate::storage::FileKind;
use crate::tree::{Tree, TreeReader};

/// The format limits pack headers to this.
const MAX_HEADER: u32 = 16 << 20;

impl Repository {
    /// The length of a blob when plain, if a loaded index names it.
    pub fn blob_len(&self, kind: BlobKind, id: &BlobId) -> Option<u32> {
        let location = self.index().location(kind, id)?;
        Some(plain_len(location.length, location.compressed_from))
    }

    /// The plain bytes of a blob. If it was stored more than once, an undamaged copy is enough.
    pub fn read_blob(&self, kind: BlobKind, id: &BlobId) -> Result<Bytes> {
        self.of_copies(kind, id, |stored, plain_len| {
            let bytes = plain_bytes(stored, plain_len)?;
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
        self.of_copies(BlobKind::Tree, id, |stored, plain_len| {
            TreeReader::open(id, stored, plain_len)
        })
    }

    /// Takes the first copy of a blob that is as it should be, given its stored form and plain length if compressed.
    fn of_copies<T>(
        &self,
        kind: BlobKind,
        id: &BlobId,
        take: impl Fn(Bytes, Option<u32>) -> Result<T, Damage>,
    ) -> Result<T> {
        let mut first_error = None;
        for location in self.index().locations(kind, id) {
            let taken = self.stored_at(kind, id, &location).and_then(|stored| {
                take(stored, location.compressed_from)
                    .map_err(|damage| RepositoryError::damaged_blob(self.location(), kind, id, damage))
            });
            match taken {
                Ok(taken) => return Ok(taken),
                Err(error) => first_error = first_error.or(Some(error)),
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
        let bytes = self.storage().read_range(FileKind::Pack, &name, length_at, 4)?;
        let length = u32::from_le_bytes(bytes.try_into().map_err(|_| too_short())?);
        if length > MAX_HEADER {
            return Err(damaged(Damage::TooLarge {
                limit: u64::from(MAX_HEADER),
            }));
        }
        let header_at = length_at.checked_sub(u64::from(length)).ok_or_else(too_short)?;
        let mut header = self
            .storage()
            .read_range(FileKind::Pack, &name, header_at, length as usize)?;
        let plain = self.key().open_in_place(&mut header).map_err(damaged)?;
        parse_header(&header[plain], header_at).map_err(damaged)
    }

    /// The opened form of a blob as it is stored.
    fn stored_at(&self, kind: BlobKind, id: &BlobId, location: &Location) -> Result<Bytes> {
        let name = location.pack.to_string();
        let damaged = |damage| RepositoryError::damaged_blob(self.location(), kind, id, damage);
        let length = location.length as usize;
        if length > MAX_BLOB as usize + OVERHEAD {
            return Err(damaged(Damage::TooLarge {
                limit: u64::from(MAX_BLOB),
            }));
        }
        let mut sealed =
            match self
                .storage()
                .read_range(FileKind::Pack, &name, u64::from(location.offset), length)
            {
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
        let plain = self.key().open_in_place(&mut sealed).map_err(damaged)?;
        Ok(Bytes::from(sealed).slice(plain))
    }
}
