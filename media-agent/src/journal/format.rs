//! The bytes of a journal file, format version 1.
//!
//! A file is a header and frames. The records of one commit are one frame, so a crash can only damage the last one:
//! the next is written after the sync. The checksum covers the journal's id and the frame's place, so that nothing
//! left over from another file or written by a client can pass for a frame. No files are touched here. Used by
//! `segment` and `store`.

use bytes::Bytes;
use outlast_media_core::Record;
use outlast_proto::words::JournalId;

pub(crate) const MAGIC: [u8; 8] = *b"OUTLJRNL";
pub(crate) const VERSION: u32 = 1;
/// magic 8, version 4, journal id 16, file number 8, first sequence 8, checksum 4.
pub(crate) const HEADER_LENGTH: usize = 48;
/// length 4, checksum 4.
pub(crate) const FRAME_HEAD: usize = 8;
/// What one frame may hold; a length beyond it is damage.
pub(crate) const MAX_FRAME: usize = 16 << 20;
/// kind 1, length 4.
const RECORD_HEAD: usize = 5;

/// What a file begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) journal: uuid::Uuid,
    pub(crate) number: u64,
    /// Of the first event that goes into this file.
    pub(crate) first_sequence: u64,
}

/// A header that is none of ours.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    NotOurs,
    Newer(u32),
    Damaged,
}

impl Header {
    pub(crate) fn journal_id(&self) -> JournalId {
        JournalId(self.journal.to_string())
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_LENGTH] {
        let mut out = [0; HEADER_LENGTH];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..28].copy_from_slice(self.journal.as_bytes());
        out[28..36].copy_from_slice(&self.number.to_le_bytes());
        out[36..44].copy_from_slice(&self.first_sequence.to_le_bytes());
        let sum = crc32fast::hash(&out[..44]);
        out[44..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        if !bytes.starts_with(&MAGIC) {
            return Err(BadHeader::NotOurs);
        }
        let version = read_u32(bytes, 8).ok_or(BadHeader::Damaged)?;
        if version > VERSION {
            return Err(BadHeader::Newer(version));
        }
        let sum = read_u32(bytes, 44).ok_or(BadHeader::Damaged)?;
        if version != VERSION || crc32fast::hash(&bytes[..44]) != sum {
            return Err(BadHeader::Damaged);
        }
        Ok(Self {
            journal: uuid::Uuid::from_slice(&bytes[12..28]).map_err(|_| BadHeader::Damaged)?,
            number: read_number(bytes, 28).ok_or(BadHeader::Damaged)?,
            first_sequence: read_number(bytes, 36).ok_or(BadHeader::Damaged)?,
        })
    }
}

/// Where a record's body lies in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) offset: u64,
    pub(crate) length: u32,
}

/// A frame ready to be written at `offset`, and where each record's body will lie.
pub(crate) fn encode_frame(header: &Header, offset: u64, records: &[Record]) -> (Vec<u8>, Vec<Span>) {
    let mut out = vec![0; FRAME_HEAD];
    let mut spans = Vec::with_capacity(records.len());
    for record in records {
        let body = record.body();
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        out.push(record.kind());
        out.extend_from_slice(&length.to_le_bytes());
        spans.push(Span {
            offset: offset + out.len() as u64,
            length,
        });
        out.extend_from_slice(&body);
    }
    fill_head(header, offset, &mut out);
    (out, spans)
}

/// Length and checksum of the frame whose payload is there already.
pub(super) fn fill_head(header: &Header, offset: u64, frame: &mut [u8]) {
    let length = u32::try_from(frame.len() - FRAME_HEAD).unwrap_or(u32::MAX);
    frame[..4].copy_from_slice(&length.to_le_bytes());
    let sum = checksum(header, offset, &frame[FRAME_HEAD..]);
    frame[4..8].copy_from_slice(&sum.to_le_bytes());
}

/// The payload of the valid frame at `offset` of a whole file, if there is one.
pub(crate) fn frame_at<'a>(header: &Header, file: &'a [u8], offset: usize) -> Option<&'a [u8]> {
    let length = read_u32(file, offset)? as usize;
    let sum = read_u32(file, offset + 4)?;
    if length == 0 || length > MAX_FRAME {
        return None;
    }
    let payload = file.get(offset + FRAME_HEAD..offset + FRAME_HEAD + length)?;
    (checksum(header, offset as u64, payload) == sum).then_some(payload)
}

/// The records of a frame's payload that begins at `offset` of its file; `None` if it holds what this version does not
/// know, which a valid checksum makes a fault of the writer.
pub(crate) fn records_of(payload: &[u8], offset: u64) -> Option<Vec<(Record, Span)>> {
    let mut records = Vec::new();
    let mut at = 0;
    while at < payload.len() {
        let kind = payload[at];
        let length = read_u32(payload, at + 1)?;
        let start = at + RECORD_HEAD;
        let body = payload.get(start..start + length as usize)?;
        let span = Span {
            offset: offset + start as u64,
            length,
        };
        records.push((Record::decode(kind, Bytes::copy_from_slice(body))?, span));
        at = start + length as usize;
    }
    Some(records)
}

fn checksum(header: &Header, offset: u64, payload: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(header.journal.as_bytes());
    sum.update(&header.number.to_le_bytes());
    sum.update(&offset.to_le_bytes());
    sum.update(payload);
    sum.finalize()
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A number that counts from 1 and can be counted on.
fn read_number(bytes: &[u8], at: usize) -> Option<u64> {
    let number = u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?);
    (1..=u64::MAX / 2).contains(&number).then_some(number)
}
