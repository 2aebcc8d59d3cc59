//! The gRPC service agents open their session with.

use std::time::Duration;

use outlast_core::session::agent_clock::AgentClock;
use outlast_kit::errors::not_leader;
use outlast_kit::identity::Identity;
use outlast_kit::tasks::Tasks;
use outlast_proto::v1::agent_session_server::AgentSession;
use outlast_proto::v1::{
    AgentMessage, Hello, PrimaryMessage, SettingsChanged, agent_message, primary_message,
};
use outlast_proto::words::{AttemptId, Timestamp};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::registry::Registry;
use super::{admission, serve};
use crate::brain::Brain;
use crate::live::Live;
use crate::view::errors;

/// Messages under way to an agent before the leader waits for it.
const DOWN_MESSAGES: usize = 64;
/// How long an agent may take to introduce itself.
const HELLO_WITHIN: Duration = Duration::from_secs(5);

pub(crate) struct SessionService {
    pub(crate) brain: Brain,
    pub(crate) registry: Registry,
    pub(crate) live: Live,
    pub(crate) tasks: Tasks,
}

#[tonic::async_trait]
impl AgentSession for SessionService {
    type SessionStream = ReceiverStream<Result<PrimaryMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let identity = Identity::of_peer(&request).map_err(|e| Status::unauthenticated(e.to_string()))?;
        if !self.brain.leads() {
            return Err(errors::not_leader_of(&self.brain));
        }
        let mut up = request.into_inner();
        let said = first_message(&mut up).await?;
        let mut clock = AgentClock::default();
        if let Some(sent_at) = &said.sent_at {
            clock.off(Timestamp::from(sent_at), self.brain.clock().now());
        }
        let hello = admission::parse_hello(&identity, &said)?;
        admission::register(&self.brain, &hello).await?;
        admission::recall(&self.brain, &hello.name, &said).await?;
        let welcome = admission::welcome(&self.brain, &hello, &said).ok_or_else(|| not_leader(None))?;

        let (down, messages) = mpsc::channel(DOWN_MESSAGES);
        let place = self
            .registry
            .enter(
                &hello.name,
                &hello.start_id,
                down.clone(),
                (self.brain.clock().now(), said.carries_nonces),
            )
            .ok_or_else(|| errors::not_leader_of(&self.brain))?;
        let new_journal = welcome.begin_new_journal;
        let told = SettingsChanged {
            reconnect_for_seconds: welcome.reconnect_for_seconds,
            disruption_grace_seconds: welcome.disruption_grace_seconds,
        };
        let welcome = PrimaryMessage {
            body: Some(primary_message::Body::Welcome(welcome)),
        };
        down.try_send(Ok(welcome))
            .map_err(|_| Status::internal("a new channel is full"))?;
        // An agent that has to begin a new journal comes back with it.
        if !new_journal {
            let agent = (hello.name, clock);
            let known = said.running.iter();
            let known = known
                .filter_map(|id| AttemptId::of_message(Some(id)).ok())
                .collect();
            let session = serve::Serve::new(
                self.brain.clone(),
                self.live.clone(),
                agent,
                place,
                (down, known, told),
            );
            self.tasks
                .ordinary(format!("session of {}", identity.name), session.run(up));
        }
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

async fn first_message(up: &mut Streaming<AgentMessage>) -> Result<Hello, Status> {
    let message = tokio::time::timeout(HELLO_WITHIN, up.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no hello came"))??;
    match message.and_then(|message| message.body) {
        Some(agent_message::Body::Hello(hello)) => Ok(hello),
        _ => Err(Status::invalid_argument(
            "the first message of a session is its hello",
        )),
    }
}
