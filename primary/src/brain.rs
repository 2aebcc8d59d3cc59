//! How the rest of the node proposes decisions and reads the state.

use std::sync::{Arc, RwLockReadGuard};

use outlast_core::entry::Asker;
use outlast_core::rows::MemberFacts;
use outlast_core::{ClusterState, Command, Entry, Refusal, Reply};
use outlast_kit::clock::SharedClock;
use outlast_proto::words::{JobNonce, RequestId, Timing};
use outlast_raft::{ProposeError, RaftNode};
use tokio::sync::watch;

use crate::machine::SharedState;
use crate::wakes::Wakes;

/// A handle to the replicated brain.
#[derive(Clone)]
pub(crate) struct Brain {
    raft: RaftNode,
    state: SharedState,
    clock: SharedClock,
    me: Arc<Me>,
}

/// This node, as its file has it.
#[derive(Debug)]
pub(crate) struct Me {
    pub(crate) node_id: u64,
    pub(crate) name: String,
    /// What it tells the others.
    pub(crate) facts: MemberFacts,
    /// Counts when it founds the cluster.
    pub(crate) timing: Timing,
}

/// A decision that was not made, or whose fate is unknown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrainError {
    /// From the Raft group.
    #[error(transparent)]
    Raft(#[from] ProposeError),
    /// The reply cannot be read; only a newer version's could be so.
    #[error("the reply cannot be read: {0}")]
    Reply(#[from] rmp_serde::decode::Error),
}

/// For the jobs of one submission; never that of a job of before there were nonces (S-12b).
pub(crate) fn draw_nonce() -> JobNonce {
    // Some bits of either half are fixed.
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    JobNonce((high ^ low).max(1))
}

impl Brain {
    pub(crate) fn new(raft: RaftNode, state: SharedState, clock: SharedClock, me: Me) -> Self {
        Self {
            raft,
            state,
            clock,
            me: Arc::new(me),
        }
    }

    /// Proposes a command of the cluster's own making.
    pub(crate) async fn propose(&self, command: Command) -> Result<Reply, BrainError> {
        self.submit(None, None, command).await
    }

    /// Proposes a command from outside; the same `request_id` again gets the same reply (`None`: not from outside). What not all members
    /// can read is refused here: one that got it would stop.
    pub(crate) async fn submit(
        &self,
        request_id: Option<RequestId>,
        asked_by: Option<Asker>,
        command: Command,
    ) -> Result<Reply, BrainError> {
        if self.leads() && !self.read().can_read(&command) {
            return Ok(Reply::Refused(Refusal::TooOld));
        }
        let entry = Entry {
            at: self.clock.now(),
            by: self.me.name.clone(),
            request_id,
            asked_by,
            command,
        };
        let reply = self.raft.propose(entry.encode()).await?;
        Ok(rmp_serde::from_slice(&reply)?)
    }

    /// The state as this node knows it.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, ClusterState> {
        self.state.read()
    }

    /// Returns once this node's state holds everything acknowledged before the call; fails unless it leads.
    pub(crate) async fn catch_up(&self) -> Result<(), BrainError> {
        Ok(self.raft.ensure_linearizable().await?)
    }

    /// Who is woken for what.
    pub(crate) fn wakes(&self) -> &Wakes {
        self.state.wakes()
    }

    /// Changes with every applied entry.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.state.changes()
    }

    pub(crate) fn raft(&self) -> &RaftNode {
        &self.raft
    }

    pub(crate) fn clock(&self) -> &SharedClock {
        &self.clock
    }

    pub(crate) fn name(&self) -> &str {
        &self.me.name
    }

    pub(crate) fn me(&self) -> &Me {
        &self.me
    }

    /// Whether this node leads, as far as it knows.
    pub(crate) fn leads(&self) -> bool {
        self.raft.leadership().borrow().is_me
    }
}
