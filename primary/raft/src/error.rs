//! The errors callers see, one enum per operation. No behaviour but their wording: what an operator has to do stands
//! in the message. Made in [`node`](crate::node) and in the rooms that open files.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::machine::MachineError;
use crate::node::Exclusion;
use crate::peer::{NodeId, Peer};

const REJOIN: &str = "a node that forgot what it promised must not come back under its old number: remove it from \
    the cluster, empty this directory and let it join under a new node number";

/// Why a node does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The options contradict themselves.
    #[error("the options cannot work: {reason}")]
    Options {
        /// What is wrong.
        reason: String,
    },
    /// Another process has the directory.
    #[error("the data directory {} is in use by another process", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory belongs to another node or another cluster.
    #[error(
        "the data directory {} belongs to node {found} of cluster {found_cluster:?}, not to node {expected} of cluster \
         {expected_cluster:?}; correct the node number or the directory",
        dir.display()
    )]
    WrongIdentity {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        found: NodeId,
        /// Whose it should be.
        expected: NodeId,
        /// Its cluster.
        found_cluster: String,
        /// The cluster asked for.
        expected_cluster: String,
    },
    /// Something the node once had is gone or shorter than what it promised.
    #[error("{}: {what} is lost ({detail}); {REJOIN}", dir.display())]
    LostState {
        /// The directory.
        dir: PathBuf,
        /// What is missing.
        what: LossKind,
        /// What was found instead.
        detail: String,
    },
    /// The log holds bytes nobody wrote.
    #[error("{}: the log is damaged ({detail}); {REJOIN}", dir.display())]
    DamagedLog {
        /// The directory.
        dir: PathBuf,
        /// Where and what.
        detail: String,
    },
    /// The machine does not accept its own rows.
    #[error("the machine cannot be restored")]
    Machine(#[from] MachineError),
    /// A file cannot be read or written.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// openraft does not start on what was found.
    #[error("raft does not start on what {} holds: {reason}", dir.display())]
    Raft {
        /// The directory.
        dir: PathBuf,
        /// Its reason.
        reason: String,
    },
}

impl StartError {
    pub(crate) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> StartError {
        let path = path.into();
        move |source| StartError::Io { doing, path, source }
    }
}

/// What a node lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossKind {
    /// The file that says whose directory this is.
    Identity,
    /// The file that says how much of the log was promised.
    Mark,
    /// The Raft log or its end.
    Log,
    /// The applied rows, and every snapshot from which the log leads to them.
    State,
}

impl std::fmt::Display for LossKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            LossKind::Identity => "the identity file",
            LossKind::Mark => "the mark of the log",
            LossKind::Log => "the log or its end",
            LossKind::State => "the applied state, and all that it could be rebuilt from,",
        })
    }
}

/// Why a proposal or a linearizable read gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProposeError {
    /// Nothing was accepted: another node leads, or nobody does at the moment.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<(NodeId, Peer)>,
    },
    /// The command may still be applied, or not.
    #[error("no answer within {after:?}; the outcome is unknown")]
    Timeout {
        /// The deadline.
        after: Duration,
    },
    /// Leadership changed while the command was under way: it may still be applied, or not.
    #[error("leadership changed before the command was committed; the outcome is unknown")]
    Displaced {
        /// Who leads now, as far as this node knows.
        leader: Option<(NodeId, Peer)>,
    },
    /// Nothing was accepted: see [`MAX_COMMAND`](crate::MAX_COMMAND).
    #[error("the command has {size} bytes, but only {limit} are allowed")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// This node stopped, or is stopping. See [`RaftNode::stopped`](crate::RaftNode::stopped).
    #[error("this node has stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

/// Why a cluster was not initialised.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InitializeError {
    /// The first members must include the node that is asked.
    #[error("node {node_id} is not among the members given")]
    NotAMember {
        /// This node.
        node_id: NodeId,
    },
    /// There is a group already.
    #[error(transparent)]
    Excluded(#[from] Exclusion),
    /// This node stopped, or is stopping.
    #[error("this node has stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

/// Why the membership or the leadership did not change.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MembershipError {
    /// Ask the leader.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<(NodeId, Peer)>,
    },
    /// Nobody has this number.
    #[error("node {node_id} is not a member")]
    NotAMember {
        /// The number.
        node_id: NodeId,
    },
    /// Its process must run, and answer at its address.
    #[error("node {node_id} does not answer at {address}: {reason}")]
    NoAnswer {
        /// The number.
        node_id: NodeId,
        /// Where it was asked.
        address: String,
        /// What came instead.
        reason: String,
    },
    /// It has a data directory of another group, or one it had here is gone.
    #[error("node {node_id} cannot come in: {reason}")]
    Unfit {
        /// The number.
        node_id: NodeId,
        /// Why.
        reason: &'static str,
    },
    /// Only a voter can lead, and there is no other one.
    #[error("there is no other voter to hand leadership to")]
    NoSuccessor,
    /// Another change is under way, or this one is not possible now.
    #[error("the change was refused: {reason}")]
    Refused {
        /// openraft's reason.
        reason: String,
    },
    /// The change may still happen, or not.
    #[error("no answer within {after:?}; the outcome is unknown")]
    Timeout {
        /// The deadline.
        after: Duration,
    },
    /// This node stopped, or is stopping.
    #[error("this node has stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}
