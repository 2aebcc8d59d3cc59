//! The whole agent over TLS: a scripted leader gives orders, a scripted media agent takes the data.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use outlast_client_agent::{Config, ConfigError, RunError, run};
use outlast_kit::authority::{Authority, Pem};
use outlast_kit::identity::{Identity, Kind};
use outlast_kit::shutdown::Shutdown;
use outlast_kit::tls::{Credentials, TlsFiles};
use outlast_proto::v1::agent_message::Body as Up;
use outlast_proto::v1::agent_session_server::{AgentSession, AgentSessionServer};
use outlast_proto::v1::primary_message::Body as Down;
use outlast_proto::v1::{
    AdmitAttempt, AgentKind, AgentMessage, AttemptRef, FenceAttempt, Hello, PrimaryMessage, StopAttempt,
    Stopped, Ticket, Welcome,
};
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::codegen::{Service, http};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::media_agent::{MediaAgent, Script, backup_ticket, signed};

/// One session as the test sees it.
pub(crate) struct Session {
    hello: Hello,
    orders: mpsc::Sender<Result<PrimaryMessage, Status>>,
    answers: Streaming<AgentMessage>,
}

/// Hands every session to the test.
struct Leader(mpsc::Sender<Session>);

#[tonic::async_trait]
impl AgentSession for Leader {
    type SessionStream = ReceiverStream<Result<PrimaryMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        assert_eq!(Identity::of_peer(&request).unwrap().name, "client");
        let mut answers = request.into_inner();
        let (orders, messages) = mpsc::channel(16);
        let Some(Up::Hello(hello)) = answers.message().await?.and_then(|message| message.body) else {
            panic!("no hello")
        };
        let session = Session {
            hello,
            orders,
            answers,
        };
        self.0
            .send(session)
            .await
            .map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

impl Session {
    pub(crate) async fn say(&self, body: Down) {
        self.orders
            .send(Ok(PrimaryMessage { body: Some(body) }))
            .await
            .unwrap();
    }

    pub(crate) async fn welcome(&self, open: &[AttemptRef]) {
        self.say(Down::Welcome(Welcome {
            status_updates_ms: 50,
            open: open.to_vec(),
            ..Welcome::default()
        }))
        .await;
    }

    pub(crate) async fn admit(&self, ticket: &Ticket, address: SocketAddr) {
        self.say(Down::Admit(AdmitAttempt {
            ticket: Some(signed(ticket)),
            // The first address is nobody's.
            data_addresses: vec!["127.0.0.1:1".to_owned(), address.to_string()],
        }))
        .await;
    }

    /// The next message that `pick` takes.
    pub(crate) async fn hear<T>(&mut self, pick: impl Fn(Up) -> Option<T>) -> T {
        let heard = async {
            loop {
                let message = self
                    .answers
                    .message()
                    .await
                    .unwrap()
                    .expect("the session goes on");
                if let Some(picked) = message.body.and_then(&pick) {
                    return picked;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), heard)
            .await
            .expect("nothing came")
    }

    pub(crate) async fn admitted(&mut self) -> AttemptRef {
        self.hear(|body| match body {
            Up::Admitted(admitted) => admitted.attempt,
            _ => None,
        })
        .await
    }

    /// Waits until an attempt that was ordered has come and gone. Between two presences it may do both.
    pub(crate) async fn done(&mut self, attempt: &AttemptRef) {
        assert_eq!(self.admitted().await, *attempt);
        self.running(&[]).await;
    }

    /// Waits until a presence lists exactly `attempts`.
    pub(crate) async fn running(&mut self, attempts: &[AttemptRef]) {
        self.hear(|body| match body {
            Up::Presence(presence) => {
                let running: Vec<_> = presence.attempts.into_iter().filter_map(|p| p.attempt).collect();
                (running == attempts).then_some(())
            }
            _ => None,
        })
        .await;
    }
}

/// A cluster of one leader and one media agent, without a client agent.
pub(crate) struct World {
    pub(crate) temp: tempfile::TempDir,
    authority: Authority,
    leader: SocketAddr,
    sessions: Mutex<mpsc::Receiver<Session>>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let (authority, ca) = Authority::create().unwrap();
        std::fs::write(temp.path().join("ca.pem"), ca.cert).unwrap();
        let (to_test, sessions) = mpsc::channel(16);
        let mut world = Self {
            temp,
            authority,
            leader: ([127, 0, 0, 1], 0).into(),
            sessions: Mutex::new(sessions),
        };
        let credentials = world.credentials(Kind::Primary, "primary-1");
        world.leader = serve(credentials, AgentSessionServer::new(Leader(to_test))).await;
        world
    }

