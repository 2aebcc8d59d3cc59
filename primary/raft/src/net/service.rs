//! The answering side: thin handlers that unpack, ask openraft and pack. Mounted by the primary.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::stream::{self, Stream, StreamExt};
use openraft::errors::{Fatal, RaftError};
use openraft::raft::{AppendEntriesRequest, VoteRequest};
use outlast_proto::v1::RaftFrame;
use outlast_proto::v1::raft_server::Raft as RaftRpc;
use serde::Serialize;
use tonic::{Request, Response, Status, Streaming};

use crate::net::heard::Heard;
use crate::net::receive;
use crate::net::wire::{self, WireError};
use crate::peer::NodeId;
use crate::state::StateStore;
use crate::types::{Config, Raft, Snapshot};

/// Answers the other nodes. Made by [`RaftNode::service`](crate::RaftNode::service).
#[derive(Clone)]
pub struct RaftService {
    me: NodeId,
    raft: Raft,
    state: StateStore,
    heard: Heard,
}

impl RaftService {
    pub(crate) fn new(me: NodeId, raft: Raft, state: StateStore, heard: Heard) -> Self {
        Self {
            me,
            raft,
            state,
            heard,
        }
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<RaftFrame, Status>> + Send>>;

#[tonic::async_trait]
impl RaftRpc for RaftService {
    type StreamAppendStream = Answers;

    async fn stream_append(
        &self,
        request: Request<Streaming<RaftFrame>>,
    ) -> Result<Response<Answers>, Status> {
        let (requests, fault) = until_fault(self.me, request.into_inner(), self.heard.clone());
        let answers = self.raft.stream_append(requests).map(|result| match result {
            Ok(answer) => Ok(wire::pack(&answer)?),
            Err(fatal) => Err(stopped(&fatal)),
        });
        // What ended the input is said after everything before it has been answered.
        let last = stream::once(async move { fault.lock().ok().and_then(|mut fault| fault.take()) });
        let last = last.filter_map(|fault| async { fault.map(Err) });
        Ok(Response::new(Box::pin(answers.chain(last))))
    }

    async fn vote(&self, request: Request<RaftFrame>) -> Result<Response<RaftFrame>, Status> {
        let request: VoteRequest<Config> = wire::accept(self.me, request.get_ref())?;
        answer(self.raft.vote(request).await.map_err(fatal))
    }

    async fn pre_vote(&self, request: Request<RaftFrame>) -> Result<Response<RaftFrame>, Status> {
        let request: VoteRequest<Config> = wire::accept(self.me, request.get_ref())?;
        answer(self.raft.pre_vote(request).await.map_err(fatal))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<RaftFrame>>,
    ) -> Result<Response<RaftFrame>, Status> {
        let received = receive::receive(self.me, &self.state, request.into_inner()).await?;
        let meta = received
            .snapshot
            .meta()
            .map_err(|e| Status::invalid_argument(e.to_string()))?;
        let snapshot = Snapshot {
            meta,
            snapshot: received.snapshot.clone(),
        };
        answer(self.raft.install_full_snapshot(received.vote, snapshot).await)
    }

    async fn transfer_leader(&self, request: Request<RaftFrame>) -> Result<Response<RaftFrame>, Status> {
        let request = wire::accept(self.me, request.get_ref())?;
        answer(self.raft.handle_transfer_leader(request).await)
    }
}

type Requests = Pin<Box<dyn Stream<Item = AppendEntriesRequest<Config>> + Send>>;

/// The requests up to the first one that cannot be taken. Skipping it would leave a hole in the log.
fn until_fault(
    me: NodeId,
    frames: Streaming<RaftFrame>,
    heard: Heard,
) -> (Requests, Arc<Mutex<Option<Status>>>) {
    let fault = Arc::new(Mutex::new(None));
    let note = fault.clone();
    let requests = frames.scan((), move |(), frame| {
        let request = frame.and_then(|frame| Ok(append(me, &frame)?));
        if request.is_ok() {
            heard.now();
        }
        let request = request.map_err(|status| {
            if let Ok(mut fault) = note.lock() {
                *fault = Some(status);
            }
        });
        std::future::ready(request.ok())
    });
    (Box::pin(requests), fault)
}

/// openraft takes it for granted that entries follow each other.
fn append(me: NodeId, frame: &RaftFrame) -> Result<AppendEntriesRequest<Config>, WireError> {
    let request: AppendEntriesRequest<Config> = wire::accept(me, frame)?;
    let first = request.prev_log_id.map_or(0, |id| id.index.saturating_add(1));
    let consecutive = (first..)
        .zip(&request.entries)
        .all(|(index, entry)| entry.log_id.index == index);
    if consecutive {
        Ok(request)
    } else {
        Err(WireError::Impossible {
            what: "entries with a gap",
        })
    }
}

fn answer<T: Serialize>(result: Result<T, Fatal<Config>>) -> Result<Response<RaftFrame>, Status> {
    let answer = result.map_err(|fatal| stopped(&fatal))?;
    Ok(Response::new(wire::pack(&answer)?))
}

fn fatal(error: RaftError<Config>) -> Fatal<Config> {
    error.unwrap_fatal()
}

fn stopped(fatal: &Fatal<Config>) -> Status {
    Status::unavailable(format!("this node has stopped: {fatal}"))
}
