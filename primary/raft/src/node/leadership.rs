//! Who leads, and whether this node still runs: one task that follows openraft's metrics and tells both on. Owned by
//! the node's handle.

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::needed;
use crate::peer::NodeId;
use crate::types::{Config, Metrics, Raft};

/// Who leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The leader this node knows of.
    pub leader: Option<NodeId>,
    /// The term it knows of; higher with every election, by how much says nothing.
    pub term: u64,
    /// This node leads. It may have lost its majority without knowing yet: a proposal tells.
    pub is_me: bool,
}

/// Why a node stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It was asked to.
    Shutdown,
    /// The disk or the machine failed. Restarting may or may not help; the reason says.
    Failed {
        /// What failed.
        reason: String,
    },
    /// It may not take part under its number, now or later.
    Excluded(Exclusion),
}

/// Why a node may not take part under its number.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Exclusion {
    /// It would have forgotten votes it gave and entries it acknowledged.
    #[error(
        "the group knows node {node_id} with another data directory than this new one: its disk was lost or emptied, \
         and a node that forgot what it promised must not come back under its old number"
    )]
    LostDisk {
        /// This node.
        node_id: NodeId,
    },
    /// One of the two was set back to an older copy: both have acknowledged what the other lacks.
    #[error(
        "node {node_id} holds another history than its group: {here} was committed here, and the leader has {there} in its place; \
         this node holds all entries up to {end}. The group was set back to an older copy of itself, and this node has what was \
         acknowledged since; or it is this node that was set back"
    )]
    Diverged {
        /// This node.
        node_id: NodeId,
        /// The first entry that was seen to differ, as it is here.
        here: String,
        /// As the leader has it.
        there: String,
        /// The last committed entry here.
        end: String,
    },
    /// A leader said so.
    #[error("node {node_id} was removed from the group")]
    Removed {
        /// This node.
        node_id: NodeId,
    },
    /// It would have formed a group with somebody who has one.
    #[error("{by} belongs to a group already, and node {node_id} is not in it")]
    Unknown {
        /// This node.
        node_id: NodeId,
        /// Who has a group.
        by: String,
    },
}

/// Why the node stopped, once it did: the first reason counts.
#[derive(Clone)]
pub(crate) struct Stop(watch::Sender<Option<StopReason>>);

impl Stop {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    pub(crate) fn give(&self, reason: StopReason) {
        self.0.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                *known = Some(reason);
            }
            first
        });
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Option<StopReason>> {
        self.0.subscribe()
    }
}

type Watched = (JoinHandle<()>, watch::Receiver<Leadership>);

/// Starts the task. Its end means that the node has stopped; the owner aborts it when it goes.
pub(super) fn watch(me: NodeId, raft: Raft, stop: Stop) -> Watched {
    let (lead_tx, lead_rx) = watch::channel(leadership(&raft.metrics().borrow_watched(), me));
    let mut metrics = raft.metrics();
    let told = stop.clone();
    let task = needed("watch over who leads", &told, async move {
        loop {
            let (now, state) = {
                let metrics = metrics.borrow_watched();
                (leadership(&metrics, me), metrics.running_state.clone())
            };
            let state = if state.is_ok() && metrics.changed().await.is_ok() {
                Ok(())
            } else {
                ended(&raft, state).await
            };
            let now = if state.is_ok() {
                now
            } else {
                Leadership {
                    leader: None,
                    is_me: false,
                    ..now
                }
            };
            lead_tx.send_if_modified(|old| std::mem::replace(old, now) != now);
            if let Err(fatal) = state {
                stop.give(reason(me, &fatal));
                return;
            }
        }
    });
    (task, lead_rx)
}

/// openraft's core is gone; if it did not leave a reason, any call to it gives one.
async fn ended(raft: &Raft, state: Result<(), Fatal<Config>>) -> Result<(), Fatal<Config>> {
    match state {
        Err(fatal) => Err(fatal),
        Ok(()) => raft.with_raft_state(|_| ()).await.and(Err(Fatal::Stopped)),
    }
}

fn leadership(metrics: &Metrics, me: NodeId) -> Leadership {
    let is_me = metrics.state.is_leader() && metrics.current_leader == Some(me);
    Leadership {
        leader: metrics.current_leader,
        term: metrics.current_term.0,
        is_me,
    }
}

fn reason(me: NodeId, fatal: &Fatal<Config>) -> StopReason {
    match fatal {
        Fatal::Stopped => StopReason::Shutdown,
        fatal => {
            tracing::error!(node = me, reason = %fatal, "raft node stopped");
            StopReason::Failed {
                reason: fatal.to_string(),
            }
        }
    }
}
