//! The bytes of a cache file, format version 1: what one client's snapshots reach, and which snapshots those are.
//!
//! It only saves a walk: whatever is odd about it, it is thrown away. No files are touched here. Used by `store`.

use std::collections::BTreeSet;

use outlast_repository::SnapshotId;

use super::own::OwnChunks;
use super::set::{ChunkSet, KEPT, Short};
use crate::storage::SnapshotOwner;

const MAGIC: [u8; 8] = *b"OUTLKNOW";
const VERSION: u32 = 1;
const CHECKSUM: usize = 4;
const SNAPSHOT: usize = 32;

/// A cache file that does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadCache {
    #[error("it is no such file")]
    NotOurs,
    #[error("it has version {0}")]
    OtherVersion(u32),
    #[error("it is damaged")]
    Damaged,
    #[error("it is for another repository, cluster or client")]
    Foreign,
}

/// magic 8, version 4, three texts (length 4, bytes), snapshots (count 8, 32 each), chunks (count 8, 16 each),
/// checksum 4. Numbers are little-endian.
pub(super) fn encode(repository: &str, owner: &SnapshotOwner, own: &mut OwnChunks) -> Vec<u8> {
    let chunks = own.set.sorted();
    let mut out = Vec::with_capacity(512 + own.covered.len() * SNAPSHOT + chunks.len() * KEPT);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    for text in texts(repository, owner) {
        out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(&(own.covered.len() as u64).to_le_bytes());
    for snapshot in &own.covered {
        out.extend_from_slice(snapshot.as_bytes());
    }
    out.extend_from_slice(&(chunks.len() as u64).to_le_bytes());
    out.extend_from_slice(chunks.as_flattened());
    let sum = crc32fast::hash(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

pub(super) fn decode(bytes: &[u8], repository: &str, owner: &SnapshotOwner) -> Result<OwnChunks, BadCache> {
    if !bytes.starts_with(&MAGIC) {
        return Err(BadCache::NotOurs);
    }
    let (content, sum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(BadCache::Damaged)?;
    let mut rest = Rest(&content[MAGIC.len().min(content.len())..]);
    let version = rest.u32()?;
    if version != VERSION {
        return Err(BadCache::OtherVersion(version));
    }
    if crc32fast::hash(content) != u32::from_le_bytes(*sum) {
        return Err(BadCache::Damaged);
    }
    for expected in texts(repository, owner) {
        let length = rest.u32()? as usize;
        if rest.take(length)? != expected.as_bytes() {
            return Err(BadCache::Foreign);
        }
    }
    let covered: BTreeSet<SnapshotId> = rest
        .many::<SNAPSHOT>()?
        .iter()
        .map(|id| SnapshotId::from_bytes(*id))
        .collect();
    let chunks: Vec<Short> = rest.many::<KEPT>()?.to_vec();
    // A set that is not in order would deny what it holds.
    if !rest.0.is_empty() || !chunks.is_sorted_by(|a, b| a < b) {
        return Err(BadCache::Damaged);
    }
    Ok(OwnChunks {
        set: ChunkSet::of_sorted(chunks),
        covered,
        has_changed: false,
    })
}

fn texts<'a>(repository: &'a str, owner: &'a SnapshotOwner) -> [&'a str; 3] {
    [repository, &owner.cluster, &owner.client]
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], BadCache> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(BadCache::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, BadCache> {
        let bytes = self.take(4)?.try_into().map_err(|_| BadCache::Damaged)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// A count and so many things of `N` bytes.
    fn many<const N: usize>(&mut self) -> Result<&'a [[u8; N]], BadCache> {
        let count = self.take(8)?.try_into().map_err(|_| BadCache::Damaged)?;
        let count = usize::try_from(u64::from_le_bytes(count)).map_err(|_| BadCache::Damaged)?;
        let length = count.checked_mul(N).ok_or(BadCache::Damaged)?;
        Ok(self.take(length)?.as_chunks::<N>().0)
    }
}
