//! The calling side: openraft's network over tonic channels. Connections are lazy and shared; which ones there are
//! decides [`Network`], what is said over one [`PeerClient`].

use std::collections::HashMap;
use std::future::Future;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use openraft::OptionalSend;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{
    Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption, RPCTypes,
    RaftNetworkFactory,
};
use openraft::raft::{
    AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use outlast_proto::v1::RaftFrame;
use outlast_proto::v1::raft_client::RaftClient;
use tonic::Status;
use tonic::transport::Channel;

use crate::net::wire::{self, Addressee, MAX_FRAME, SLICE, SnapshotStart, WireError};
use crate::options::{Connect, ConnectError};
use crate::peer::{NodeId, Seat};
use crate::state::{SnapshotFile, blocking};
use crate::types::{Config, Snapshot, Vote};

/// The least a snapshot's transfer may advance per second before it is given up.
const SNAPSHOT_BYTES_PER_SECOND: u64 = 1024 * 1024;

/// Heartbeats and snapshots have connections of their own: a large message must not hold up a heartbeat.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Lane {
    Log,
    Heartbeat,
    Snapshot,
}

/// Makes clients, one channel per peer and lane.
pub(crate) struct Network {
    pub(crate) me: NodeId,
    pub(crate) connect: Arc<dyn Connect>,
    /// How long opening a stream may take, connecting included.
    pub(crate) patience: Duration,
    channels: HashMap<(NodeId, Lane), (Seat, Channel)>,
}

impl Network {
    pub(crate) fn new(me: NodeId, connect: Arc<dyn Connect>, patience: Duration) -> Self {
        Self {
            me,
            connect,
            patience,
            channels: HashMap::new(),
        }
    }

    fn client(&mut self, target: NodeId, seat: &Seat, lane: Lane) -> PeerClient {
        let channel = self.channel(target, seat, lane);
        if let Err(error) = &channel {
            tracing::error!(node = target, %error, "peer cannot be reached as it is configured");
        }
        let client = channel.map(|channel| {
            RaftClient::new(channel)
                .max_decoding_message_size(MAX_FRAME)
                .max_encoding_message_size(MAX_FRAME)
        });
        PeerClient {
            me: self.me,
            target: Addressee {
                node: target,
                incarnation: seat.incarnation,
            },
            client,
            patience: self.patience,
        }
    }

    fn channel(&mut self, target: NodeId, seat: &Seat, lane: Lane) -> Result<Channel, ConnectError> {
        // Lazy and self-healing: kept until the peer moves to another address.
        if let Some((known, channel)) = self.channels.get(&(target, lane))
            && known == seat
        {
            return Ok(channel.clone());
        }
        let channel = self.connect.channel(&seat.peer())?;
        self.channels
            .insert((target, lane), (seat.clone(), channel.clone()));
        Ok(channel)
    }
}

impl RaftNetworkFactory<Config> for Network {
    type Network = PeerClient;

    async fn new_client(&mut self, target: NodeId, node: &Seat) -> PeerClient {
        self.client(target, node, Lane::Log)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, node: &Seat) -> PeerClient {
        self.client(target, node, Lane::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: NodeId, node: &Seat) -> PeerClient {
        self.client(target, node, Lane::Snapshot)
    }
}

/// Talks to one peer over one lane.
pub(crate) struct PeerClient {
    me: NodeId,
    target: Addressee,
    client: Result<RaftClient<Channel>, ConnectError>,
    patience: Duration,
}

impl PeerClient {
    fn client(&self) -> Result<RaftClient<Channel>, Unreachable<Config>> {
        self.client.clone().map_err(|e| Unreachable::new(&e))
    }

    /// One request, one answer.
    async fn call<T, F, Fut>(&self, kind: RPCTypes, limit: Duration, frame: RaftFrame, rpc: F) -> RpcResult<T>
    where
        T: serde::de::DeserializeOwned,
        F: FnOnce(RaftClient<Channel>, RaftFrame) -> Fut,
        Fut: Future<Output = Result<tonic::Response<RaftFrame>, Status>>,
    {
        let answer = tokio::time::timeout(limit, rpc(self.client()?, frame)).await;
        let answer = answer
            .map_err(|_| self.timed_out(kind, limit))?
            .map_err(|e| Unreachable::new(&e))?;
        wire::unpack(answer.get_ref()).map_err(unreachable)
    }

    fn timed_out(&self, action: RPCTypes, timeout: Duration) -> Timeout<Config> {
        Timeout {
            action,
            id: self.me,
            target: self.target.node,
            timeout,
        }
    }

