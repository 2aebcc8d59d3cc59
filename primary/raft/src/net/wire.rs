//! What a `RaftFrame` carries. `format` 1 is MessagePack with field names of openraft's own messages: nodes of one
//! cluster differ by at most one version, and a change of openraft that changes them gets a new number. A snapshot's
//! slices are raw bytes. Used by both sides.

use bytes::Bytes;
use outlast_proto::v1::RaftFrame;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tonic::Status;

use crate::peer::{Incarnation, NodeId};
use crate::types::Vote;

const FORMAT: u32 = 1;

/// The largest frame either side takes: a portion of entries, one command more, and what surrounds them.
pub(crate) const MAX_FRAME: usize = 16 * 1024 * 1024;
/// A snapshot travels in slices of this size.
pub(crate) const SLICE: usize = 1024 * 1024;

#[derive(Debug, Error)]
pub(crate) enum WireError {
    #[error("frame format {found} is not known here, only {FORMAT}")]
    Format { found: u32 },
    #[error("undecodable frame: {0}")]
    Decode(#[from] rmp_serde::decode::Error),
    #[error("unencodable message: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
    #[error("impossible message: {what}")]
    Impossible { what: &'static str },
    #[error("meant for node {to}, this is node {me}")]
    Misdirected { to: NodeId, me: NodeId },
    #[error("meant for node {me} with the data directory {to}, this one has the directory {mine}")]
    OtherIncarnation {
        me: NodeId,
        to: Incarnation,
        mine: Incarnation,
    },
    #[error("this node never took part, and the message does not say for which data directory it is")]
    NoIncarnation,
    #[error("node {me} holds another history: {here} was committed there, not {there}")]
    Diverged { me: NodeId, here: String, there: String },
    #[error("the log cannot be read: {0}")]
    Log(std::io::Error),
}

impl From<WireError> for Status {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Misdirected { .. }
            | WireError::OtherIncarnation { .. }
            | WireError::NoIncarnation
            | WireError::Diverged { .. } => Status::failed_precondition(error.to_string()),
            WireError::Encode(_) | WireError::Log(_) => Status::internal(error.to_string()),
            _ => Status::invalid_argument(error.to_string()),
        }
    }
}

/// Whom a request is for: an address can have been given to another node, and a node can have lost its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addressee {
    pub(crate) node: NodeId,
    /// None: the group is from before there were incarnations.
    pub(crate) incarnation: Option<Incarnation>,
}

/// A request, with whom it is for.
#[derive(Serialize, Deserialize)]
struct Addressed<T> {
    to: NodeId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    incarnation: Option<Incarnation>,
    body: T,
}

/// The first frame of a snapshot.
#[derive(Serialize, Deserialize)]
pub(crate) struct SnapshotStart {
    pub(crate) vote: Vote,
    /// Bytes that follow.
    pub(crate) len: u64,
}

pub(crate) fn pack<T: Serialize>(message: &T) -> Result<RaftFrame, WireError> {
    Ok(RaftFrame {
        format: FORMAT,
        payload: rmp_serde::to_vec_named(message)?.into(),
    })
}

pub(crate) fn unpack<T: DeserializeOwned>(frame: &RaftFrame) -> Result<T, WireError> {
    Ok(rmp_serde::from_slice(raw(frame)?)?)
}

pub(crate) fn address<T: Serialize>(to: Addressee, body: T) -> Result<RaftFrame, WireError> {
    pack(&Addressed {
        to: to.node,
        incarnation: to.incarnation,
        body,
    })
}

/// Whether the addressee is this node decides [`Admission`](super::admission::Admission).
pub(crate) fn open<T: DeserializeOwned>(frame: &RaftFrame) -> Result<(Addressee, T), WireError> {
    let Addressed {
        to,
        incarnation,
        body,
    } = unpack(frame)?;
    let to = Addressee {
        node: to,
        incarnation,
    };
    Ok((to, body))
}

pub(crate) fn slice(bytes: Bytes) -> RaftFrame {
    RaftFrame {
        format: FORMAT,
        payload: bytes,
    }
}

pub(crate) fn raw(frame: &RaftFrame) -> Result<&Bytes, WireError> {
    if frame.format == FORMAT {
        Ok(&frame.payload)
    } else {
        Err(WireError::Format { found: frame.format })
    }
}