    fn files(&self, kind: Kind, name: &str) -> TlsFiles {
        let identity = Identity {
            kind,
            name: name.to_owned(),
        };
        let Pem { cert, key } = self.authority.issue(&identity).unwrap();
        let path = |end: &str| self.temp.path().join(format!("{name}.{end}"));
        std::fs::write(path("pem"), cert).unwrap();
        std::fs::write(path("key"), key).unwrap();
        TlsFiles {
            ca: self.temp.path().join("ca.pem"),
            cert: path("pem"),
            key: path("key"),
        }
    }

    fn credentials(&self, kind: Kind, name: &str) -> Credentials {
        Credentials::load(&self.files(kind, name)).unwrap()
    }

    pub(crate) async fn media_agent(&self, agent: &MediaAgent) -> SocketAddr {
        serve(self.credentials(Kind::MediaAgent, "media-1"), agent.server()).await
    }

    fn config(&self) -> Config {
        Config {
            name: "client".parse().unwrap(),
            data_dir: self.temp.path().join("data"),
            host_id: Some("host".to_owned()),
            reported_version: Some("9.9.9".to_owned()),
            primaries: vec![self.leader.to_string()],
            tls: self.files(Kind::ClientAgent, "client"),
        }
    }

    pub(crate) fn start(&self) -> Process {
        let shutdown = Shutdown::new();
        Process {
            running: tokio::spawn(run(self.config(), shutdown.clone())),
            shutdown,
        }
    }

    pub(crate) async fn session(&self) -> Session {
        let mut sessions = self.sessions.lock().await;
        let next = tokio::time::timeout(Duration::from_secs(60), sessions.recv()).await;
        next.expect("no session").unwrap()
    }

