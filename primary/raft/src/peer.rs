//! The members of the group: their numbers, addresses and incarnations. No behaviour. Used by every other room of the
//! crate.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A member's number. Never used twice: a node that lost its disk comes back under a new one.
pub type NodeId = u64;

/// One node of the group, as callers name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// What people call the node.
    pub name: String,
    /// `host:port` of its gRPC endpoint.
    pub address: String,
}

/// Tells a data directory from every other one: drawn at random when the directory is claimed. A node whose disk was
/// lost or emptied has another one than the group knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Incarnation(Uuid);

impl Incarnation {
    pub(crate) fn new() -> Self {
        Self(Uuid::new_v4())
    }

    pub(crate) fn read(text: &str) -> Option<Self> {
        Uuid::parse_str(text).ok().map(Self)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A member's place in the group, as the membership stores it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seat {
    pub(crate) name: String,
    pub(crate) address: String,
    /// Whose seat it is. Once it is known it never changes. None: the seat is from before there were incarnations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) incarnation: Option<Incarnation>,
}

impl Seat {
    pub(crate) fn of(peer: Peer, incarnation: Option<Incarnation>) -> Self {
        Self {
            name: peer.name,
            address: peer.address,
            incarnation,
        }
    }

    pub(crate) fn peer(&self) -> Peer {
        Peer {
            name: self.name.clone(),
            address: self.address.clone(),
        }
    }
}