    /// Opens the append stream; the peer answers frame by frame.
    async fn open_stream(
        &self,
        input: impl Stream<Item = RaftFrame> + Send + 'static,
    ) -> Result<tonic::Streaming<RaftFrame>, RPCError<Config>> {
        let mut client = self.client()?;
        match tokio::time::timeout(self.patience, client.stream_append(input)).await {
            Ok(Ok(answers)) => Ok(answers.into_inner()),
            Ok(Err(status)) => Err(Unreachable::new(&status).into()),
            Err(_) => Err(self.timed_out(RPCTypes::AppendEntries, self.patience).into()),
        }
    }
}

type RpcResult<T> = Result<T, RPCError<Config>>;

fn unreachable(error: WireError) -> RPCError<Config> {
    // Not `Network`: openraft would repeat that without any pause.
    Unreachable::new(&error).into()
}

impl NetStreamAppend<Config> for PeerClient {
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, RpcResult<BoxStream<'s, RpcResult<StreamAppendResult<Config>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<Config>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let target = self.target;
            let frames = input.map(move |request| wire::address(target, &request));
            // A request that cannot be encoded ends the stream; the peer's silence then ends the session.
            let frames = frames
                .take_while(|frame| std::future::ready(frame.is_ok()))
                .filter_map(|f| async { f.ok() });
            let answers = match self.open_stream(frames).await {
                Ok(answers) => answers,
                Err(error) => {
                    // openraft's own pause is in the input stream, which nobody has polled: without this one it
                    // would open streams to a dead peer as fast as the processor allows.
                    tokio::time::sleep(option.soft_ttl().max(Duration::from_millis(50))).await;
                    return Err(error);
                }
            };
            let results = answers.map(|frame| match frame {
                Ok(frame) => wire::unpack(&frame).map_err(unreachable),
                Err(status) => Err(Unreachable::new(&status).into()),
            });
            Ok(Box::pin(results) as BoxStream<'s, _>)
        })
    }
}

impl NetVote<Config> for PeerClient {
    async fn vote(&mut self, rpc: VoteRequest<Config>, option: RPCOption) -> RpcResult<VoteResponse<Config>> {
        let frame = wire::address(self.target, &rpc).map_err(unreachable)?;
        let rpc = |mut client: RaftClient<_>, frame| async move { client.vote(frame).await };
        self.call(RPCTypes::Vote, option.soft_ttl(), frame, rpc).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Config>,
        option: RPCOption,
    ) -> RpcResult<VoteResponse<Config>> {
        let frame = wire::address(self.target, &rpc).map_err(unreachable)?;
        let rpc = |mut client: RaftClient<_>, frame| async move { client.pre_vote(frame).await };
        self.call(RPCTypes::Vote, option.soft_ttl(), frame, rpc).await
    }
}

impl NetSnapshot<Config> for PeerClient {
    type SnapshotData = SnapshotFile;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Config>, StreamingError<Config>> {
        let len = snapshot.snapshot.len();
        let start =
            wire::address(self.target, SnapshotStart { vote, len }).map_err(|e| Unreachable::new(&e))?;
        let frames = stream::once(async { start }).chain(slices(snapshot.snapshot));
        let mut client = self.client()?;
        let limit = option.hard_ttl() + Duration::from_secs(len / SNAPSHOT_BYTES_PER_SECOND);
        tokio::select! {
            closed = cancel => Err(closed.into()),
            () = tokio::time::sleep(limit) => Err(self.timed_out(RPCTypes::InstallSnapshot, limit).into()),
            answer = client.install_snapshot(frames) => {
                let answer = answer.map_err(|e| Unreachable::new(&e))?;
                Ok(wire::unpack(answer.get_ref()).map_err(|e| Unreachable::new(&e))?)
            }
        }
    }
}

impl NetTransferLeader<Config> for PeerClient {
    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Config>,
        option: RPCOption,
    ) -> RpcResult<TransferLeaderResponse<Config>> {
        let frame = wire::address(self.target, &req).map_err(unreachable)?;
        let rpc = |mut client: RaftClient<_>, frame| async move { client.transfer_leader(frame).await };
        self.call(RPCTypes::TransferLeader, option.soft_ttl(), frame, rpc)
            .await
    }
}

impl NetBackoff<Config> for PeerClient {
    fn backoff(&self) -> Option<Backoff> {
        // openraft's default: 200 ms, doubling up to a second.
        None
    }
}

/// The file, slice by slice. Ends early when it cannot be read; the peer notices the missing bytes.
fn slices(snapshot: SnapshotFile) -> impl Stream<Item = RaftFrame> + Send + 'static {
    stream::unfold((snapshot, 0), |(snapshot, at)| async move {
        let size = usize::try_from(snapshot.len() - at).unwrap_or(SLICE).min(SLICE);
        if size == 0 {
            return None;
        }
        let file = snapshot.file();
        let read = blocking(move || {
            let mut bytes = vec![0; size];
            file.read_exact_at(&mut bytes, at)?;
            Ok(bytes)
        });
        match read.await {
            Ok(bytes) => Some((wire::slice(bytes.into()), (snapshot, at + size as u64))),
            Err(error) => {
                tracing::error!(%error, "snapshot cannot be read while it is sent");
                None
            }
        }
    })
}
