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
use crate::peer::{Incarnation, NodeId, Peer, Seat};
use crate::types::Config;

/// A new node may have to be sent a whole snapshot first.
const CHANGE_DEADLINE: Duration = Duration::from_secs(60);

impl RaftNode {
    /// Adds a node without a vote and waits until it has everything up to its own admission. Its number must never have
    /// been used before.
    pub async fn add_learner(&self, id: NodeId, peer: Peer) -> Result<(), MembershipError> {
        let seat = Seat::of(peer.clone(), Some(self.fit(id, &peer).await?));
        let admitted = async {
            // Not openraft's blocking form: that is content with a node that lags by no more than a whole snapshot.
            let admission = self.inner.raft.add_learner(id, seat, false).await?.log_id.index;
            self.caught_up(id, admission).await
        };
        finish(id, CHANGE_DEADLINE, admitted).await
    }

    /// Whether a node answers there and could come in under this number; nothing is changed.
    pub async fn meet(&self, id: NodeId, peer: &Peer) -> Result<(), MembershipError> {
        self.fit(id, peer).await.map(drop)
    }

    /// Asks a node that is to come in, and judges whether it can: new, or the one that is in already.
    async fn fit(&self, node_id: NodeId, peer: &Peer) -> Result<Incarnation, MembershipError> {
        let answer = self.inner.asker.ask(node_id, peer).await;
        let answer = answer.map_err(|error| MembershipError::NoAnswer {
            node_id,
            address: peer.address.clone(),
            reason: error.to_string(),
        })?;
        let unfit = |reason| Err(MembershipError::Unfit { node_id, reason });
        match self.seats().get(&node_id) {
            None if answer.promised => unfit("its data directory is of another group; empty it"),
            Some(seat) if seat.incarnation.is_some_and(|known| known != answer.incarnation) => unfit(
                "its disk was lost or emptied since it was taken in; remove it, and join it under a new number",
            ),
            None | Some(_) => Ok(answer.incarnation),
        }
    }

    /// Everyone in the membership this node knows of.
    pub(super) fn seats(&self) -> BTreeMap<NodeId, Seat> {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let nodes = metrics.membership_config.nodes();
        nodes.map(|(id, seat)| (*id, seat.clone())).collect()
    }

    /// Writes down the incarnations of members from before there were any, once all of them answer: an older version
    /// would drop them from what it stores. To be called on the leader until it is true.
    pub async fn bind_members(&self) -> Result<bool, MembershipError> {
        let mut seats = self.seats();
        let unbound = |seats: &BTreeMap<NodeId, Seat>| seats.values().any(|seat| seat.incarnation.is_none());
        if !unbound(&seats) {
            return Ok(true);
        }
        for (id, seat) in &mut seats {
            let found = if *id == self.inner.id {
                Ok(self.inner.asker.admission.incarnation())
            } else {
                self.inner
                    .asker
                    .ask(*id, &seat.peer())
                    .await
                    .map_err(|e| e.to_string())
                    .and_then(|answer| {
                        // The group counts on what it promised.
                        let lost = "its data directory is empty; remove it, and join it under a new number";
                        answer
                            .promised
                            .then_some(answer.incarnation)
                            .ok_or_else(|| lost.to_owned())
                    })
            };
            match found {
                Ok(found) => seat.incarnation = seat.incarnation.or(Some(found)),
                Err(error) => {
                    tracing::warn!(node = *id, name = %seat.name, %error, "member is not bound to its data directory yet")
                }
            }
        }
        if unbound(&seats) {
            return Ok(false);
        }
        self.change(self.inner.id, ChangeMembers::SetNodes(seats)).await?;
        tracing::info!("members are bound to their data directories");
        // The streams that are open go on without; a new leader's do not.
        if let Err(error) = self.transfer_leader(None).await {
            tracing::info!(%error, "leadership was not handed over");
        }
        Ok(true)
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
        let known = self.seats().get(&id).and_then(|seat| seat.incarnation);
        let seat = Seat::of(peer, known);
        self.change(id, ChangeMembers::SetNodes(BTreeMap::from([(id, seat)])))
            .await
    }

    async fn change(&self, id: NodeId, change: ChangeMembers<NodeId, Seat>) -> Result<(), MembershipError> {
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
