//! One primary node from start to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use outlast_kit::clock::{SharedClock, SystemClock};
use outlast_kit::data_folder::HeldFolder;
use outlast_kit::files::create_folder;
use outlast_kit::identity::Kind;
use outlast_kit::listen::{Incoming, Limits};
use outlast_kit::shutdown::Shutdown;
use outlast_kit::tasks::Tasks;
use outlast_kit::tls::{ANY_PRIMARY, Credentials};
use outlast_proto::v1::FILE_DESCRIPTOR_SET;
use outlast_proto::v1::agent_session_server::AgentSessionServer;
use outlast_proto::words::Timing;
use outlast_raft::{
    Connect, ConnectError, Exclusion, InitializeError, Peer, RaftNode, RaftOptions, StartError, StopReason,
};
use tokio::net::TcpListener;
use tonic::service::RoutesBuilder;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Server};

use crate::api::{Api, MemberService, only};
use crate::brain::{Brain, Me};
use crate::config::{Config, ConfigProblem};
use crate::introduction::Introduction;
use crate::leader::{self, Leader};
use crate::live::Live;
use crate::machine::SharedState;
use crate::reconcilers::{Accounts, Of, Reconcilers};
use crate::rejoin;
use crate::sessions::{Registry, SessionService};
use crate::timing::{self, TimingKept};

/// How long tasks may take to end before they are named as stragglers.
const FINISH_WITHIN: Duration = Duration::from_secs(5);
/// For answers under way when the node ends. Streams of others have no end of their own: replication, watchers.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// A planned handover of leadership takes about 10 ms; a node that finds no successor goes all the same.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(1);
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Calls one connection may have open: watchers, sessions, replication.
const MAX_STREAMS: u32 = 256;
/// A batch of journal events is the largest thing agents send.
const MAX_AGENT_MESSAGE: usize = 4 << 20;

/// Why a node did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigProblem),
    /// The port cannot be had.
    #[error("cannot listen on {address}: {source}; is another process using the port?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The data folder cannot be used.
    #[error("the data directory {} cannot be used: {source}", path.display())]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process has it.
    #[error("the data directory {} is in use by another process; stop that one first, or give this node its own", path.display())]
    DataDirInUse {
        /// The folder.
        path: PathBuf,
    },
    /// The Raft node did not start.
    #[error(transparent)]
    Raft(StartError),
    /// This node may not take part under its number; the text says what to do.
    #[error("{0}")]
    MustRejoin(String),
    /// The group could not be formed.
    #[error("the group could not be formed: {0}")]
    Form(InitializeError),
    /// The server could not be set up or broke.
    #[error("the gRPC server failed: {0}")]
    Server(#[from] tonic::transport::Error),
    /// The gRPC reflection service could not be built.
    #[error("the gRPC reflection service cannot be built: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// Replication stopped.
    #[error("this node has stopped: {0}")]
    Stopped(String),
}

/// Connections to the other nodes: TLS, verified to be primaries.
struct TlsConnect(Credentials);

impl Connect for TlsConnect {
    fn channel(&self, peer: &Peer) -> Result<Channel, ConnectError> {
        let expected = format!("{}.{ANY_PRIMARY}", peer.name);
        self.0
            .channel(&peer.address, &expected)
            .map_err(|error| ConnectError {
                address: peer.address.clone(),
                reason: error.to_string(),
            })
    }
}

/// Runs a primary node until `shutdown`.
///
/// # Errors
/// [`RunError`]: why it did not start, or what ended it.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), RunError> {
    // Whatever is wrong with the configuration is said before a port opens.
    config.check()?;
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|source| RunError::Listen {
            address: config.listen,
            source,
        })?;
    let nature = Nature {
        clock: SystemClock::shared(),
        cluster_version: outlast_core::CLUSTER_VERSION,
    };
    run_with(config, listener, nature, shutdown).await
}

/// What a node is beside its configuration.
pub struct Nature {
    /// Its time.
    pub clock: SharedClock,
    /// The newest cluster version it speaks (DESIGN 3).
    pub cluster_version: u32,
}

