//! The gRPC handlers and the settings of the server.
//!
//! See the module's head.

use std::time::Duration;

use outlast_kit::host;
use outlast_kit::identity::{Identity, Kind};
use outlast_kit::local::{FRAME, LocalSocket, WINDOW};
use outlast_kit::stream::{BackupProtocol, Frame as _, FromClient as _, Protocol, RestoreProtocol};
use outlast_kit::tls::Credentials;
use outlast_proto::v1::data_server::{Data, DataServer};
use outlast_proto::v1::{
    AttemptOver, BackupDown, BackupUp, LocalReply, LocalRequest, RestoreDown, RestoreUp,
};
use outlast_proto::words::StatusCode;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::adapters::Map;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic::{Request, Response, Status, Streaming};

use crate::attempts::{AnyLink, AttemptManager, Ends, Greeting, Link};
use crate::context::Context;

/// Larger than any chunk with its frame of other fields would need by the cutting rule plus messages of 1 MiB.
const MAX_MESSAGE: usize = 8 << 20;
/// Slack for the fields around a chunk of the largest size.
const MESSAGE_SLACK: usize = 64 << 10;
/// Messages to a client that gRPC has not taken yet.
const DOWN_MESSAGES: usize = 8;
/// Longest start id of a client's process: it is journalled.
const MAX_START_ID: usize = 64;
/// Streams of one connection: a client needs one for each of its attempts.
const MOST_STREAMS: u32 = 64;
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// What a client gets.
type Answers<M> = Map<ReceiverStream<M>, fn(M) -> Result<M, Status>>;

/// Answers clients.
#[derive(Clone)]
pub(crate) struct DataService {
    pub(crate) context: Context,
    pub(crate) manager: AttemptManager,
    /// For clients of the same host.
    pub(crate) socket: Option<LocalSocket>,
}

/// The server for clients of other hosts; windows and frames are left at their defaults, which suit TLS best.
pub(crate) fn server(
    service: DataService,
    credentials: &Credentials,
) -> Result<Router, tonic::transport::Error> {
    let server = Server::builder().tls_config(credentials.server())?;
    Ok(router(server, service))
}

/// The server for connections that have come through the socket.
pub(crate) fn local_server(service: DataService) -> Router {
    let server = Server::builder()
        .max_frame_size(FRAME)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    router(server, service)
}

fn router(server: Server, service: DataService) -> Router {
    let data = DataServer::new(service)
        .max_decoding_message_size(MAX_MESSAGE + MESSAGE_SLACK)
        .max_encoding_message_size(MAX_MESSAGE + MESSAGE_SLACK);
    server
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .max_concurrent_streams(Some(MOST_STREAMS))
        .add_service(data)
}

#[tonic::async_trait]
impl Data for DataService {
    type BackupStream = Answers<BackupDown>;
    type RestoreStream = Answers<RestoreDown>;

    async fn backup(
        &self,
        request: Request<Streaming<BackupUp>>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        self.receive::<BackupProtocol>(request, AnyLink::Backup)
    }

    async fn restore(
        &self,
        request: Request<Streaming<RestoreUp>>,
    ) -> Result<Response<Self::RestoreStream>, Status> {
        self.receive::<RestoreProtocol>(request, AnyLink::Restore)
    }

    async fn local(&self, request: Request<LocalRequest>) -> Result<Response<LocalReply>, Status> {
        let client = Identity::of_certificate_shown(&request)
            .map_err(|error| Status::unauthenticated(error.to_string()))?;
        let is_near = host::kernel_id().is_some_and(|kernel| kernel == request.get_ref().kernel_id);
        let may_come = is_near && client.kind == Kind::ClientAgent;
        let socket = self.socket.as_ref().filter(|_| may_come);
        let way = socket.and_then(|socket| socket.hand_over(&client));
        Ok(Response::new(LocalReply { way }))
    }
}

impl DataService {
    /// Answers at once; whether the stream has a right is found out beside.
    fn receive<P: Protocol>(
        &self,
        request: Request<Streaming<P::Up>>,
        wrap: fn(Link<P>) -> AnyLink,
    ) -> Result<Response<Answers<P::Down>>, Status> {
        let bearer =
            Identity::of_peer(&request).map_err(|error| Status::unauthenticated(error.to_string()))?;
        let (out, answers) = mpsc::channel(DOWN_MESSAGES);
        let (context, manager) = (self.context.clone(), self.manager.clone());
        let incoming = request.into_inner();
        let ends = Ends::<P> { out, incoming };
        self.context
            .tasks
            .ordinary(format!("stream of {}", bearer.name), async move {
                admit(&context, &manager, &bearer, ends, wrap).await;
            });
        let answers = ReceiverStream::new(answers).map(Ok as fn(P::Down) -> Result<P::Down, Status>);
        Ok(Response::new(answers))
    }
}

/// Reads the hello, checks the ticket and hands the stream to the manager.
async fn admit<P: Protocol>(
    context: &Context,
    manager: &AttemptManager,
    bearer: &Identity,
    mut ends: Ends<P>,
    wrap: fn(Link<P>) -> AnyLink,
) {
    let first = tokio::select! {
        first = tokio::time::timeout(context.timing.hello_wait, ends.incoming.message()) => first,
        () = context.shutdown.begun() => return,
    };
    let hello = match first {
        Ok(Ok(Some(message))) => match message.split() {
            (0, _, Some(body)) => P::Up::into_hello(body),
            _ => None,
        },
        // Gone before it said anything.
        Ok(Ok(None) | Err(_)) => return,
        Err(_) => None,
    };
    let hello = hello.filter(|hello| hello.start_id.len() <= MAX_START_ID);
    let (greeting, signed) = match hello {
        Some(hello) => {
            let greeting = Greeting {
                client_start: hello.start_id,
                peer_start: hello.peer_start_id,
                received: hello.received,
            };
            (greeting, hello.ticket.unwrap_or_default())
        }
        None => {
            let link = wrap(Link::new(ends, Greeting::default()));
            return refuse(link, bearer, "the stream does not begin with a hello").await;
        }
    };
    let link = wrap(Link::new(ends, greeting));
    let checked = context.verifier.verify(&signed).and_then(|ticket| {
        ticket.check_bearer(bearer)?;
        Ok(ticket)
    });
    match checked {
        Ok(ticket) => manager.attach(ticket, link).await,
        Err(error) => refuse(link, bearer, &error.to_string()).await,
    }
}

async fn refuse(link: AnyLink, bearer: &Identity, why: &str) {
    tracing::warn!(%bearer, why, "a stream is refused");
    let over = AttemptOver {
        code: u32::from(StatusCode::ACCESS_NOT_ALLOWED.0),
        text: why.to_owned(),
    };
    link.finish(over).await;
}
