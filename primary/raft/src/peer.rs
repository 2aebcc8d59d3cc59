//! The members of the group: their numbers and addresses. No behaviour. Used by every other room of the crate.

use serde::{Deserialize, Serialize};

/// A member's number. Never used twice: a node that lost its disk comes back under a new one.
pub type NodeId = u64;

/// One node of the group, as the membership stores it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// What people call the node.
    pub name: String,
    /// `host:port` of its gRPC endpoint.
    pub address: String,
}
