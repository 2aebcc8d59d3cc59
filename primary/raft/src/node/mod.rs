//! One running node: starting it, proposing, reading, stopping it. What it is made of lives in the other rooms; the
//! opening of a data directory in [`start`], membership changes in [`members`], asking the other nodes in [`acquaint`],
//! what is seen from outside in [`status`] and [`leadership`]. Called by the primary.

mod acquaint;
mod checker;
mod leadership;
mod members;
pub(crate) mod start;
mod status;
#[cfg(test)]
#[path = "../../tests/support/mod.rs"]
mod support;
#[cfg(test)]
mod upgrade;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use openraft::ReadPolicy;
use openraft::errors::{ClientWriteError, Fatal, ForwardToLeader, InitializeError as RaftInitializeError};
use openraft::errors::{LinearizableReadError, RaftError};
use outlast_kit::tasks::caught;
use outlast_proto::v1::raft_server::RaftServer;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::{InitializeError, ProposeError, StartError};
use crate::log::LogStore;
use crate::machine::Machine;
use crate::net::{Admission, Heard, MAX_FRAME, Network, RaftService};
use crate::node::acquaint::Asker;
use crate::options::{MAX_COMMAND, RaftOptions, Timing};
use crate::peer::{NodeId, Peer};
use crate::state::StateStore;
use crate::types::{Command, Config, Raft};

pub(crate) use leadership::Stop;
pub use leadership::{Exclusion, Leadership, StopReason};
pub use status::{Member, RaftStatus, Role};

/// A handle to one running node. Clones are the same node. It runs until [`RaftNode::shutdown`], until the last
/// handle is dropped, or until a disk or the machine fails it (see [`RaftNode::stopped`]).
#[derive(Clone)]
pub struct RaftNode {
    inner: Arc<Inner>,
}

struct Inner {
    id: NodeId,
    timing: Timing,
    raft: Raft,
    log: LogStore,
    state: StateStore,
    heard: Heard,
    leadership: watch::Receiver<Leadership>,
    stop: watch::Receiver<Option<StopReason>>,
    asker: Asker,
    watcher: JoinHandle<()>,
    belonging: JoinHandle<()>,
    checker: JoinHandle<()>,
}

/// A task without which the node is not whole: should it panic, the node stops (B-01).
fn needed(
    name: &'static str,
    stop: &Stop,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let stop = stop.clone();
    tokio::spawn(async move {
        if let Err(panic) = caught(name, task).await {
            let reason = format!("its {name} panicked: {panic}; the log says more");
            stop.give(StopReason::Failed { reason });
        }
    })
}

impl RaftNode {
    /// Opens the data directory, restores the machine from its rows and starts taking part.
    ///
    /// # Errors
    /// Everything that makes it unsafe or impossible to take part; the messages say what an operator can do.
    pub async fn start(options: RaftOptions, machine: impl Machine) -> Result<RaftNode, StartError> {
        let config = Arc::new(options.raft_config()?);
        let (id, timing, dir) = (options.node_id, options.timing, options.data_dir.clone());
        let connect = options.connect.clone();
        let network = Network::new(id, connect.clone(), timing.patience());
        let opening = tokio::task::spawn_blocking(move || start::open(&options, Box::new(machine))).await;
        let opened = opening.map_err(|panic| StartError::Raft {
            dir: dir.clone(),
            reason: panic.to_string(),
        })??;
        let raft = Raft::new(id, config, network, opened.log.clone(), opened.state.clone()).await;
        let raft = raft.map_err(|fatal| StartError::Raft {
            dir: dir.clone(),
            reason: fatal.to_string(),
        })?;
        let (log, state, stop, heard) = (opened.log, opened.state, Stop::new(), Heard::default());
        let (watcher, leadership) = leadership::watch(id, raft.clone(), stop.clone());
        let asker = Asker {
            admission: Admission {
                me: id,
                raft: raft.clone(),
                log: log.clone(),
                state: state.clone(),
                stop: stop.clone(),
            },
            connect,
            timing,
        };
        let noted = state.with_blocking(|core| Ok(core.noted()));
        let noted = noted.map_err(StartError::io("using the rows in", &dir))?;
        let checker = needed("comparison of states", &stop, checker::run(raft.clone(), noted));
        let belonging = asker.clone().until_removed(heard.clone());
        let belonging = needed("look whether it belongs to the group", &stop, belonging);
        Ok(Self {
            inner: Arc::new(Inner {
                id,
                timing,
                raft,
                log,
                state,
                heard,
                leadership,
                stop: stop.subscribe(),
                asker,
                watcher,
                belonging,
                checker,
            }),
        })
    }

    /// The gRPC service for the other nodes, with its message limits set.
    pub fn service(&self) -> RaftServer<RaftService> {
        let Inner {
            asker, state, heard, ..
        } = &*self.inner;
        RaftServer::new(RaftService::new(
            asker.admission.clone(),
            state.clone(),
            heard.clone(),
        ))
        .max_decoding_message_size(MAX_FRAME)
        .max_encoding_message_size(MAX_FRAME)
    }

