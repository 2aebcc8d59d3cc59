//! A primary that welcomes everybody, acknowledges the journal and sends the orders a test tells it to.

use std::sync::Arc;

use outlast_kit::tls::Credentials;
use outlast_proto::v1::agent_session_server::{AgentSession, AgentSessionServer};
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{
    AgentMessage, Answer, AttemptProgress, Hello, JournalAck, JournalEvent, PrimaryMessage, Welcome,
    agent_message, primary_message,
};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::world::{CLUSTER, PATIENCE};

#[derive(Default)]
struct State {
    hellos: Vec<Hello>,
    /// Sessions in which the agent has taken the welcome in.
    settled: usize,
    events: Vec<JournalEvent>,
    answers: Vec<Answer>,
    /// Of the newest session.
    down: Option<mpsc::Sender<Result<PrimaryMessage, Status>>>,
    /// By journal: up to which event, and who wrote that.
    acknowledged: std::collections::BTreeMap<String, (u64, u64)>,
    violations: Vec<String>,
    /// As the agent said last.
    progress: Vec<AttemptProgress>,
    storage_problem: String,
    is_deaf: bool,
    is_away: bool,
    version: String,
    grace_seconds: u64,
}

#[derive(Clone)]
pub struct Primary {
    pub address: String,
    key: Vec<u8>,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
}

