//! The formats inside the log's records; the `raft-log` crate adds the record's kind and a checksum around them.
//!
//! - log id: term and index, 8 bytes each, big endian;
//! - vote: term and node, 8 bytes each, and one byte that is 1 when the vote is committed;
//! - entry: length of the body (4 bytes), checksum of those 4 bytes (4 bytes), body: version byte 1 and
//!   [`EntryForm`] in MessagePack with field names.
//!
//! The length has its own checksum because the `raft-log` crate takes a record that ends after the file for an
//! interrupted write and cuts it off: one flipped bit in a length would silently cost every later entry.

use std::cmp::Ordering;
use std::io::{self, Read, Write};

use bytes::Bytes;
use raft_log::Types;
use raft_log::codeq::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::format::{self, LogIdForm, MembersForm};
use crate::log::flushed::Flushed;
use crate::options::MAX_COMMAND;
use crate::term::Term;
use crate::types::{Command, Payload, Vote};

const ENTRY_VERSION: u8 = 1;
// A command and what surrounds it; memberships are far smaller.
const MAX_BODY: usize = MAX_COMMAND + 64 * 1024;

/// What the `raft-log` crate stores for us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Records;

impl Types for Records {
    type LogId = LogIdForm;
    type LogPayload = EntryRecord;
    type Vote = VoteRecord;
    type Callback = Flushed;
    type UserData = Nothing;

    fn log_index(log_id: &LogIdForm) -> u64 {
        log_id.index
    }

    fn payload_size(payload: &EntryRecord) -> u64 {
        match &payload.0 {
            Payload::Normal(command) => command.0.len() as u64 + 64,
            Payload::Blank => 64,
            Payload::Membership(_) => 1024,
        }
    }
}

/// The log carries no user data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nothing;

impl Encode for Nothing {
    fn encode<W: Write>(&self, _: W) -> io::Result<usize> {
        Ok(0)
    }
}

impl Decode for Nothing {
    fn decode<R: Read>(_: R) -> io::Result<Self> {
        Ok(Nothing)
    }
}

impl Encode for LogIdForm {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        w.write_all(&self.term.to_be_bytes())?;
        w.write_all(&self.index.to_be_bytes())?;
        Ok(16)
    }
}

impl Decode for LogIdForm {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        Ok(Self {
            term: read_u64(&mut r)?,
            index: read_u64(&mut r)?,
        })
    }
}

/// A vote, ordered as openraft orders it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VoteRecord(pub(crate) Vote);

impl PartialOrd for VoteRecord {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.0.partial_cmp(&other.0)
    }
}

impl Encode for VoteRecord {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        w.write_all(&self.0.leader_id.term.0.to_be_bytes())?;
        w.write_all(&self.0.leader_id.voted_for.to_be_bytes())?;
        w.write_all(&[u8::from(self.0.committed)])?;
        Ok(17)
    }
}

impl Decode for VoteRecord {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        let (term, node) = (Term(read_u64(&mut r)?), read_u64(&mut r)?);
        let mut committed = [0];
        r.read_exact(&mut committed)?;
        match committed[0] {
            0 => Ok(Self(Vote::new(term, node))),
            1 => Ok(Self(Vote::new_committed(term, node))),
            other => Err(damaged(format!("a vote's flag is {other}"))),
        }
    }
}

/// An entry's content.
#[derive(Clone, Debug)]
pub(crate) struct EntryRecord(pub(crate) Payload);

#[derive(Serialize, Deserialize)]
enum EntryForm {
    /// A new leader's first entry.
    Blank,
    Command(Bytes),
    Members(MembersForm),
}

impl Encode for EntryRecord {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        let form = match &self.0 {
            Payload::Blank => EntryForm::Blank,
            Payload::Normal(command) => EntryForm::Command(command.0.clone()),
            Payload::Membership(members) => EntryForm::Members(members.into()),
        };
        let body = format::encode(ENTRY_VERSION, &form)?;
        if body.len() > MAX_BODY {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("an entry of {} bytes", body.len()),
            ));
        }
        let length = (body.len() as u32).to_be_bytes();
        w.write_all(&length)?;
        w.write_all(&crc32fast::hash(&length).to_be_bytes())?;
        w.write_all(&body)?;
        Ok(8 + body.len())
    }
}

impl Decode for EntryRecord {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        let (mut length, mut sum) = ([0; 4], [0; 4]);
        r.read_exact(&mut length)?;
        r.read_exact(&mut sum)?;
        let size = u32::from_be_bytes(length) as usize;
        if crc32fast::hash(&length) != u32::from_be_bytes(sum) || size > MAX_BODY {
            return Err(damaged(format!("an entry's length reads {size}")));
        }
        let mut body = vec![0; size];
        r.read_exact(&mut body)?;
        let payload = match format::decode(ENTRY_VERSION, &body)? {
            EntryForm::Blank => Payload::Blank,
            EntryForm::Command(bytes) => Payload::Normal(Command(bytes)),
            EntryForm::Members(members) => Payload::Membership(members.try_into()?),
        };
        Ok(Self(payload))
    }
}

fn read_u64<R: Read>(r: &mut R) -> io::Result<u64> {
    let mut bytes = [0; 8];
    r.read_exact(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

fn damaged(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by the first version. Never edited: what it wrote must stay readable.
    const COMMAND_V1: &[u8] = &[
        0, 0, 0, 14, 0xc6, 0xfc, 0xf2, 0x1b, 1, 0x81, 0xa7, b'C', b'o', b'm', b'm', b'a', b'n', b'd', 0xc4,
        2, b'h', b'i',
    ];

    fn encoded(record: &EntryRecord) -> Vec<u8> {
        let mut bytes = Vec::new();
        record.encode(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn entries_of_version_1_stay_readable() {
        let record = EntryRecord(Payload::Normal(Command(Bytes::from_static(b"hi"))));
        assert_eq!(encoded(&record), COMMAND_V1);
        assert_eq!(EntryRecord::decode(COMMAND_V1).unwrap().0, record.0);
    }

    #[test]
    fn a_flipped_length_is_damage_and_not_a_torn_tail() {
        for bit in 0..32 {
            let mut bytes = COMMAND_V1.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = EntryRecord::decode(&bytes[..]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "bit {bit}");
        }
    }

    #[test]
    fn an_entry_cut_short_is_a_torn_tail() {
        for cut in 0..8 {
            let error = EntryRecord::decode(&COMMAND_V1[..cut]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "cut at {cut}");
        }
    }

    #[test]
    fn an_unknown_version_is_refused() {
        let mut bytes = COMMAND_V1.to_vec();
        bytes[8] = 2;
        assert_eq!(
            EntryRecord::decode(&bytes[..]).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }
}