    /// Makes the first members a cluster, once all of them answer. To be called on one of them, always the same one.
    /// False: this node belongs to a cluster already, and nothing was changed.
    pub async fn initialize(&self, members: BTreeMap<NodeId, Peer>) -> Result<bool, InitializeError> {
        let admission = &self.inner.asker.admission;
        if !members.contains_key(&admission.me) {
            return Err(InitializeError::NotAMember {
                node_id: admission.me,
            });
        }
        if admission.log.identity().has_promised() {
            return Ok(false);
        }
        let Some(seats) = self.inner.asker.first_seats(members).await? else {
            return Ok(false);
        };
        match self.inner.raft.initialize(seats).await {
            Ok(()) => Ok(true),
            Err(RaftError::APIError(RaftInitializeError::NotAllowed(_))) => Ok(false),
            Err(RaftError::APIError(RaftInitializeError::NotInMembers(_))) => {
                Err(InitializeError::NotAMember {
                    node_id: self.inner.id,
                })
            }
            Err(RaftError::Fatal(fatal)) => Err(InitializeError::Stopped {
                reason: fatal.to_string(),
            }),
        }
    }

    /// The leader somebody is sent to, unless nothing was heard of it for so long that it must be gone.
    fn if_heard<T>(&self, leader: Option<T>) -> Option<T> {
        leader.filter(|_| self.inner.heard.within(self.inner.timing.patience()))
    }

    /// Has a command committed and applied, and returns the machine's reply.
    pub async fn propose(&self, command: Vec<u8>) -> Result<Vec<u8>, ProposeError> {
        self.propose_within(command, self.inner.timing.deadline()).await
    }

    /// [`RaftNode::propose`] with a deadline of the caller's. A leader that loses its majority keeps what it accepted
    /// pending, so there always is one.
    pub async fn propose_within(&self, command: Vec<u8>, after: Duration) -> Result<Vec<u8>, ProposeError> {
        if command.len() > MAX_COMMAND {
            return Err(ProposeError::TooLarge {
                size: command.len(),
                limit: MAX_COMMAND,
            });
        }
        let write = self.inner.raft.client_write(Command(command.into()));
        match tokio::time::timeout(after, write).await {
            Ok(Ok(done)) => Ok(done.data.0.into()),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to)))) => {
                Err(ProposeError::NotLeader {
                    leader: self.if_heard(leader(to)),
                })
            }
            Ok(Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(to)))) => {
                Err(ProposeError::Displaced {
                    leader: self.if_heard(leader(to)),
                })
            }
            // About memberships and preconditions; neither is asked for here.
            Ok(Err(RaftError::APIError(_))) => Err(ProposeError::Displaced { leader: None }),
            Ok(Err(RaftError::Fatal(fatal))) => Err(self.stopped_by(&fatal)),
            Err(_) => Err(ProposeError::Timeout { after }),
        }
    }

    /// Waits until a read of the machine sees everything that was acknowledged before this call: a majority confirms
    /// that this node still leads, and the machine has applied up to what was committed then.
    pub async fn ensure_linearizable(&self) -> Result<(), ProposeError> {
        let after = self.inner.timing.deadline();
        let read = self.inner.raft.ensure_linearizable(ReadPolicy::ReadIndex);
        match tokio::time::timeout(after, read).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to)))) => {
                Err(ProposeError::NotLeader {
                    leader: self.if_heard(leader(to)),
                })
            }
            Ok(Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)))) => {
                Err(ProposeError::NotLeader { leader: None })
            }
            Ok(Err(RaftError::Fatal(fatal))) => Err(self.stopped_by(&fatal)),
            Err(_) => Err(ProposeError::Timeout { after }),
        }
    }

    fn stopped_by(&self, fatal: &Fatal<Config>) -> ProposeError {
        let reason = match self.stop_reason() {
            Some(StopReason::Excluded(exclusion)) => exclusion.to_string(),
            _ => fatal.to_string(),
        };
        ProposeError::Stopped { reason }
    }

    /// Follows who leads. `is_me` turns true when this node is elected; what it must know first
    /// [`RaftNode::ensure_linearizable`] waits for.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// Waits until this node stops, and says why. A disk error or a failing machine stops it for good: the process
    /// should end then.
    pub async fn stopped(&self) -> StopReason {
        let mut stop = self.inner.stop.clone();
        match stop.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(StopReason::Shutdown),
            Err(_) => StopReason::Shutdown,
        }
    }

    /// Why this node stopped, if it did.
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.inner.stop.borrow().clone()
    }

    /// Stops taking part, makes everything durable and gives the data directory back. Hand leadership over first.
    pub async fn shutdown(&self) {
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::error!(node = self.inner.id, %error, "raft did not stop in good order");
        }
        let inner = self.inner.clone();
        let closing = tokio::task::spawn_blocking(move || inner.close());
        if let Err(error) = closing.await {
            tracing::error!(node = self.inner.id, %error, "closing panicked");
        }
    }
}

impl Inner {
    fn close(&self) {
        // The log last: with it goes the lock on the directory.
        for (what, closed) in [("state", self.state.close()), ("log", self.log.close())] {
            if let Err(error) = closed {
                tracing::error!(node = self.id, what, %error, "last write failed");
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Sends the signal; nobody is left to wait for the rest.
        drop(self.raft.shutdown().now_or_never());
        self.watcher.abort();
        self.belonging.abort();
        self.checker.abort();
    }
}

fn leader(to: ForwardToLeader<Config>) -> Option<(NodeId, Peer)> {
    to.leader_id.zip(to.leader_node.map(|seat| seat.peer()))
}
