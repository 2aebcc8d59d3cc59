//! Changing who belongs to the group and who leads it, and the snapshots an operator or a test asks for. All of it is
//! openraft's work; deadlines and the errors' wording are ours. Called by the primary's administration.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, Fatal, ForwardToLeader, RaftError};

use crate::error::MembershipError;
use crate::node::{RaftNode, leader};
use crate::peer::{NodeId, Peer};
use crate::types::Config;

/// A new node may have to be sent a whole snapshot first.
const CHANGE_DEADLINE: Duration = Duration::from_secs(60);

impl RaftNode {
    /// Adds a node without a vote and waits until it has everything up to its own admission. Its number must never have
    /// been used before.
    pub async fn add_learner(&self, id: NodeId, peer: Peer) -> Result<(), MembershipError> {
        let admitted = async {
            // Not openraft's blocking form: that is content with a node that lags by no more than a whole snapshot.
            let admission = self.inner.raft.add_learner(id, peer, false).await?.log_id.index;
            self.caught_up(id, admission).await
        };
        finish(id, CHANGE_DEADLINE, admitted).await
    }

    /// Waits until a node has this entry on its disk; ends early when leadership does.
    async fn caught_up(
        &self,
        id: NodeId,
        index: u64,
    ) -> Result<(), RaftError<Config, ClientWriteError<Config>>> {
        let mut metrics = self.inner.raft.metrics();
        loop {
            {
                let now = metrics.borrow_watched();
                let Some(replication) = &now.replication else {
                    return Err(RaftError::APIError(ClientWriteError::ForwardToLeader(
                        ForwardToLeader::empty(),
                    )));
                };
                if replication
                    .get(&id)
                    .copied()
                    .flatten()
                    .is_some_and(|matched| matched.index >= index)
                {
                    return Ok(());
                }
            }
            metrics
                .changed()
                .await
                .map_err(|_| RaftError::Fatal(Fatal::Stopped))?;
        }
    }

    /// Gives a learner a vote.
    pub async fn promote(&self, id: NodeId) -> Result<(), MembershipError> {
        self.change(id, ChangeMembers::AddVoterIds(BTreeSet::from([id])))
            .await
    }

    /// Removes a node, voter or learner. A leader that removes itself hands leadership over.
    pub async fn remove(&self, id: NodeId) -> Result<(), MembershipError> {
        let status = self.status();
        let member = status
            .members
            .iter()
            .find(|m| m.id == id)
            .ok_or(MembershipError::NotAMember { node_id: id })?;
        let ids = BTreeSet::from([id]);
        let change = if member.voter {
            ChangeMembers::RemoveVoters(ids)
        } else {
            ChangeMembers::RemoveNodes(ids)
        };
        self.change(id, change).await
    }

    /// Tells the group a member's new name or address.
    pub async fn update_peer(&self, id: NodeId, peer: Peer) -> Result<(), MembershipError> {
        self.change(id, ChangeMembers::SetNodes(BTreeMap::from([(id, peer)])))
            .await
    }

    async fn change(&self, id: NodeId, change: ChangeMembers<NodeId, Peer>) -> Result<(), MembershipError> {
        finish(
            id,
            CHANGE_DEADLINE,
            self.inner.raft.change_membership(change, false),
        )
        .await
    }

    /// Hands leadership to a voter, by default the one that lags least, and waits until this node has let go of it.
    pub async fn transfer_leader(&self, to: Option<NodeId>) -> Result<(), MembershipError> {
        let status = self.status();
        if !self.leadership().borrow().is_me {
            return Err(MembershipError::NotLeader {
                leader: status.leader,
            });
        }
        let others = status.members.iter().filter(|m| m.voter && m.id != self.inner.id);
        let successor = match to {
            Some(id) if id == self.inner.id => return Ok(()),
            Some(id) => others
                .into_iter()
                .find(|m| m.id == id)
                .ok_or(MembershipError::NotAMember { node_id: id })?,
            // Whoever does not answer cannot take over, however much it has.
            None => others
                .max_by_key(|m| (m.reachable, m.matched))
                .ok_or(MembershipError::NoSuccessor)?,
        };
        let (mut leadership, after) = (self.leadership(), self.inner.timing.patience() * 4);
        self.inner
            .raft
            .trigger()
            .transfer_leader(successor.id)
            .await
            .map_err(|fatal| stopped(&fatal))?;
        let gone = leadership.wait_for(|now| !now.is_me && now.leader.is_some());
        match tokio::time::timeout(after, gone).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(MembershipError::Stopped {
                reason: "it was shut down".into(),
            }),
            Err(_) => Err(MembershipError::Timeout { after }),
        }
    }

    /// Begins building a snapshot of what is applied. [`RaftNode::status`] shows when it is there.
    pub async fn trigger_snapshot(&self) -> Result<(), MembershipError> {
        self.inner
            .raft
            .trigger()
            .snapshot()
            .await
            .map_err(|fatal| stopped(&fatal))
    }

    /// Begins removing entries up to this index from the log, as far as a snapshot contains them.
    pub async fn purge(&self, upto: u64) -> Result<(), MembershipError> {
        self.inner
            .raft
            .trigger()
            .purge_log(upto)
            .await
            .map_err(|fatal| stopped(&fatal))
    }
}

async fn finish<T>(
    id: NodeId,
    after: Duration,
    change: impl Future<Output = Result<T, RaftError<Config, ClientWriteError<Config>>>>,
) -> Result<(), MembershipError> {
    match tokio::time::timeout(after, change).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(RaftError::Fatal(fatal))) => Err(stopped(&fatal)),
        Ok(Err(RaftError::APIError(error))) => Err(refused(id, error)),
        Err(_) => Err(MembershipError::Timeout { after }),
    }
}

fn refused(id: NodeId, error: ClientWriteError<Config>) -> MembershipError {
    match error {
        ClientWriteError::ForwardToLeader(to) => MembershipError::NotLeader { leader: leader(to) },
        ClientWriteError::ChangeMembershipError(ChangeMembershipError::LearnerNotFound(_)) => {
            MembershipError::NotAMember { node_id: id }
        }
        other => MembershipError::Refused {
            reason: other.to_string(),
        },
    }
}

fn stopped(fatal: &Fatal<Config>) -> MembershipError {
    MembershipError::Stopped {
        reason: fatal.to_string(),
    }
}