    pub(crate) fn tree(&self) -> PathBuf {
        let tree = self.temp.path().join("tree");
        std::fs::create_dir_all(&tree).unwrap();
        std::fs::write(tree.join("file"), b"content").unwrap();
        tree
    }
}

/// A running client agent.
pub(crate) struct Process {
    running: tokio::task::JoinHandle<Result<(), RunError>>,
    shutdown: Shutdown,
}

impl Process {
    pub(crate) async fn end(self) {
        self.shutdown.begin();
        let ended = tokio::time::timeout(Duration::from_secs(120), self.running).await;
        ended.expect("it does not end").unwrap().unwrap();
    }
}

async fn serve<S>(credentials: Credentials, service: S) -> SocketAddr
where
    S: Service<
            http::Request<tonic::body::Body>,
            Response = http::Response<tonic::body::Body>,
            Error = std::convert::Infallible,
        > + tonic::server::NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder()
        .tls_config(credentials.server())
        .unwrap()
        .add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

pub(crate) fn attempt(number: u32) -> AttemptRef {
    AttemptRef {
        job: "7".to_owned(),
        attempt: number,
        nonce: 5,
    }
}

pub(crate) fn ticket(item: &Path, number: u32) -> Ticket {
    Ticket {
        attempt: Some(attempt(number)),
        ..backup_ticket(&[item.to_owned()], &[])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f04a_an_order_is_kept_answered_and_done_once() {
    let world = World::new().await;
    let agent = MediaAgent::new(Script {
        items: 1,
        ..Script::default()
    });
    let address = world.media_agent(&agent).await;
    let ticket_file = world.temp.path().join("data/tickets/7-0000000000000005");
    let first = world.start();
    let mut session = world.session().await;
    assert_eq!(session.hello.kind(), AgentKind::ClientAgent);
    assert_eq!(
        (session.hello.version.as_str(), session.hello.host_id.as_str()),
        ("9.9.9", "host")
    );
    session.welcome(&[]).await;
    session.admit(&ticket(&world.tree(), 2), address).await;
    assert_eq!(session.admitted().await, attempt(2));
    assert!(ticket_file.exists(), "durable before it is answered");
    session.running(&[]).await;
    assert_eq!(
        agent.told().items[0].end.as_ref().map(|end| end.error.is_none()),
        Some(true)
    );
    assert_eq!(agent.told().start_id, session.hello.start_id);
    // The same order again is answered and starts nothing; a lower one is not even answered.
    session.admit(&ticket(&world.tree(), 1), address).await;
    session.admit(&ticket(&world.tree(), 2), address).await;
    assert_eq!(session.admitted().await, attempt(2));
    session.running(&[]).await;
    assert_eq!(agent.told().streams, 1);
    first.end().await;

    // A new process runs nothing on its own; nor what is over, when it is ordered again.
    let second = world.start();
    let mut session = world.session().await;
    session.welcome(&[attempt(3)]).await;
    session.running(&[]).await;
    assert_eq!(agent.told().streams, 1);
    session.admit(&ticket(&world.tree(), 1), address).await;
    session.admit(&ticket(&world.tree(), 2), address).await;
    assert_eq!(session.admitted().await, attempt(2));
    session.running(&[]).await;
    assert_eq!(agent.told().streams, 1);
    second.end().await;

    // Once the job is over its ticket goes.
    let third = world.start();
    let mut session = world.session().await;
    session.welcome(&[]).await;
    session.running(&[]).await;
    assert!(!ticket_file.exists());
    third.end().await;
}

/// The media agent waits for a process that is gone; the new one shows itself, and where to it has from its disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_f09_a_new_process_shows_itself_to_the_media_agent_of_an_open_attempt() {
    let world = World::new().await;
    let agent = MediaAgent::new(Script {
        is_silent: true,
        ..Script::default()
    });
    let address = world.media_agent(&agent).await;
    let first = world.start();
    let mut session = world.session().await;
    session.welcome(&[]).await;
    session.admit(&ticket(&world.tree(), 2), address).await;
    session.running(&[attempt(2)]).await;
    while agent.told().streams == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    first.end().await;
    let second = world.start();
    let mut session = world.session().await;
    // No order comes: as far as the leader knows the attempt is running.
    session.welcome(&[attempt(2)]).await;
    session.running(&[attempt(2)]).await;
    while agent.told().streams == 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(agent.told().start_id, session.hello.start_id);
    second.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f04_running_attempts_are_reported_fenced_and_superseded() {
    let world = World::new().await;
    let agent = MediaAgent::new(Script {
        is_silent: true,
        ..Script::default()
    });
    let address = world.media_agent(&agent).await;
    let process = world.start();
    let mut session = world.session().await;
    session.welcome(&[]).await;
    session.admit(&ticket(&world.tree(), 1), address).await;
    session.running(&[attempt(1)]).await;
    let stream = session
        .hear(|body| match body {
            Up::Streams(seen) => seen.streams.into_iter().find(|stream| !stream.broken),
            _ => None,
        })
        .await;
    assert_eq!(stream.attempt, Some(attempt(1)));
    assert_eq!(stream.media_agent, "media-1");
    // A new session hears of it at once.
    drop(session);
    let mut session = world.session().await;
    assert_eq!(session.hello.running, [attempt(1)]);
    session.welcome(&[attempt(1)]).await;
    session.admit(&ticket(&world.tree(), 2), address).await;
    session.running(&[attempt(2)]).await;
    // A graceful stop is the media agent's business.
    let stop = |how: Stopped| StopAttempt {
        attempt: Some(attempt(2)),
        how: how.into(),
        cancel: false,
        fault: None,
    };
    session.say(Down::Stop(stop(Stopped::Graceful))).await;
    session.running(&[attempt(2)]).await;
    let fence = FenceAttempt {
        attempt: Some(attempt(2)),
        keep_snapshots: Vec::new(),
        only_end: false,
    };
    session.say(Down::Fence(fence)).await;
    session.running(&[]).await;
    session.admit(&ticket(&world.tree(), 2), address).await;
    session.admit(&ticket(&world.tree(), 3), address).await;
    assert_eq!(session.admitted().await, attempt(3), "2 is fenced");
    session.running(&[attempt(3)]).await;
    // Shutdown ends what is running.
    process.end().await;
}

/// A media agent that is killed before it has taken the attempt up knows nothing of it when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_a_stream_that_breaks_before_its_welcome_is_opened_again() {
    let world = World::new().await;
    let agent = MediaAgent::new(Script {
        items: 1,
        drops_first: 2,
        ..Script::default()
    });
    let address = world.media_agent(&agent).await;
    let process = world.start();
    let mut session = world.session().await;
    session.welcome(&[]).await;
    session.admit(&ticket(&world.tree(), 1), address).await;
    session.done(&attempt(1)).await;
    assert_eq!(agent.told().streams, 3);
    assert!(agent.told().items.first().is_some_and(|item| item.end.is_some()));
    process.end().await;
}

#[tokio::test]
async fn a_config_that_cannot_work_is_refused_with_a_sentence() {
    let world = World::new().await;
    let other = Config {
        name: "other".parse().unwrap(),
        ..world.config()
    };
    assert!(matches!(other.check(), Err(ConfigError::NotOurs { .. })));
    let mut operator = world.config();
    operator.tls = world.files(Kind::Operator, "client");
    assert!(matches!(operator.check(), Err(ConfigError::NotOurs { .. })));
    let alone = Config {
        primaries: Vec::new(),
        ..world.config()
    };
    assert!(matches!(alone.check(), Err(ConfigError::NoPrimaries)));
    let nowhere = Config {
        data_dir: world.temp.path().join("ca.pem/data"),
        ..world.config()
    };
    let said = nowhere.check().err().unwrap().to_string();
    assert!(said.contains("ca.pem/data"), "{said}");
    let config = Arc::new(world.config());
    assert!(config.check().is_ok());
}
