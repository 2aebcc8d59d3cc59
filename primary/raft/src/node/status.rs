//! What a node shows of itself and of the others. Read from openraft's metrics; changes nothing.

use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;

use crate::node::RaftNode;
use crate::peer::{NodeId, Peer, Seat};
use crate::types::Metrics;

/// One node's view. Indexes count entries of the log, memberships and leaders' first entries included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftStatus {
    /// This node.
    pub id: NodeId,
    /// The term it knows of.
    pub term: u64,
    /// The leader it hears, or itself.
    pub leader: Option<(NodeId, Peer)>,
    /// What it is itself.
    pub role: Role,
    /// Last entry in its log.
    pub last_log: Option<u64>,
    /// Last entry the machine applied.
    pub applied: Option<u64>,
    /// Last entry in its snapshot.
    pub snapshot: Option<u64>,
    /// Last entry removed from the log.
    pub purged: Option<u64>,
    /// Everyone in the membership it knows of.
    pub members: Vec<Member>,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes proposals.
    Leader,
    /// Votes.
    Follower,
    /// Wants to lead.
    Candidate,
    /// Receives, but has no vote.
    Learner,
    /// Has stopped.
    Stopped,
}

/// One node of the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub id: NodeId,
    /// Its name and address.
    pub peer: Peer,
    /// It votes.
    pub voter: bool,
    /// On the leader: the last entry known to be on its disk. One that stands still although it is reachable is a node
    /// to look at.
    pub matched: Option<u64>,
    /// On the leader: it answered lately.
    pub reachable: Option<bool>,
}

impl RaftNode {
    /// This node's view at this moment.
    pub fn status(&self) -> RaftStatus {
        let receiver = self.inner.raft.metrics();
        let metrics = receiver.borrow_watched();
        let role = match (&metrics.running_state, metrics.state) {
            (Err(_), _) | (_, ServerState::Shutdown) => Role::Stopped,
            (_, ServerState::Leader) => Role::Leader,
            (_, ServerState::Follower) => Role::Follower,
            (_, ServerState::Candidate) => Role::Candidate,
            (_, ServerState::Learner) => Role::Learner,
        };
        let leader = metrics.current_leader;
        let leader = if role == Role::Leader {
            leader
        } else {
            self.if_heard(leader)
        };
        RaftStatus {
            id: metrics.id,
            term: metrics.current_term.0,
            leader: leader.and_then(|id| Some((id, metrics.membership_config.get_node(&id)?.peer()))),
            role,
            last_log: metrics.last_log_index,
            applied: metrics.last_applied.map(|id| id.index),
            snapshot: metrics.snapshot.map(|id| id.index),
            purged: metrics.purged.map(|id| id.index),
            members: self.members(&metrics),
        }
    }

    fn members(&self, metrics: &Metrics) -> Vec<Member> {
        let membership = metrics.membership_config.membership();
        let voters: Vec<NodeId> = membership.voter_ids().collect();
        let leads = metrics.state.is_leader();
        let view = |(id, seat): (&NodeId, &Seat)| {
            let me = *id == self.inner.id;
            let matched = metrics
                .replication
                .as_ref()
                .and_then(|all| all.get(id).copied().flatten());
            let heard = metrics
                .heartbeat
                .as_ref()
                .and_then(|all| all.get(id).copied().flatten());
            let lately =
                heard.is_some_and(|at| openraft::Instant::elapsed(&*at) < self.inner.timing.patience());
            Member {
                id: *id,
                peer: seat.peer(),
                voter: voters.contains(id),
                matched: matched.map(|id| id.index),
                reachable: leads.then_some(me || lately),
            }
        };
        membership.nodes().map(view).collect()
    }
}
