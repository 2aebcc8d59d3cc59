//! What a new journal file repeats from the ones before it, so that those can go: open attempts, closed numbers.
//!
//! These messages are part of the format on disk: add fields, never change them. Used by `record` and `known`.

use outlast_proto::v1::{AttemptRef, ItemEnded, SignedTicket};

/// The first record of every file.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KeptState {
    #[prost(uint64, tag = "1")]
    pub acknowledged: u64,
    #[prost(message, repeated, tag = "2")]
    pub open: Vec<OpenAttempt>,
    #[prost(message, repeated, tag = "3")]
    pub jobs: Vec<ClosedJob>,
    /// The newest time stamp of an event so far.
    #[prost(int64, tag = "4")]
    pub newest_micros: i64,
    #[prost(message, repeated, tag = "5")]
    pub writers: Vec<KeptWriter>,
}

/// From this event on, up to the next such: which process wrote them.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KeptWriter {
    #[prost(uint64, tag = "1")]
    pub first: u64,
    /// See `JournalEvent.writer`.
    #[prost(uint64, tag = "2")]
    pub writer: u64,
}

/// An attempt that was admitted and has no end in the journal.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OpenAttempt {
    #[prost(message, optional, tag = "1")]
    pub attempt: Option<AttemptRef>,
    #[prost(message, optional, tag = "2")]
    pub ticket: Option<SignedTicket>,
    #[prost(message, repeated, tag = "3")]
    pub items: Vec<ItemEnded>,
    /// Exceptions journalled by name.
    #[prost(uint64, tag = "4")]
    pub exceptions: u64,
    /// Whether its mark makes it resilient, still.
    #[prost(bool, tag = "5")]
    pub resilient: bool,
    /// The version of the primary under which it was marked; empty: not known.
    #[prost(string, tag = "6")]
    pub primary_version: String,
}

/// A job of which attempts have ended here.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ClosedJob {
    #[prost(uint64, tag = "1")]
    pub job: u64,
    /// This attempt and all lower ones are over.
    #[prost(uint32, tag = "2")]
    pub through: u32,
    /// When it was last heard of.
    #[prost(int64, tag = "3")]
    pub at_micros: i64,
    /// Its nonce; 0: of before there were nonces.
    #[prost(fixed64, tag = "4")]
    pub nonce: u64,
}

/// An attempt that has no right any more; nor have lower ones of its job.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Fence {
    #[prost(message, optional, tag = "1")]
    pub attempt: Option<AttemptRef>,
    #[prost(int64, tag = "2")]
    pub at_micros: i64,
}
