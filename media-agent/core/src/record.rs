//! The records of a journal. How they lie on disk is the media agent's `journal::format`.

use bytes::Bytes;
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{JournalEvent, SignedTicket};
use outlast_proto::words::Timestamp;
use prost::Message as _;

use crate::kept::{Fence, KeptState};
use outlast_proto::words::AttemptId;

/// One entry of the log. Only events are delivered; the others are the agent's own.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "records are made, written and taken apart one at a time"
)]
pub enum Record {
    /// Something that happened to an attempt.
    Event(JournalEvent),
    /// The ticket of an attempt that is about to be marked.
    Admitted(SignedTicket),
    /// This attempt and lower ones of the job have no right any more.
    Fenced(Fence),
    /// The primary has committed this event and all before.
    Acknowledged(u64),
    /// What earlier files said and still counts; the first record of each file.
    Kept(KeptState),
}

/// Something to be written.
#[derive(Clone, Debug)]
pub enum NewRecord {
    /// An event; the journal gives it its number.
    Event(NewEvent),
    /// See [`Record::Admitted`].
    Admitted(SignedTicket),
    /// See [`Record::Fenced`].
    Fenced {
        /// Which attempt.
        id: AttemptId,
        /// When.
        at: Timestamp,
    },
}

/// An event without its number.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// When it happened.
    pub at: Timestamp,
    /// To which attempt.
    pub id: AttemptId,
    /// What.
    pub what: What,
}

impl Record {
    /// Which kind of record it is, as on disk.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Record::Event(_) => 1,
            Record::Admitted(_) => 2,
            Record::Fenced(_) => 3,
            Record::Acknowledged(_) => 4,
            Record::Kept(_) => 5,
        }
    }

    /// Its content, as on disk.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        match self {
            Record::Event(event) => event.encode_to_vec(),
            Record::Admitted(ticket) => ticket.encode_to_vec(),
            Record::Fenced(fence) => fence.encode_to_vec(),
            Record::Acknowledged(sequence) => sequence.to_le_bytes().to_vec(),
            Record::Kept(kept) => kept.encode_to_vec(),
        }
    }

    /// The record of that kind and content; none if this version knows no such.
    #[must_use]
    pub fn decode(kind: u8, body: Bytes) -> Option<Self> {
        Some(match kind {
            1 => Record::Event(JournalEvent::decode(body).ok()?),
            2 => Record::Admitted(SignedTicket::decode(body).ok()?),
            3 => Record::Fenced(Fence::decode(body).ok()?),
            4 => Record::Acknowledged(u64::from_le_bytes(body.as_ref().try_into().ok()?)),
            5 => Record::Kept(KeptState::decode(body).ok()?),
            _ => return None,
        })
    }

    /// About how many bytes its content has.
    #[must_use]
    pub fn length(&self) -> usize {
        match self {
            Record::Event(event) => event.encoded_len(),
            Record::Admitted(ticket) => ticket.encoded_len(),
            Record::Fenced(_) | Record::Acknowledged(_) => 64,
            Record::Kept(kept) => kept.encoded_len(),
        }
    }
}