impl Primary {
    pub async fn start(credentials: &Credentials, key: &[u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let primary = Self {
            address: listener.local_addr().unwrap().to_string(),
            key: key.to_vec(),
            state: Arc::default(),
            changed: watch::Sender::new(0),
        };
        let server = Server::builder()
            .tls_config(credentials.server())
            .unwrap()
            .add_service(AgentSessionServer::new(primary.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        primary
    }

    pub fn sessions(&self) -> usize {
        self.state.lock().settled
    }

    pub fn last_hello(&self) -> Hello {
        self.state.lock().hellos.last().unwrap().clone()
    }

    /// While deaf it takes no events, as if they never arrived.
    pub fn be_deaf(&self, is_deaf: bool) {
        self.state.lock().is_deaf = is_deaf;
    }

    /// What further welcomes say.
    pub fn be_version(&self, version: &str) {
        self.state.lock().version = version.to_owned();
    }

    /// What further welcomes say.
    pub fn grant(&self, grace_seconds: u64) {
        self.state.lock().grace_seconds = grace_seconds;
    }

    /// While away it ends every session and welcomes nobody.
    pub async fn be_away(&self, is_away: bool) {
        self.state.lock().is_away = is_away;
        if is_away {
            self.end_session().await;
        }
    }

    /// Ends the open session, as a leader that hands leadership over.
    pub async fn end_session(&self) {
        let down = self.state.lock().down.take();
        if let Some(down) = down {
            let _ = down
                .send(Err(Status::unavailable("not the leader any more")))
                .await;
        }
    }

    /// What attempt `attempt` of `job` journalled, in order.
    pub fn events(&self, job: u64, attempt: u32) -> Vec<What> {
        let state = self.state.lock();
        assert_eq!(state.violations, Vec::<String>::new());
        let of = |e: &&JournalEvent| {
            let id = e.attempt.as_ref().unwrap();
            id.job == job.to_string() && id.attempt == attempt
        };
        state
            .events
            .iter()
            .filter(of)
            .filter_map(|e| e.what.clone())
            .collect()
    }

    pub fn progress(&self) -> Vec<AttemptProgress> {
        self.state.lock().progress.clone()
    }

    /// What the media agent said last of its storage unit.
    pub fn storage_problem(&self) -> String {
        self.state.lock().storage_problem.clone()
    }

    pub fn answers(&self) -> Vec<Answer> {
        self.state.lock().answers.clone()
    }

    /// Waits until the attempt has an end.
    pub async fn end_of(&self, job: u64, attempt: u32) -> What {
        let is_end = |what: &What| matches!(what, What::Ended(_) | What::Interrupted(_));
        self.wait_for("the end of the attempt", |p| {
            p.events(job, attempt).iter().any(is_end)
        })
        .await;
        let events = self.events(job, attempt);
        assert_eq!(events.iter().filter(|e| is_end(e)).count(), 1, "S-12: {events:?}");
        assert!(is_end(events.last().unwrap()), "{events:?}");
        events.last().unwrap().clone()
    }

    pub async fn wait_for(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let mut changed = self.changed.subscribe();
        let waited = async {
            while !condition(self) {
                changed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, waited)
            .await
            .unwrap_or_else(|_| panic!("{what} did not come"));
    }

    pub async fn order(&self, body: primary_message::Body) {
        let down = self.state.lock().down.clone().unwrap();
        down.send(Ok(PrimaryMessage { body: Some(body) })).await.unwrap();
    }

    fn note(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    fn take(&self, message: AgentMessage) -> Option<PrimaryMessage> {
        let mut state = self.state.lock();
        match message.body? {
            agent_message::Body::Journal(_) if state.is_deaf => None,
            agent_message::Body::Journal(journal) => {
                let recorded = state.acknowledged.get(&journal.journal_id).copied();
                let (mut last, mut writer) = recorded.unwrap_or_default();
                for event in journal.events {
                    if event.sequence > last + 1 {
                        state.violations.push(format!("{} after {last}", event.sequence));
                    }
                    if event.sequence == last + 1 {
                        (last, writer) = (event.sequence, event.writer);
                        state.events.push(event);
                    }
                }
                state
                    .acknowledged
                    .insert(journal.journal_id.clone(), (last, writer));
                let ack = JournalAck {
                    journal_id: journal.journal_id,
                    sequence: last,
                };
                Some(PrimaryMessage {
                    body: Some(primary_message::Body::JournalAck(ack)),
                })
            }
            agent_message::Body::Presence(presence) => {
                state.progress = presence.attempts;
                state.storage_problem = presence.storage_problem;
                None
            }
            agent_message::Body::Answer(answer) => {
                state.answers.push(answer);
                None
            }
            _ => None,
        }
    }
}

#[tonic::async_trait]
impl AgentSession for Primary {
    type SessionStream = ReceiverStream<Result<PrimaryMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut up = request.into_inner();
        let Some(agent_message::Body::Hello(hello)) = up.message().await?.and_then(|m| m.body) else {
            return Err(Status::invalid_argument("no hello"));
        };
        if self.state.lock().is_away {
            return Err(Status::unavailable("away"));
        }
        let (version, grace) = {
            let state = self.state.lock();
            (state.version.clone(), state.grace_seconds)
        };
        let (down, messages) = mpsc::channel(64);
        let recorded = self.state.lock().acknowledged.get(&hello.journal_id).copied();
        let (acknowledged, writer) = recorded.unwrap_or_default();
        let welcome = Welcome {
            cluster_id: CLUSTER.into(),
            ticket_key: self.key.clone().into(),
            primaries: vec![self.address.clone()],
            journal_acknowledged: acknowledged,
            journal_writer: writer,
            status_updates_ms: 100,
            begin_new_journal: acknowledged > hello.journal_last,
            primary_version: version,
            disruption_grace_seconds: grace,
            ..Welcome::default()
        };
        let body = Some(primary_message::Body::Welcome(welcome));
        down.send(Ok(PrimaryMessage { body })).await.unwrap();
        {
            let mut state = self.state.lock();
            state.hellos.push(hello);
            state.down = Some(down.clone());
        }
        let primary = self.clone();
        tokio::spawn(async move {
            let mut first = true;
            while let Ok(Some(message)) = up.message().await {
                // The agent has taken the welcome in when it says something.
                if let Some(answer) = primary.take(message) {
                    let _ = down.send(Ok(answer)).await;
                }
                if std::mem::take(&mut first) {
                    primary.state.lock().settled += 1;
                }
                primary.note();
            }
        });
        self.note();
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}
