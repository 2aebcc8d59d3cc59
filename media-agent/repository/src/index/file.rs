//! An index file as JSON. Sealing and naming it is `object`'s. Called by `index` and `writer::index_files`.

use serde::{Deserialize, Serialize};

use crate::compress::MAX_BLOB;
use crate::crypto::OVERHEAD;
use crate::error::Damage;
use crate::id::{BlobId, BlobKind, PackId};
use crate::pack::PackedBlob;

#[derive(Serialize, Deserialize)]
pub(crate) struct IndexFile {
    packs: Vec<PackJson>,
    /// What rustic is about to remove: still there, and no copy that anybody may rely on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    packs_to_delete: Vec<PackToDelete>,
}

#[derive(Serialize, Deserialize)]
struct PackToDelete {
    id: PackId,
}

#[derive(Serialize, Deserialize)]
struct PackJson {
    id: PackId,
    blobs: Vec<BlobJson>,
}

#[derive(Serialize, Deserialize)]
struct BlobJson {
    id: BlobId,
    #[serde(rename = "type")]
    kind: BlobKind,
    offset: u32,
    length: u32,
    /// Zero, or absent, if the blob is not compressed.
    #[serde(default, skip_serializing_if = "is_zero")]
    uncompressed_length: u32,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl IndexFile {
    pub(crate) fn of(packs: &[(PackId, Vec<PackedBlob>)]) -> IndexFile {
        let blob = |blob: &PackedBlob| BlobJson {
            id: blob.id,
            kind: blob.kind,
            offset: blob.offset,
            length: blob.length,
            uncompressed_length: blob.compressed_from.unwrap_or(0),
        };
        let pack = |(id, blobs): &(PackId, Vec<PackedBlob>)| PackJson {
            id: *id,
            blobs: blobs.iter().map(blob).collect(),
        };
        IndexFile {
            packs: packs.iter().map(pack).collect(),
            packs_to_delete: Vec::new(),
        }
    }

    /// Packs that are about to be removed.
    pub(crate) fn to_delete(&self) -> Vec<PackId> {
        self.packs_to_delete.iter().map(|pack| pack.id).collect()
    }

    /// Refuses lengths that no pack can have, so that nobody has to think of them later.
    pub(crate) fn checked(self) -> Result<IndexFile, Damage> {
        let possible = |blob: &BlobJson| {
            blob.length as usize >= OVERHEAD
                && blob.offset.checked_add(blob.length).is_some()
                && blob.uncompressed_length <= MAX_BLOB
                && blob.length as usize <= zstd::zstd_safe::compress_bound(MAX_BLOB as usize) + OVERHEAD
        };
        if self.packs.iter().flat_map(|pack| &pack.blobs).all(possible) {
            Ok(self)
        } else {
            Err(Damage::malformed("a blob has an impossible length"))
        }
    }

    pub(crate) fn into_packs(self) -> Vec<(PackId, Vec<PackedBlob>)> {
        let blob = |blob: BlobJson| PackedBlob {
            kind: blob.kind,
            id: blob.id,
            offset: blob.offset,
            length: blob.length,
            compressed_from: (blob.uncompressed_length != 0).then_some(blob.uncompressed_length),
        };
        self.packs
            .into_iter()
            .map(|pack| (pack.id, pack.blobs.into_iter().map(blob).collect()))
            .collect()
    }
}
