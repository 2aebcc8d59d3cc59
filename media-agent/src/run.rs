//! Puts the agent together, keeps it running, takes it apart in order.
//!
//! Everything is checked before the port opens. Called by the binary; tests use [`start_with`].

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use outlast_kit::clock::SystemClock;
use outlast_kit::leader::Primaries;
use outlast_kit::listen::Incoming;
use outlast_kit::local::{LocalIncoming, LocalSocket};
use outlast_kit::recollection::Recollection;
use outlast_kit::session;
use outlast_kit::shutdown::Shutdown;
use outlast_kit::tasks::Tasks;
use outlast_kit::tls::Credentials;
use outlast_proto::v1::{AgentKind, Hello};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::attempts::{AttemptManager, settle_open_attempts};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::contact::Contact;
use crate::context::{Context, Timing};
use crate::data::{self, DataService};
use crate::data_dir::DataDir;
use crate::error::RunError;
use crate::journal::Journal;
use crate::known_chunks::KnownChunks;
use crate::session::SessionServer;
use crate::storage::{StorageUnit, keep_tidy, keeps_agent_down, watch};
use crate::tickets::Verifier;

/// What it understands, as docs/protocol.md counts: fences that only end and are acknowledged, surveys; checkpoints of earlier attempts; causes of
/// interruptions; leaving at a checkpoint.
const SPEAKS: u32 = 4;
/// For tasks that should have ended by themselves.
const STRAGGLERS: Duration = Duration::from_secs(5);

/// Runs a media agent until `shutdown`.
///
/// # Errors
/// [`RunError`] if it cannot start.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), RunError> {
    start(config, shutdown).await?.wait().await;
    Ok(())
}

/// A media agent that is running.
pub struct Agent {
    address: SocketAddr,
    context: Context,
    manager: AttemptManager,
    session_end: Shutdown,
    _data_dir: DataDir,
}

/// Starts a media agent; it accepts clients when this returns.
///
/// # Errors
/// [`RunError`] if it cannot.
pub async fn start(config: Config, shutdown: Shutdown) -> Result<Agent, RunError> {
    start_with(config, shutdown, Timing::default()).await
}

/// As [`start`], with other waiting times.
///
/// # Errors
/// [`RunError`] if it cannot.
pub async fn start_with(config: Config, shutdown: Shutdown, timing: Timing) -> Result<Agent, RunError> {
    config.check()?;
    let credentials = config.credentials()?;
    let data_dir = DataDir::take(&config.data_dir, &config.name)?;
    let cluster = Cluster::load(data_dir.cluster_file())?;
    let unit = open_storage(&config, &data_dir.repository_file()).await?;
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|source| RunError::Listen {
            address: config.listen,
            source,
        })?;
    let address = listener.local_addr().unwrap_or(config.listen);

    let tasks = Tasks::new(shutdown.clone());
    let (journal, open) = Journal::open(&data_dir.journal(), &tasks)?;
    if cluster.known().is_none() && journal.status().last > 0 {
        let path = data_dir.cluster_file();
        return Err(RunError::ClusterFileMissing { path });
    }
    let clock = SystemClock::shared();
    let mut contact = Contact::none_yet(clock.monotonic(), timing.reconnect_for);
    contact.take(cluster.waiting_times());
    let contact = watch::Sender::new(contact);
    let context = Context {
        agent: config.name.clone(),
        start_id: uuid::Uuid::new_v4().to_string(),
        journal,
        unit,
        known_chunks: (!config.storage.share_chunks)
            .then(|| Arc::new(KnownChunks::new(data_dir.known_chunks()))),
        damage_told: Arc::default(),
        recollection: Recollection::open(data_dir.recollection()),
        verifier: Verifier {
            cluster,
            agent: config.name.clone(),
            unit: config.storage.unit.to_string(),
        },
        contact: contact.subscribe(),
        clock,
        tasks,
        shutdown,
        timing,
    };
    let manager = AttemptManager::start_up(context.clone());
    let settle = settle_open_attempts(context.clone(), open);
    // An attempt that is not settled would stay open.
    context.tasks.vital("survey", async move {
        settle.await;
        Ok::<(), Infallible>(())
    });
    look_after_the_unit(&context);
    let local = open_socket(&config, &data_dir, timing);
    serve_data(&context, &manager, &credentials, (listener, address), local)?;
    let session_end = hold_session(&config, &context, &manager, (credentials, contact), address)?;
    tracing::info!(%address, agent = %config.name, unit = %config.storage.unit, "media agent is ready");
    Ok(Agent {
        address,
        context,
        manager,
        session_end,
        _data_dir: data_dir,
    })
}

impl Agent {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for the shutdown and carries it out: attempts end as interrupted, the journal is delivered as far as it goes.
    pub async fn wait(self) {
        self.context.shutdown.begun().await;
        let timing = self.context.timing;
        self.manager
            .interrupt_all("the media agent is shutting down")
            .await;
        if tokio::time::timeout(timing.attempts_end, self.manager.wait_idle())
            .await
            .is_err()
        {
            tracing::warn!("an attempt did not end in time; it is settled at the next start");
        }
        let mut journal = self.context.journal.watch();
        if self.context.contact.borrow().lost_at.is_none() {
            let delivered = journal.wait_for(|status| status.acknowledged == status.last);
            let _ = tokio::time::timeout(timing.last_delivery, delivered).await;
        }
        self.session_end.begin();
        let tasks = self.context.tasks.clone();
        drop((self.manager, self.context, journal));
        if let Err(stragglers) = tasks.finish(STRAGGLERS).await {
            let stragglers = stragglers.join(", ");
            tracing::warn!(stragglers, "tasks did not end in time");
        }
    }
}

