//! The workers that hash and compress chunks, one for each core.

use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::Receiver;
use outlast_kit::shutdown::Shutdown;
use outlast_proto::v1::Chunk;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::UnboundedSender;

use super::event::{ChunkId, Event, Hashed, Packed};
use super::health::Health;
use super::slab::Plain;

/// The level at which zstd keeps up with the disk.
const LEVEL: i32 = 1;

/// A chunk of at least this length is probed in three places before all of it is compressed: much data is compressed already.
const PROBED_FROM: usize = 128 << 10;
const PROBE: usize = 16 << 10;

/// What a worker does.
pub(super) enum Job {
    Hash {
        node: u64,
        index: u32,
        data: Plain,
    },
    Compress(Vec<(ChunkId, Plain)>),
    /// Asks how the item's file system is.
    Judge(Arc<Health>),
}

/// Works until the channel is closed or the attempt ends.
pub(super) fn work(jobs: &Receiver<Job>, events: &UnboundedSender<Event>, stop: &Shutdown) {
    let mut compress = Compress::default();
    for job in jobs {
        if stop.has_begun() {
            return;
        }
        let event = match job {
            Job::Hash { node, index, data } => Event::Hashed(Hashed {
                node,
                index,
                id: hash(data.as_ref()),
                data,
            }),
            Job::Judge(health) => Event::Judged(health.verdict()),
            Job::Compress(chunks) => Event::Packed(Packed {
                plain: chunks.iter().map(|(_, data)| data.len()).sum(),
                chunks: chunks
                    .into_iter()
                    .map(|(id, data)| compress.chunk(id, data))
                    .collect(),
            }),
        };
        if events.send(event).is_err() {
            return;
        }
    }
}

/// The chunk's name.
pub(super) fn hash(bytes: &[u8]) -> ChunkId {
    Sha256::digest(bytes).into()
}

/// A worker's compressor with its buffer.
#[derive(Default)]
struct Compress {
    /// None until first used, and for good if zstd cannot be set up.
    zstd: Option<zstd::bulk::Compressor<'static>>,
    buffer: Vec<u8>,
}

impl Compress {
    fn chunk(&mut self, id: ChunkId, data: Plain) -> Chunk {
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let compressed = self.try_compress(data.as_ref());
        Chunk {
            id: Bytes::copy_from_slice(&id),
            length,
            compressed: compressed.is_some(),
            data: compressed.unwrap_or_else(|| Bytes::from_owner(data)),
        }
    }

    /// The compressed bytes if that is worth it.
    fn try_compress(&mut self, plain: &[u8]) -> Option<Bytes> {
        let is_worth_it = !self.seems_incompressible(plain) && self.compress(plain);
        is_worth_it.then(|| Bytes::copy_from_slice(&self.buffer))
    }

    fn seems_incompressible(&mut self, plain: &[u8]) -> bool {
        if plain.len() < PROBED_FROM {
            return false;
        }
        let last = plain.len() - PROBE;
        !([0, last / 2, last].into_iter()).any(|start| self.compress(&plain[start..start + PROBE]))
    }

    /// Compresses into the buffer; whether that saves at least 1/64.
    fn compress(&mut self, plain: &[u8]) -> bool {
        if self.zstd.is_none() {
            self.zstd = zstd::bulk::Compressor::new(LEVEL).ok();
        }
        let Some(zstd) = &mut self.zstd else { return false };
        self.buffer.clear();
        self.buffer.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        zstd.compress_to_buffer(plain, &mut self.buffer).is_ok()
            && self.buffer.len() <= plain.len() - plain.len() / 64
            && self.buffer.len() < plain.len()
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

    use super::{Compress, hash};
    use crate::backup::slab::{Plain, Slab};

    #[test]
    fn chunks_are_compressed_only_where_it_pays() {
        let mut random = vec![0_u8; 100_000];
        StdRng::seed_from_u64(1).fill(&mut random[..]);
        let text = b"the same again and again ".repeat(1000);
        // Text only where the probe in the middle looks.
        let mut much = vec![0_u8; 1 << 20];
        StdRng::seed_from_u64(2).fill(&mut much[..]);
        let mut partly = much.clone();
        partly[500_000..560_000].fill(7);
        let cases = [
            (text, true),
            (random, false),
            (vec![7], false),
            (much, false),
            (partly, true),
        ];
        for (bytes, compressed) in cases {
            let data = Plain::new(&Slab::single(bytes.clone()), 0..bytes.len());
            let chunk = Compress::default().chunk(hash(&bytes), data);
            assert_eq!(chunk.compressed, compressed);
            let plain = if compressed {
                zstd::bulk::decompress(&chunk.data, bytes.len()).unwrap()
            } else {
                chunk.data.to_vec()
            };
            assert_eq!(plain, bytes);
            assert_eq!(chunk.length as usize, bytes.len());
        }
    }
}
