//! Members of the primary's group, as far as they were ever admitted. Who votes now is the Raft group's own affair.

use outlast_proto::words::Timestamp;
use serde::{Deserialize, Serialize};

/// A node number that was given out. The row stays when the node leaves: no number is used twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// When it was admitted.
    pub admitted_at: Timestamp,
    /// When it left.
    pub removed_at: Option<Timestamp>,
    /// What it said of itself last; none: nothing yet.
    #[serde(default)]
    pub facts: Option<MemberFacts>,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberFacts {
    /// Its host.
    pub host_id: String,
    /// Its program version.
    pub version: String,
    /// The newest cluster version that it speaks (DESIGN 3); 0: it did not say.
    #[serde(default)]
    pub cluster_version: u32,
}