/// As [`run`], with a port that is open already, as a node of this nature.
///
/// # Errors
/// [`RunError`]: why it did not start, or what ended it.
pub async fn run_with(
    config: Config,
    listener: TcpListener,
    nature: Nature,
    shutdown: Shutdown,
) -> Result<(), RunError> {
    let credentials = config.check()?;
    let _held = hold_folder(&config)?;
    let state = SharedState::new(nature.cluster_version);
    let raft = RaftNode::start(raft_options(&config, credentials.clone()), state.clone()).await;
    let raft = raft.map_err(|error| match rejoin::of_start(&error, &config) {
        Some(text) => RunError::MustRejoin(text),
        None => RunError::Raft(error),
    })?;
    let tasks = Tasks::new(shutdown.clone());
    let brain = Brain::new(
        raft.clone(),
        state,
        nature.clock,
        Me {
            node_id: config.node_id,
            name: config.name.clone(),
            facts: config.facts(nature.cluster_version),
            timing: config.timing,
        },
    );
    let (registry, live) = (Registry::new(brain.wakes().clone()), Live::new());
    let accounts = Accounts::default();

    let routes = routes(Api {
        brain: brain.clone(),
        registry: registry.clone(),
        live: live.clone(),
        tasks: tasks.clone(),
        accounts: accounts.clone(),
        config: config.clone(),
    })
    .await?;
    // The others need our answers until leadership is handed over.
    let serving_over = Shutdown::new();
    let server = serve(listener, routes, &credentials, serving_over.clone())?;
    tasks.vital("grpc server", server);
    start_reconcilers(&brain, &accounts, (&tasks, &shutdown), (&config, &credentials));
    let leader = Leader {
        brain,
        registry,
        live,
        tasks: tasks.clone(),
        credentials,
        accounts,
    };
    let following = leader::follow(leader, shutdown.clone());
    let over = shutdown.clone();
    tasks.vital("leader", async move {
        following.await;
        if over.has_begun() {
            Ok(())
        } else {
            Err("nobody says any more who leads")
        }
    });
    tracing::info!(node = %config.name, listen = %config.listen, "primary is up");

    let ended = tokio::select! {
        () = shutdown.begun() => Ok(()),
        Err(error) = take_part(&raft, &config) => Err(error),
    };
    hand_over(&raft).await;
    shutdown.begin();
    serving_over.begin();
    if let Err(stragglers) = tasks.finish(FINISH_WITHIN).await {
        let stragglers = stragglers.join(", ");
        tracing::warn!(stragglers, "tasks did not end in time");
    }
    raft.shutdown().await;
    ended
}

/// What every node sees to.
fn start_reconcilers(
    brain: &Brain,
    accounts: &Accounts,
    (tasks, over): (&Tasks, &Shutdown),
    (config, credentials): (&Config, &Credentials),
) {
    let reconcilers = Reconcilers {
        brain: brain.clone(),
        accounts: accounts.clone(),
        tasks: tasks.clone(),
        of: Of::Node,
        over: over.clone(),
    };
    let (keeping, folder) = (brain.clone(), config.data_dir.clone());
    reconcilers.start(move || TimingKept::new(keeping.clone(), folder.clone()));
    let (introducing, credentials) = (brain.clone(), credentials.clone());
    reconcilers.start(move || Introduction::new(introducing.clone(), credentials.clone()));
}

/// Takes the data folder, so that it is known whose it is.
fn hold_folder(config: &Config) -> Result<HeldFolder, RunError> {
    let path = &config.data_dir;
    let failed = |source| RunError::DataDir {
        path: path.clone(),
        source,
    };
    create_folder(path, 0o700).map_err(failed)?;
    let held = HeldFolder::take(path, &format!("primary {}", config.name)).map_err(failed)?;
    held.ok_or_else(|| RunError::DataDirInUse { path: path.clone() })
}

