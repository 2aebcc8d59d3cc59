//! Decompression with hard limits, and the check of what clients send. Contexts are reused per thread.
//! Compression into packs is in `pack::builder`. Called by `object`, `repository::read`, the media agent.

use std::cell::RefCell;
use std::io::Read;

use bytes::Bytes;
use zstd::bulk::Decompressor;

use crate::error::{Damage, RepositoryError, Result};
use crate::id::{BlobId, BlobKind};

/// No blob is larger than this when plain. Trees of directories with a million entries still fit.
pub const MAX_BLOB: u32 = 1 << 30;
/// No chunk a client sends may be larger than this when plain.
pub const MAX_CHUNK: u32 = 64 << 20;
/// Indexes and snapshots are smaller than this when plain.
const MAX_OBJECT: u64 = 512 << 20;
/// A block of zstd has at least a head of three bytes and at most this much content.
const LEAST_BLOCK: usize = 3;
const MOST_PLAIN: usize = 128 << 10;

thread_local! {
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Checks a chunk as a client sent it: it must decompress to exactly `plain_len` bytes whose SHA-256 is `id`.
/// `scratch` holds the plain bytes afterwards and is reused from call to call.
pub fn verify_compressed(
    id: &BlobId,
    compressed: &[u8],
    plain_len: u32,
    scratch: &mut Vec<u8>,
) -> Result<()> {
    let refused = |damage| RepositoryError::Refused {
        kind: BlobKind::Data,
        id: *id,
        damage,
    };
    if plain_len > MAX_CHUNK {
        return Err(refused(Damage::TooLarge {
            limit: u64::from(MAX_CHUNK),
        }));
    }
    decompress_exactly(compressed, plain_len, scratch).map_err(refused)?;
    if BlobId::of(scratch) != *id {
        return Err(refused(Damage::HashMismatch));
    }
    Ok(())
}

/// Decompresses into `plain`, which has exactly `expected` bytes afterwards; never writes or allocates more, nor more than
/// the compressed bytes can stand for.
pub(crate) fn decompress_exactly(
    compressed: &[u8],
    expected: u32,
    plain: &mut Vec<u8>,
) -> Result<(), Damage> {
    let bad = || Damage::BadCompression {
        expected: u64::from(expected),
    };
    let length = expected as usize;
    if length > (compressed.len() / LEAST_BLOCK + 1).saturating_mul(MOST_PLAIN) {
        return Err(bad());
    }
    if plain.len() < length {
        plain.resize(length, 0);
    }
    plain.truncate(length);
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(Decompressor::new().map_err(|_| bad())?),
        };
        match decompressor.decompress_to_buffer(compressed, plain.as_mut_slice()) {
            Ok(written) if written == length => Ok(()),
            _ => Err(bad()),
        }
    })
}

/// The plain bytes of a blob that has `plain_len` of them if it is compressed.
pub(crate) fn plain_bytes(stored: &[u8], plain_len: Option<u32>) -> Result<Bytes, Damage> {
    let Some(plain_len) = plain_len else {
        return Ok(Bytes::copy_from_slice(stored));
    };
    let mut plain = Vec::new();
    decompress_exactly(stored, plain_len, &mut plain)?;
    Ok(plain.into())
}

/// Decompresses an index, snapshot or lock, whose plain length is not known beforehand.
pub(crate) fn decompress_object(compressed: &[u8]) -> Result<Vec<u8>, Damage> {
    let decoder = zstd::stream::read::Decoder::with_buffer(compressed).map_err(Damage::malformed)?;
    let mut plain = Vec::new();
    let read = decoder
        .take(MAX_OBJECT + 1)
        .read_to_end(&mut plain)
        .map_err(Damage::malformed)?;
    if read as u64 > MAX_OBJECT {
        return Err(Damage::TooLarge { limit: MAX_OBJECT });
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::{MAX_BLOB, MAX_CHUNK, decompress_exactly, decompress_object, verify_compressed};
    use crate::id::BlobId;

    #[test]
    fn what_clients_send_is_checked() {
        let plain = b"hello hello hello hello".repeat(100);
        let id = BlobId::of(&plain);
        let length = u32::try_from(plain.len()).unwrap();
        let good = zstd::bulk::compress(&plain, 1).unwrap();
        let mut scratch = Vec::new();
        verify_compressed(&id, &good, length, &mut scratch).unwrap();
        assert_eq!(scratch, plain);
        for wrong in [0, 1, length - 1, length + 1, MAX_CHUNK, MAX_CHUNK + 1, u32::MAX] {
            assert!(
                verify_compressed(&id, &good, wrong, &mut scratch).is_err(),
                "{wrong}"
            );
        }
        assert!(verify_compressed(&BlobId::of(b"x"), &good, length, &mut scratch).is_err());
        assert!(verify_compressed(&id, &good[..good.len() - 1], length, &mut scratch).is_err());
        assert!(verify_compressed(&id, b"", length, &mut scratch).is_err());
        verify_compressed(&id, &good, length, &mut scratch).unwrap();
    }

    #[test]
    fn t90_no_more_is_allocated_than_the_bytes_can_stand_for() {
        let zeros = zstd::bulk::compress(&vec![0u8; 50 << 20], 19).unwrap();
        let mut plain = Vec::new();
        decompress_exactly(&zeros, 50 << 20, &mut plain).unwrap();
        for compressed in [&b""[..], b"\x28\xb5\x2f\xfd", &zeros[..100]] {
            let mut plain = Vec::new();
            assert!(decompress_exactly(compressed, MAX_BLOB, &mut plain).is_err());
            assert_eq!(plain.capacity(), 0, "{} bytes", compressed.len());
        }
    }

    #[test]
    fn a_bomb_is_stopped_at_the_stated_length() {
        let bomb = zstd::bulk::compress(&vec![0u8; 100 << 20], 1).unwrap();
        let mut scratch = Vec::new();
        assert!(verify_compressed(&BlobId::of(b""), &bomb, 1000, &mut scratch).is_err());
        assert!(scratch.capacity() < 10_000);
        assert!(decompress_object(&bomb[..bomb.len() / 2]).is_err());
    }
}
