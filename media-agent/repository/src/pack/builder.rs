//! A pack being filled: compresses, seals and hashes each blob where it will be written from, so that bytes are
//! touched while they are in the cache. No locks, no files. One worker at a time owns it; called by `writer::slots`.

use outlast_direct_io::{AlignedBuffer, GrowingBuffer};
use sha2::{Digest, Sha256};
use zstd::bulk::Compressor;

use crate::crypto::{MasterKey, NONCE, OVERHEAD};
use crate::error::{RepositoryError, Result};
use crate::id::{BlobId, BlobKind, PackId};
use crate::pack::PackedBlob;
use crate::pack::header::{COMPRESSED_ENTRY, push_entry};

/// A pack is sealed when it has this many blobs, so that its header stays far below the 16 MiB readers accept.
pub(crate) const MAX_ENTRIES: usize = 40_000;
/// Behind a sealed text.
const TAG: usize = OVERHEAD - NONCE;
/// The sealed header's own overhead and the length field at the very end.
const TRAILER: usize = OVERHEAD + 4;

/// The content of a blob to be added.
#[derive(Clone, Copy)]
pub(crate) enum Payload<'a> {
    /// Compressed here if that saves something.
    Plain(&'a [u8]),
    /// To be stored as it is: a zstd frame that is known to decompress to `plain_len` bytes with the right checksum, or
    /// the plain bytes if there is no such length.
    Ready { bytes: &'a [u8], plain_len: Option<u32> },
}

pub(crate) struct PackBuilder {
    kind: BlobKind,
    buffer: AlignedBuffer,
    length: usize,
    blobs: Vec<PackedBlob>,
    hasher: Sha256,
}

/// A finished pack, ready to be written.
pub(crate) struct SealedPack {
    pub(crate) id: PackId,
    pub(crate) blobs: Vec<PackedBlob>,
    buffer: AlignedBuffer,
    length: usize,
}

impl Payload<'_> {
    /// The most bytes this can need in a pack while it is being added, sealing included.
    fn bound(&self) -> usize {
        OVERHEAD
            + match self {
                Payload::Plain(plain) => zstd::zstd_safe::compress_bound(plain.len()),
                Payload::Ready { bytes, .. } => bytes.len(),
            }
    }

    /// The size of a buffer in which this fits as the only blob.
    pub(crate) fn buffer_needed(&self) -> usize {
        self.bound() + COMPRESSED_ENTRY + TRAILER
    }
}

impl PackBuilder {
    pub(crate) fn new(kind: BlobKind, buffer: AlignedBuffer) -> PackBuilder {
        PackBuilder {
            kind,
            buffer,
            length: 0,
            blobs: Vec::new(),
            hasher: Sha256::new(),
        }
    }

    /// A pack of one compressed blob, sealed where it was compressed: behind room for the nonce.
    pub(crate) fn of_one(
        (kind, id): (BlobKind, BlobId),
        mut frame: GrowingBuffer,
        plain_len: u32,
        key: &MasterKey,
    ) -> Result<PackBuilder> {
        let length = frame.len() + TAG;
        frame.extend_from_slice(&[0; TAG + COMPRESSED_ENTRY + TRAILER]);
        let mut pack = PackBuilder::new(kind, frame.into());
        pack.seal_next(id, length, Some(plain_len), key)?;
        Ok(pack)
    }

    /// Whether this payload and the header fit into the rest of the buffer.
    pub(crate) fn has_room_for(&self, payload: &Payload<'_>) -> bool {
        let header = (self.blobs.len() + 1) * COMPRESSED_ENTRY + TRAILER;
        self.blobs.len() < MAX_ENTRIES && self.length + payload.bound() + header <= self.buffer.capacity()
    }

    pub(crate) fn is_full(&self, pack_size: usize) -> bool {
        self.length >= pack_size || self.blobs.len() >= MAX_ENTRIES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    /// Adds a blob, for which there must be room; gives the number of bytes it takes.
    pub(crate) fn add(
        &mut self,
        id: BlobId,
        payload: &Payload<'_>,
        compressor: &mut Compressor<'static>,
        key: &MasterKey,
    ) -> Result<u32> {
        let slot = &mut self.buffer.bytes_mut()[self.length..self.length + payload.bound()];
        let text = &mut slot[NONCE..];
        let (text_len, compressed_from) = match *payload {
            Payload::Plain(plain) => place_plain(plain, text, compressor)?,
            Payload::Ready { bytes, plain_len } => {
                text[..bytes.len()].copy_from_slice(bytes);
                (bytes.len(), plain_len)
            }
        };
        self.seal_next(id, text_len + OVERHEAD, compressed_from, key)
    }

    /// Seals what stands behind the blobs so far, in `length` bytes, as the next one; gives that length.
    fn seal_next(
        &mut self,
        id: BlobId,
        length: usize,
        compressed_from: Option<u32>,
        key: &MasterKey,
    ) -> Result<u32> {
        let sealed = &mut self.buffer.bytes_mut()[self.length..self.length + length];
        key.seal_in_place(sealed)?;
        self.hasher.update(&*sealed);
        let narrow = |n: usize| u32::try_from(n).expect("buffers are smaller than 4 GiB");
        let length = narrow(sealed.len());
        let blob = PackedBlob {
            kind: self.kind,
            id,
            offset: narrow(self.length),
            length,
            compressed_from,
        };
        self.length += sealed.len();
        self.blobs.push(blob);
        Ok(length)
    }

    /// Writes the header and gives the pack its name.
    pub(crate) fn seal(mut self, key: &MasterKey) -> Result<SealedPack> {
        let mut header = Vec::with_capacity(self.blobs.len() * COMPRESSED_ENTRY);
        self.blobs.iter().for_each(|blob| push_entry(&mut header, blob));
        let mut trailer = key.seal(&header)?;
        let header_len = u32::try_from(trailer.len()).expect("headers are smaller than 16 MiB");
        trailer.extend_from_slice(&header_len.to_le_bytes());
        let end = self.length + trailer.len();
        self.buffer.bytes_mut()[self.length..end].copy_from_slice(&trailer);
        self.hasher.update(&trailer);
        let id = PackId::from_bytes(self.hasher.finalize().into());
        Ok(SealedPack {
            id,
            blobs: self.blobs,
            buffer: self.buffer,
            length: end,
        })
    }

    pub(crate) fn into_buffer(self) -> AlignedBuffer {
        self.buffer
    }
}

impl SealedPack {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer.bytes()[..self.length]
    }

    pub(crate) fn into_parts(self) -> (Vec<PackedBlob>, AlignedBuffer) {
        (self.blobs, self.buffer)
    }
}

/// Puts `plain` into `text`, compressed if that saves at least 1/64 of it. An empty blob is never compressed: its
/// plain length of 0 means "not compressed" in the index.
fn place_plain(
    plain: &[u8],
    text: &mut [u8],
    compressor: &mut Compressor<'static>,
) -> Result<(usize, Option<u32>)> {
    let compressed =
        compressor
            .compress_to_buffer(plain, text)
            .map_err(|error| RepositoryError::Compression {
                length: plain.len(),
                reason: error.to_string(),
            })?;
    if compressed < plain.len() - plain.len() / 64 {
        let plain_len = u32::try_from(plain.len()).expect("the writer refuses larger blobs");
        return Ok((compressed, Some(plain_len)));
    }
    text[..plain.len()].copy_from_slice(plain);
    Ok((plain.len(), None))
}
