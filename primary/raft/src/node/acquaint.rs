//! Asking other nodes who they are and what they know of this one, and what follows from it: forming a group, and
//! noticing that this node was removed. Called by the node's handle; the answers are given by
//! [`RaftService`](crate::RaftService).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use openraft::async_runtime::watch::WatchReceiver;
use outlast_proto::v1::HelloRequest;
use outlast_proto::v1::raft_client::RaftClient;
use thiserror::Error;
use tonic::Status;

use crate::error::InitializeError;
use crate::net::{Admission, Heard, Known};
use crate::node::{Exclusion, StopReason};
use crate::options::{Connect, ConnectError, Timing};
use crate::peer::{Incarnation, NodeId, Peer, Seat};

/// Between two rounds of asking the first members.
const ROUND: Duration = Duration::from_millis(200);
/// Rounds between two lines in the log about whom a new group waits for.
const ROUNDS_PER_LINE: usize = 50;

/// What another node says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) incarnation: Incarnation,
    /// It voted or took entries: it belongs to a group.
    pub(super) promised: bool,
    /// It leads, a majority has just confirmed it, and what it knows of the members is committed.
    pub(super) leads: bool,
    /// What it knows of this node.
    pub(super) knows: Known,
}

/// Why a node gave no usable answer.
#[derive(Debug, Error)]
pub(super) enum AskError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{}", .0.message())]
    Status(#[from] Status),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("node {0} answers there")]
    Stranger(NodeId),
    #[error("its answer cannot be read")]
    Unreadable,
}

/// Asks other nodes.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) admission: Admission,
    pub(super) connect: Arc<dyn Connect>,
    pub(super) timing: Timing,
}

impl Asker {
    /// Asks the node with this number at this address.
    pub(super) async fn ask(&self, node: NodeId, peer: &Peer) -> Result<Answer, AskError> {
        let limit = self.timing.patience() * 2;
        let mut client = RaftClient::new(self.connect.channel(peer)?);
        let hello = HelloRequest {
            node_id: self.admission.me,
        };
        let answer = tokio::time::timeout(limit, client.hello(hello)).await;
        let answer = answer.map_err(|_| AskError::Timeout(limit))??.into_inner();
        if answer.node_id != node {
            return Err(AskError::Stranger(answer.node_id));
        }
        let read = |text: &str| Incarnation::read(text).ok_or(AskError::Unreadable);
        let knows = match (answer.knows_you, answer.your_incarnation.as_str()) {
            (false, _) => Known::No,
            (true, "") => Known::Unbound,
            (true, incarnation) => Known::As(read(incarnation)?),
        };
        Ok(Answer {
            incarnation: read(&answer.incarnation)?,
            promised: answer.promised,
            leads: answer.leads,
            knows,
        })
    }

    /// The seats of the first members, once all of them have said that they belong to no group. None: they formed one
    /// meanwhile, with this node in it.
    ///
    /// All of them, not a majority: any one that remembers a group keeps a node that forgot it from founding another.
    pub(super) async fn first_seats(
        &self,
        members: BTreeMap<NodeId, Peer>,
    ) -> Result<Option<BTreeMap<NodeId, Seat>>, InitializeError> {
        for round in 0.. {
            let asked = members.iter().map(|(id, peer)| async {
                if *id == self.admission.me {
                    return Ok((self.admission.incarnation(), None));
                }
                let answer = self.ask(*id, peer).await;
                answer.map(|answer| (answer.incarnation, Some(answer)))
            });
            let answers = join_all(asked).await;
            let (mut seats, mut missing) = (BTreeMap::new(), Vec::new());
            for ((id, peer), answer) in members.iter().zip(answers) {
                match answer {
                    Ok((_, Some(answer))) if answer.promised => return self.of_a_group(peer, &answer),
                    Ok((incarnation, _)) => {
                        seats.insert(*id, Seat::of(peer.clone(), Some(incarnation)));
                    }
                    Err(error) => missing.push(format!("{} at {}: {error}", peer.name, peer.address)),
                }
            }
            if missing.is_empty() {
                return Ok(Some(seats));
            }
            if round % ROUNDS_PER_LINE == 0 {
                tracing::info!(
                    node = self.admission.me,
                    missing = missing.join("; "),
                    "the group is formed once all its first members answer"
                );
            }
            tokio::time::sleep(ROUND).await;
        }
        Ok(None)
    }

    /// One of the first members belongs to a group already, although this node knows of none.
    fn of_a_group(
        &self,
        peer: &Peer,
        answer: &Answer,
    ) -> Result<Option<BTreeMap<NodeId, Seat>>, InitializeError> {
        let node_id = self.admission.me;
        let exclusion = match answer.knows {
            Known::As(incarnation) if incarnation == self.admission.incarnation() => return Ok(None),
            Known::As(_) | Known::Unbound => Exclusion::LostDisk { node_id },
            Known::No => Exclusion::Unknown {
                node_id,
                by: peer.name.clone(),
            },
        };
        self.admission.stop.give(StopReason::Excluded(exclusion.clone()));
        Err(InitializeError::Excluded(exclusion))
    }

    /// Returns once a leader has said that this node is no longer a member. A node that hears its leader has no reason
    /// to ask; numbers are never used again, so the answer is final.
    pub(super) async fn until_removed(self, heard: Heard) {
        let pause = self.timing.patience();
        loop {
            tokio::time::sleep(pause).await;
            if self.leads() || heard.within(pause * 2) || !self.admission.log.identity().has_promised() {
                continue;
            }
            let members = self.others();
            let answers = join_all(members.iter().map(|(id, peer)| self.ask(*id, peer))).await;
            let removed = answers
                .iter()
                .flatten()
                .any(|answer| answer.leads && answer.knows == Known::No);
            if removed {
                let node_id = self.admission.me;
                self.admission
                    .stop
                    .give(StopReason::Excluded(Exclusion::Removed { node_id }));
                return;
            }
            tokio::time::sleep(pause * 2).await;
        }
    }

    fn leads(&self) -> bool {
        self.admission.raft.metrics().borrow_watched().state.is_leader()
    }

    /// The other members this node knows of.
    fn others(&self) -> Vec<(NodeId, Peer)> {
        let metrics = self.admission.raft.metrics();
        let metrics = metrics.borrow_watched();
        let nodes = metrics.membership_config.nodes();
        nodes
            .filter(|(id, _)| **id != self.admission.me)
            .map(|(id, seat)| (*id, seat.peer()))
            .collect()
    }
}