/// Forms the group, if that is this node's part, and belongs to it; returns why it cannot go on.
async fn take_part(raft: &RaftNode, config: &Config) -> Result<(), RunError> {
    let formed = tokio::select! {
        formed = form(raft, config) => formed,
        _ = raft.stopped() => Ok(()),
    };
    let reason = match formed {
        Ok(()) => raft.stopped().await,
        Err(InitializeError::Excluded(exclusion)) => StopReason::Excluded(exclusion),
        Err(error) => return Err(RunError::Form(error)),
    };
    match reason {
        StopReason::Failed { reason } => Err(RunError::Stopped(reason)),
        StopReason::Shutdown => Err(RunError::Stopped("replication was shut down".into())),
        StopReason::Excluded(exclusion @ Exclusion::Removed { .. }) => {
            // Not a failure: somebody wanted it so. Whoever asks this node is told, until it is stopped.
            let what = rejoin::of_exclusion(&exclusion, config);
            tracing::error!(node = %config.name, %what, "this node is no member any more");
            raft.shutdown().await;
            std::future::pending().await
        }
        StopReason::Excluded(exclusion) => {
            Err(RunError::MustRejoin(rejoin::of_exclusion(&exclusion, config)))
        }
    }
}

/// The first members' group is founded by the one with the lowest number; the others are called by it.
async fn form(raft: &RaftNode, config: &Config) -> Result<(), InitializeError> {
    let members = config.initial_members.iter();
    let founder = members.clone().map(|m| m.node_id).min();
    if founder != Some(config.node_id) {
        return Ok(());
    }
    let members = members.map(|m| (m.node_id, peer(&m.name, &m.address)));
    raft.initialize(members.collect()).await.map(drop)
}

/// Before an orderly stop: the others need not wait for an election then.
async fn hand_over(raft: &RaftNode) {
    if raft.leadership().borrow().is_me {
        match tokio::time::timeout(HAND_OVER_WITHIN, raft.transfer_leader(None)).await {
            Ok(Ok(_)) => tracing::info!("leadership handed over"),
            Ok(Err(error)) => tracing::info!(%error, "leadership was not handed over"),
            Err(_) => tracing::info!("nobody took over leadership in time"),
        }
    }
}

fn raft_options(config: &Config, credentials: Credentials) -> RaftOptions {
    let me = config.me();
    let me = peer(&me.name, &me.address);
    let mut options = RaftOptions::new(
        config.node_id,
        me,
        config.data_dir.join("raft"),
        Arc::new(TlsConnect(credentials)),
    );
    options.timing = match timing::kept(&config.data_dir).unwrap_or(config.timing) {
        Timing::Lan => outlast_raft::Timing::Lan,
        Timing::Wan => outlast_raft::Timing::Wan,
    };
    options
}

fn peer(name: &str, address: &str) -> Peer {
    Peer {
        name: name.to_owned(),
        address: address.to_owned(),
    }
}

/// Answers until `over`, and for a moment more.
fn serve(
    listener: TcpListener,
    routes: tonic::service::Routes,
    credentials: &Credentials,
    over: Shutdown,
) -> Result<impl Future<Output = Result<(), tonic::transport::Error>> + use<>, tonic::transport::Error> {
    let incoming = Incoming::new(listener, Limits::default());
    let end = over.clone();
    let serving = Server::builder()
        .tls_config(credentials.server())?
        .max_concurrent_streams(Some(MAX_STREAMS))
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, async move { end.begun().await });
    Ok(async move {
        let cut = async {
            over.begun().await;
            tokio::time::sleep(LAST_ANSWERS).await;
        };
        tokio::select! {
            served = serving => served,
            () = cut => Ok(()),
        }
    })
}

async fn routes(api: Api) -> Result<tonic::service::Routes, RunError> {
    let mut routes = RoutesBuilder::default();
    let primaries = only(&[Kind::Primary]);
    routes.add_service(InterceptedService::new(
        api.brain.raft().service(),
        primaries.clone(),
    ));
    let members = MemberService::new(api.brain.clone()).server();
    routes.add_service(InterceptedService::new(members, primaries));
    let sessions = SessionService {
        brain: api.brain.clone(),
        registry: api.registry.clone(),
        live: api.live.clone(),
        tasks: api.tasks.clone(),
    };
    routes.add_service(AgentSessionServer::new(sessions).max_decoding_message_size(MAX_AGENT_MESSAGE));
    api.add_to(&mut routes);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .build_v1()?;
    routes.add_service(reflection);
    let (health, health_service) = tonic_health::server::health_reporter();
    health
        .set_service_status("", tonic_health::ServingStatus::Serving)
        .await;
    routes.add_service(health_service);
    Ok(routes.routes())
}
