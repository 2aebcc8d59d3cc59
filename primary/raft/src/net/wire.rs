//! What a `RaftFrame` carries. `format` 1 is MessagePack with field names of openraft's own messages: nodes of one
//! cluster differ by at most one version, and a change of openraft that changes them gets a new number. A snapshot's
//! slices are raw bytes. Used by both sides.

use bytes::Bytes;
use outlast_proto::v1::RaftFrame;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tonic::Status;

use crate::peer::NodeId;
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
}

impl From<WireError> for Status {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Misdirected { .. } => Status::failed_precondition(error.to_string()),
            WireError::Encode(_) => Status::internal(error.to_string()),
            _ => Status::invalid_argument(error.to_string()),
        }
    }
}

/// A request, with whom it is for: an address can have been given to another node.
#[derive(Serialize, Deserialize)]
pub(crate) struct Addressed<T> {
    pub(crate) to: NodeId,
    pub(crate) body: T,
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

pub(crate) fn address<T: Serialize>(to: NodeId, body: T) -> Result<RaftFrame, WireError> {
    pack(&Addressed { to, body })
}

pub(crate) fn accept<T: DeserializeOwned>(me: NodeId, frame: &RaftFrame) -> Result<T, WireError> {
    let Addressed { to, body } = unpack(frame)?;
    if to == me {
        Ok(body)
    } else {
        Err(WireError::Misdirected { to, me })
    }
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
