//! An agent's session with the leader: opened again and again until shutdown.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use outlast_proto::v1::agent_session_client::AgentSessionClient;
use outlast_proto::v1::{AgentMessage, Hello, PrimaryMessage, Welcome, agent_message, primary_message};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::leader::{CallError, Primaries};
use crate::shutdown::Shutdown;

/// Messages an agent may have under way to the leader before it has to wait.
const UP_MESSAGES: usize = 64;
/// How long one search for the leader takes before it counts as failed.
const SEARCH: Duration = Duration::from_secs(5);

/// An open session: the leader has welcomed us.
pub struct Session {
    /// Its first message.
    pub welcome: Welcome,
    /// To the leader. Closed when the session is over.
    pub up: mpsc::Sender<AgentMessage>,
    /// From the leader.
    pub down: Streaming<PrimaryMessage>,
}

/// Holds a session with the leader until shutdown: opens one, hands it to `serve`, and when that returns opens the next.
pub async fn hold<H, S, Fut>(primaries: Arc<Primaries>, shutdown: Shutdown, hello: H, mut serve: S)
where
    H: Fn() -> Hello,
    S: FnMut(Session) -> Fut,
    Fut: Future<Output = ()>,
{
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(2))
        .with_jitter()
        .without_max_times();
    let mut pause = pauses.build();
    let mut said = String::new();
    while !shutdown.has_begun() {
        let opened = tokio::select! {
            opened = open(&primaries, &hello) => opened,
            () = shutdown.begun() => return,
        };
        match opened {
            Ok(session) => {
                tracing::info!("session with the leader is open");
                (pause, said) = (pauses.build(), String::new());
                serve(session).await;
            }
            Err(error) => {
                // The same reason every two seconds for hours would bury everything else.
                let text = error.to_string();
                if text != said {
                    tracing::warn!(error = %text, "no session with the leader; trying on");
                    said = text;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause.next().unwrap_or(Duration::from_secs(2))) => {}
            () = shutdown.begun() => return,
        }
    }
}

async fn open(primaries: &Primaries, hello: &impl Fn() -> Hello) -> Result<Session, CallError> {
    let session = primaries
        .call(SEARCH, |channel| open_at(channel, hello()))
        .await?;
    primaries.learn(&session.welcome.primaries);
    Ok(session)
}

async fn open_at(channel: Channel, hello: Hello) -> Result<Session, Status> {
    let (up, messages) = mpsc::channel(UP_MESSAGES);
    let first = AgentMessage {
        body: Some(agent_message::Body::Hello(hello)),
    };
    up.try_send(first)
        .map_err(|_| Status::internal("a new channel is full"))?;
    let mut client = AgentSessionClient::new(channel);
    let mut down = client.session(ReceiverStream::new(messages)).await?.into_inner();
    match down.message().await?.and_then(|message| message.body) {
        Some(primary_message::Body::Welcome(welcome)) => Ok(Session { welcome, up, down }),
        Some(primary_message::Body::Refused(refused)) => {
            Err(Status::new(Code::PermissionDenied, refused.text))
        }
        _ => Err(Status::new(
            Code::Unavailable,
            "the session ended before the welcome",
        )),
    }
}