/// Opens the storage unit if it can be reached; only mistakes of the configuration keep the agent down.
async fn open_storage(config: &Config, id_file: &Path) -> Result<Arc<StorageUnit>, RunError> {
    let storage = &config.storage;
    let unit = Arc::new(StorageUnit::new(
        storage.unit.to_string(),
        storage.path.clone(),
        storage.password()?,
        config.name.as_str(),
        id_file.to_owned(),
    ));
    let opening = Arc::clone(&unit);
    let opened = tokio::task::spawn_blocking(move || opening.repository_at_start().map(drop)).await;
    match opened {
        Ok(Err(source)) if keeps_agent_down(&source) => Err(RunError::StorageUnit {
            unit: storage.unit.to_string(),
            password_file: storage.password_file.clone(),
            source: Box::new(source),
        }),
        // The unit has told it; it may be there later.
        Ok(Ok(()) | Err(_)) | Err(_) => Ok(unit),
    }
}

/// The way in for clients of this host. There is another: without it the agent runs as well.
fn open_socket(config: &Config, data_dir: &DataDir, timing: Timing) -> Option<(LocalSocket, LocalIncoming)> {
    if !config.local_socket {
        return None;
    }
    let folder = data_dir.local_socket();
    match LocalSocket::open(&folder, timing.connections, timing.local_token) {
        Ok(local) => Some(local),
        Err(error) => {
            tracing::warn!(
                folder = %folder.display(), %error,
                "no socket can be made for clients of this host; they come over TLS as all others do"
            );
            None
        }
    }
}

fn serve_data(
    context: &Context,
    manager: &AttemptManager,
    credentials: &Credentials,
    (listener, address): (TcpListener, SocketAddr),
    local: Option<(LocalSocket, LocalIncoming)>,
) -> Result<(), RunError> {
    let (socket, callers) = local.unzip();
    let service = DataService {
        context: context.clone(),
        manager: manager.clone(),
        socket,
    };
    if let Some(callers) = callers {
        let shutdown = context.shutdown.clone();
        let serving = data::local_server(service.clone())
            .serve_with_incoming_shutdown(callers, async move { shutdown.begun().await });
        context.tasks.vital("local data server", serving);
    }
    let router = data::server(service, credentials).map_err(|error| RunError::Server {
        address,
        reason: error.to_string(),
    })?;
    let shutdown = context.shutdown.clone();
    let incoming = Incoming::new(listener, context.timing.connections);
    let serving = router.serve_with_incoming_shutdown(incoming, async move {
        shutdown.begun().await;
    });
    context.tasks.vital("data server", serving);
    Ok(())
}

/// What is done for the storage unit beside the attempts.
fn look_after_the_unit(context: &Context) {
    let Context {
        unit,
        timing,
        shutdown,
        tasks,
        ..
    } = context;
    let (looked_at, over, every) = (Arc::clone(unit), shutdown.clone(), timing.storage_look);
    let look = move || watch(Arc::clone(&looked_at), every, over.clone());
    tasks.restarted("looks at the storage unit", shutdown.clone(), look, |_| {});
    let (tidied, over, every) = (Arc::clone(unit), shutdown.clone(), timing.tidy);
    let tidy = move || keep_tidy(Arc::clone(&tidied), every, over.clone());
    tasks.restarted("tidying up", shutdown.clone(), tidy, |_| {});
}

/// Starts the session; the shutdown that ends it.
fn hold_session(
    config: &Config,
    context: &Context,
    manager: &AttemptManager,
    (credentials, contact): (Credentials, watch::Sender<Contact>),
    address: SocketAddr,
) -> Result<Shutdown, RunError> {
    let primaries = Arc::new(Primaries::new(credentials, &config.primaries)?);
    let end = Shutdown::new();
    let mut advertised = config.advertise.clone();
    if advertised.is_empty() {
        advertised.push(address.to_string());
    }
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let server = SessionServer {
        context: context.clone(),
        manager: manager.clone(),
        contact: Arc::new(contact),
        hello: Hello {
            kind: AgentKind::MediaAgent.into(),
            version: config.reported_version.clone().unwrap_or(version),
            host_id: config.host_id.clone().unwrap_or_else(outlast_kit::host::host_id),
            fibre_transport: config.fibre_transport,
            pool: config.pool.to_string(),
            storage_unit: config.storage.unit.to_string(),
            data_addresses: advertised,
            carries_nonces: true,
            speaks: SPEAKS,
            ..Hello::default()
        },
        end: end.clone(),
    };
    let over = end.clone();
    let hold = move || {
        let (greeter, server) = (server.clone(), server.clone());
        session::hold(
            Arc::clone(&primaries),
            over.clone(),
            move || greeter.hello(),
            move |session| server.clone().serve(session),
        )
    };
    context.tasks.restarted("session", end.clone(), hold, |_| {});
    Ok(end)
}
