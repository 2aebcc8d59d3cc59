//! What a node is started with, and openraft's configuration made from it. Checked before anything is opened.
//! `outlast-primary` fills it in; [`node`](crate::node) reads it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use openraft::SnapshotPolicy;
use thiserror::Error;
use tonic::transport::Channel;

use crate::error::StartError;
use crate::peer::{NodeId, Peer};

/// The largest command a node accepts. Bulk data does not belong in the log.
pub const MAX_COMMAND: usize = 1024 * 1024;

/// How a node is started.
#[derive(Clone)]
pub struct RaftOptions {
    /// This node's number.
    pub node_id: NodeId,
    /// This node as the others see it.
    pub me: Peer,
    /// Names the cluster in the data directory, so that two clusters' directories cannot be mixed up.
    pub cluster: String,
    /// Everything this crate stores. Nothing else may live in it.
    pub data_dir: PathBuf,
    /// How patient elections are.
    pub timing: Timing,
    /// Entries between two snapshots.
    pub snapshot_every: u64,
    /// Entries kept after a snapshot for followers that lag a little.
    pub keep_log: u64,
    /// Entries between two comparisons of the members' states; above 0.
    pub check_every: u64,
    /// Makes the connections to the other nodes.
    pub connect: Arc<dyn Connect>,
}

impl RaftOptions {
    /// Options with the defaults: LAN timing, a snapshot every 20,000 entries, 1,000 entries kept, states
    /// compared every 1,000.
    pub fn new(node_id: NodeId, me: Peer, data_dir: PathBuf, connect: Arc<dyn Connect>) -> Self {
        Self {
            node_id,
            me,
            cluster: String::new(),
            data_dir,
            timing: Timing::Lan,
            snapshot_every: 20_000,
            keep_log: 1_000,
            check_every: 1_000,
            connect,
        }
    }

    pub(crate) fn raft_config(&self) -> Result<openraft::Config, StartError> {
        let scale = self.timing.scale();
        if self.check_every == 0 {
            return Err(StartError::Options {
                reason: "check_every is 0".into(),
            });
        }
        openraft::Config {
            cluster_name: self.cluster.clone(),
            heartbeat_interval: 50 * scale,
            election_timeout_min: 150 * scale,
            election_timeout_max: 300 * scale,
            enable_pre_vote: Some(true),
            // Apply is not durable by itself: a restarted leader has to be elected again.
            enable_leader_restore: Some(false),
            install_snapshot_timeout: 10_000,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_every),
            max_in_snapshot_log_to_keep: self.keep_log,
            // A follower this far behind is sent a snapshot; a smaller value could never be satisfied by one.
            replication_lag_threshold: self.snapshot_every.saturating_add(self.keep_log),
            ..openraft::Config::default()
        }
        .validate()
        .map_err(|error| StartError::Options {
            reason: error.to_string(),
        })
    }
}

/// How patient elections are. Followers wait the lease (300 ms in a LAN) plus a random 150 to 300 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// Heartbeat 50 ms, election 150 to 300 ms: a new leader in half a second.
    Lan,
    /// Ten times that, for nodes with distance between them.
    Wan,
}

impl Timing {
    fn scale(self) -> u64 {
        match self {
            Timing::Lan => 1,
            Timing::Wan => 10,
        }
    }

    /// Everybody has noticed a dead leader after this long.
    pub(crate) fn patience(self) -> Duration {
        Duration::from_millis(600 * self.scale())
    }

    /// How long a proposal or a read may take before the caller is told that its outcome is unknown.
    pub(crate) fn deadline(self) -> Duration {
        match self {
            Timing::Lan => Duration::from_secs(5),
            Timing::Wan => Duration::from_secs(15),
        }
    }
}

/// Makes connections to peers. TLS and HTTP/2 keep-alive are its business: the append stream has no deadline of its
/// own, so a connector without keep-alive would never notice a peer that fell silent.
pub trait Connect: Send + Sync + 'static {
    /// A lazy channel to this peer: it connects when first used and reconnects by itself.
    fn channel(&self, peer: &Peer) -> Result<Channel, ConnectError>;
}

/// A peer's address or certificate cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no connection to {address} can be made: {reason}")]
pub struct ConnectError {
    /// The peer's address.
    pub address: String,
    /// What is wrong with it.
    pub reason: String,
}
