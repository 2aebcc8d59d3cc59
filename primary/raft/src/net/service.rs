//! The answering side: thin handlers that unpack, ask openraft and pack. Mounted by the primary.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use openraft::ReadPolicy;
use openraft::errors::{Fatal, RaftError};
use openraft::raft::{AppendEntriesRequest, VoteRequest};
use outlast_proto::v1::raft_server::Raft as RaftRpc;
use outlast_proto::v1::{HelloRequest, HelloResponse, RaftFrame};
use serde::Serialize;
use tonic::{Request, Response, Status, Streaming};

use crate::net::admission::{Admission, Known, Theirs};
use crate::net::heard::Heard;
use crate::net::receive;
use crate::net::wire::{self, WireError};
use crate::state::StateStore;
use crate::types::{Config, Snapshot};

/// How long a majority may take to confirm a leader that is asked who it is.
const CONFIRMED_WITHIN: Duration = Duration::from_millis(500);

/// Answers the other nodes. Made by [`RaftNode::service`](crate::RaftNode::service).
#[derive(Clone)]
pub struct RaftService {
    admission: Admission,
    state: StateStore,
    heard: Heard,
}

impl RaftService {
    pub(crate) fn new(admission: Admission, state: StateStore, heard: Heard) -> Self {
        Self {
            admission,
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
        let (requests, fault) = until_fault(self.admission.clone(), request.into_inner(), self.heard.clone());
        let answers = self
            .admission
            .raft
            .stream_append(requests)
            .map(|result| match result {
                Ok(answer) => Ok(wire::pack(&answer)?),
                Err(fatal) => Err(stopped(&fatal)),
            });
        // What ended the input is said after everything before it has been answered.
        let last = stream::once(async move { fault.lock().ok().and_then(|mut fault| fault.take()) });
        let last = last.filter_map(|fault| async { fault.map(Err) });
        Ok(Response::new(Box::pin(answers.chain(last))))
    }

    async fn vote(&self, request: Request<RaftFrame>) -> Result<Response<RaftFrame>, Status> {
        let request: VoteRequest<Config> = self.admission.admit(request.get_ref())?;
        answer(self.admission.raft.vote(request).await.map_err(fatal))
    }

    async fn pre_vote(&self, request: Request<RaftFrame>) -> Result<Response<RaftFrame>, Status> {
        let request: VoteRequest<Config> = self.admission.admit(request.get_ref())?;
        answer(self.admission.raft.pre_vote(request).await.map_err(fatal))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<RaftFrame>>,
    ) -> Result<Response<RaftFrame>, Status> {
        let received = receive::receive(&self.admission, &self.state, request.into_inner()).await?;
        let meta = received
            .snapshot
            .meta()
            .map_err(|e| Status::invalid_argument(e.to_string()))?;
        self.admission
            .same_history_in(&received.vote, received.snapshot.head())?;
        let snapshot = Snapshot {
            meta,
            snapshot: received.snapshot.clone(),
        };
        answer(
            self.admission
                .raft
                .install_full_snapshot(received.vote, snapshot)
                .await,
        )
    }

    async fn transfer_leader(&self, request: Request<RaftFrame>) -> Result<Response<RaftFrame>, Status> {
        let request = self.admission.admit(request.get_ref())?;
        answer(self.admission.raft.handle_transfer_leader(request).await)
    }

    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        let asker = request.into_inner().node_id;
        let leads = self.admission.raft.ensure_linearizable(ReadPolicy::ReadIndex);
        let leads = tokio::time::timeout(CONFIRMED_WITHIN, leads).await;
        let leads = leads.is_ok_and(|confirmed| confirmed.is_ok());
        let identity = self.admission.log.identity();
        // It voted and has no entry yet, or was only just started.
        if identity.has_promised() && !self.admission.knows_somebody(CONFIRMED_WITHIN).await {
            return Err(Status::unavailable(
                "it belongs to a group and does not know its members yet",
            ));
        }
        let (known, committed) = self.admission.knows(asker);
        Ok(Response::new(HelloResponse {
            node_id: self.admission.me,
            incarnation: identity.incarnation().to_string(),
            promised: identity.has_promised(),
            leads: leads && committed,
            knows_you: known != Known::No,
            your_incarnation: match known {
                Known::As(incarnation) => incarnation.to_string(),
                Known::No | Known::Unbound => String::new(),
            },
        }))
    }
}

type Requests = Pin<Box<dyn Stream<Item = AppendEntriesRequest<Config>> + Send>>;

/// The requests up to the first one that cannot be taken. Skipping it would leave a hole in the log.
fn until_fault(
    admission: Admission,
    frames: Streaming<RaftFrame>,
    heard: Heard,
) -> (Requests, Arc<Mutex<Option<Status>>>) {
    let fault = Arc::new(Mutex::new(None));
    let note = fault.clone();
    let requests = frames.scan((), move |(), frame| {
        let request = frame.and_then(|frame| Ok(append(&admission, &frame)?));
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
fn append(admission: &Admission, frame: &RaftFrame) -> Result<AppendEntriesRequest<Config>, WireError> {
    let request: AppendEntriesRequest<Config> = admission.admit(frame)?;
    let first = request.prev_log_id.map_or(0, |id| id.index.saturating_add(1));
    let consecutive = (first..)
        .zip(&request.entries)
        .all(|(index, entry)| entry.log_id.index == index);
    if !consecutive {
        return Err(WireError::Impossible {
            what: "entries with a gap",
        });
    }
    let entries = request.entries.iter().map(|entry| entry.log_id);
    let places = request.prev_log_id.into_iter().chain(entries);
    let theirs = Theirs {
        committed: request.leader_commit.map(Into::into),
        places: places.map(Into::into).collect(),
    };
    admission.same_history(&request.vote, &theirs)?;
    Ok(request)
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
