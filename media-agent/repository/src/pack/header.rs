//! The header of a pack file: one entry per blob, in the order of the blobs.
//! Sealing it is `builder`'s. Called by `builder` and by `repository::read`.

use crate::crypto::OVERHEAD;
use crate::error::Damage;
use crate::id::{BlobId, BlobKind};

/// Kind, sealed length, id.
const RAW_ENTRY: usize = 1 + 4 + 32;
/// Kind, sealed length, plain length, id.
pub(super) const COMPRESSED_ENTRY: usize = RAW_ENTRY + 4;

/// Where a blob is in its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedBlob {
    pub kind: BlobKind,
    pub id: BlobId,
    pub offset: u32,
    /// Length as stored, sealing included.
    pub length: u32,
    /// Length when plain if it is stored compressed.
    pub compressed_from: Option<u32>,
}

impl PackedBlob {
    pub fn plain_len(&self) -> u32 {
        plain_len(self.length, self.compressed_from)
    }
}

pub(crate) fn plain_len(length: u32, compressed_from: Option<u32>) -> u32 {
    compressed_from.unwrap_or(length.saturating_sub(OVERHEAD as u32))
}

/// The size of a pack file with these blobs: them, the sealed header, its length.
pub(crate) fn file_size(blobs: &[PackedBlob]) -> u64 {
    let entry = |blob: &PackedBlob| match blob.compressed_from {
        Some(_) => COMPRESSED_ENTRY,
        None => RAW_ENTRY,
    };
    let each = |blob: &PackedBlob| u64::from(blob.length) + entry(blob) as u64;
    blobs.iter().map(each).sum::<u64>() + OVERHEAD as u64 + 4
}

/// Appends the entry of one blob.
pub(super) fn push_entry(header: &mut Vec<u8>, blob: &PackedBlob) {
    let kind = match blob.kind {
        BlobKind::Data => 0,
        BlobKind::Tree => 1,
    };
    header.push(kind + if blob.compressed_from.is_some() { 2 } else { 0 });
    header.extend_from_slice(&blob.length.to_le_bytes());
    if let Some(plain) = blob.compressed_from {
        header.extend_from_slice(&plain.to_le_bytes());
    }
    header.extend_from_slice(blob.id.as_bytes());
}

/// Understands an opened header. The blobs must lie within the `available` bytes before it.
pub(crate) fn parse_header(mut header: &[u8], available: u64) -> Result<Vec<PackedBlob>, Damage> {
    let mut blobs = Vec::with_capacity(header.len() / RAW_ENTRY);
    let mut offset = 0u32;
    while let Some((&code, rest)) = header.split_first() {
        let cut = || Damage::malformed("the pack header ends within an entry");
        let kind = match code {
            0 | 2 => BlobKind::Data,
            1 | 3 => BlobKind::Tree,
            _ => {
                return Err(Damage::malformed(format_args!(
                    "unknown blob type {code} in the pack header"
                )));
            }
        };
        let (length, mut rest) = take_u32(rest).ok_or_else(cut)?;
        let mut compressed_from = None;
        if code >= 2 {
            let (plain, after) = take_u32(rest).ok_or_else(cut)?;
            (compressed_from, rest) = (Some(plain), after);
        }
        let (id, rest) = rest.split_first_chunk::<32>().ok_or_else(cut)?;
        let end = offset
            .checked_add(length)
            .filter(|&end| u64::from(end) <= available);
        let end = end.ok_or_else(|| Damage::malformed("the pack header names more bytes than there are"))?;
        if (length as usize) < OVERHEAD {
            return Err(Damage::malformed("a blob is shorter than its seal"));
        }
        blobs.push(PackedBlob {
            kind,
            id: BlobId::from_bytes(*id),
            offset,
            length,
            compressed_from,
        });
        (offset, header) = (end, rest);
    }
    Ok(blobs)
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::{PackedBlob, parse_header, push_entry};
    use crate::id::{BlobId, BlobKind};

    #[test]
    fn headers_round_trip_and_hostile_ones_are_refused() {
        let (kind, id) = (BlobKind::Data, BlobId::of(b"a"));
        let blobs = [
            PackedBlob {
                kind,
                id,
                offset: 0,
                length: 40,
                compressed_from: None,
            },
            PackedBlob {
                kind: BlobKind::Tree,
                id,
                offset: 40,
                length: 50,
                compressed_from: Some(1000),
            },
        ];
        let mut header = Vec::new();
        blobs.iter().for_each(|blob| push_entry(&mut header, blob));
        assert_eq!(parse_header(&header, 90).unwrap(), blobs);
        assert!(parse_header(&header, 89).is_err());
        for length in 1..header.len() {
            assert!(
                length == 37 || parse_header(&header[..length], 90).is_err(),
                "{length}"
            );
        }
        let mut wrong = header.clone();
        wrong[0] = 4;
        assert!(parse_header(&wrong, 90).is_err());
        wrong[0] = 0;
        wrong[1..5].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(parse_header(&wrong, u64::MAX).is_err());
        wrong[1..5].copy_from_slice(&31u32.to_le_bytes());
        assert!(parse_header(&wrong, 90).is_err());
    }
}
