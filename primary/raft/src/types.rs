//! openraft's type parameters, filled in. Nothing here leaves the crate. Used by every room that talks to openraft.

use std::fmt;

use bytes::Bytes;
use openraft::impls::leader_id_std::LeaderId;
use serde::{Deserialize, Serialize};

use crate::peer::{NodeId, Seat};
use crate::state::{SnapshotFile, StateStore};
use crate::term::Term;

openraft::declare_raft_types!(
    pub(crate) Config:
        D = Command,
        R = Reply,
        NodeId = NodeId,
        Node = Seat,
        Term = Term,
        // One leader per term, as in the paper.
        LeaderId = LeaderId<Term, NodeId>,
        AsyncRuntime = openraft::TokioRuntime,
);

pub(crate) type Raft = openraft::Raft<Config, StateStore>;
pub(crate) type LogId = openraft::alias::LogIdOf<Config>;
pub(crate) type Vote = openraft::alias::VoteOf<Config>;
pub(crate) type Entry = openraft::alias::EntryOf<Config>;
pub(crate) type Payload = openraft::alias::PayloadOf<Config>;
pub(crate) type Membership = openraft::Membership<NodeId, Seat>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<Config>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<Config>;
pub(crate) type Snapshot = openraft::alias::SnapshotOf<Config, SnapshotFile>;
pub(crate) type Metrics = openraft::RaftMetrics<Config>;

/// A command, opaque.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Command(pub(crate) Bytes);

/// A machine's answer, opaque.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Reply(pub(crate) Bytes);

// openraft prints both in its own logs: the size is all that may appear there.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({} bytes)", self.0.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({} bytes)", self.0.len())
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
