//! The whole client agent, from its settings to its end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use outlast_kit::clock::SystemClock;
use outlast_kit::leader::Primaries;
use outlast_kit::recollection::Recollection;
use outlast_kit::shutdown::Shutdown;
use outlast_kit::tasks::Tasks;
use outlast_kit::tls::TlsError;
use outlast_kit::{host, session};
use outlast_proto::v1::{AgentKind, Hello};
use outlast_proto::words::StartId;
use parking_lot::Mutex;

use crate::attempt::MadeFolders;
use crate::attempts::Attempts;
use crate::config::{Config, ConfigError};
use crate::dry_runs::DryRuns;
use crate::lock::{self, LockError};
use crate::session::{Orders, Waiting};
use crate::tickets::{TicketError, TicketStore};

/// How long the targets of earlier restores may take to answer.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// How long running attempts may take to end when the process does.
const FINISH: Duration = Duration::from_secs(15);

/// Why a client agent cannot run. Each is a sentence for whoever starts it.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The settings.
    #[error("the client agent cannot start: {0}")]
    Config(#[from] ConfigError),
    /// The data directory is another process's.
    #[error("the client agent cannot start: {0}")]
    Lock(#[from] LockError),
    /// The tickets.
    #[error("the client agent cannot start: {0}")]
    Tickets(#[from] TicketError),
    /// The addresses of the primaries.
    #[error("the client agent cannot start: {0}")]
    Primaries(#[from] TlsError),
}

/// Puts right what a process left that was killed in the middle of a restore; a target that does not answer is left alone.
async fn left_by_earlier_processes(data_dir: &Path) -> MadeFolders {
    let data_dir = data_dir.to_owned();
    let opening = tokio::task::spawn_blocking(move || MadeFolders::open(&data_dir));
    match tokio::time::timeout(OPEN_WITHIN, opening).await {
        Ok(Ok(made)) => made,
        Ok(Err(_)) | Err(_) => {
            tracing::warn!("what earlier restores left cannot be looked at now; the next start tries again");
            MadeFolders::default()
        }
    }
}

/// Runs a client agent until `shutdown`.
///
/// # Errors
/// [`RunError`] if it cannot start; once started it goes on until told to stop.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), RunError> {
    let credentials = config.check()?;
    let _held = lock::take(&config.data_dir, &config.name)?;
    let start_id = StartId(uuid::Uuid::new_v4().to_string());
    let tickets = TicketStore::open(&config.data_dir, start_id.clone())?;
    let recollection = Recollection::open(config.data_dir.join("group.toml"));
    let primaries = Arc::new(Primaries::new(credentials.clone(), &config.primaries)?);
    let tasks = Tasks::new(shutdown.clone());
    let tickets = Arc::new(Mutex::new(tickets));
    let attempts = Attempts::new(
        Arc::new(credentials),
        start_id.clone(),
        SystemClock::shared(),
        tasks.clone(),
        (
            left_by_earlier_processes(&config.data_dir).await,
            Arc::clone(&tickets),
        ),
    );
    let orders = Orders {
        name: config.name.clone(),
        tickets,
        attempts: attempts.clone(),
        shutdown: shutdown.clone(),
        recollection: recollection.clone(),
        dry_runs: DryRuns::new(tasks.clone()),
        clock: SystemClock::shared(),
        waiting: Waiting::default(),
    };
    tracing::info!(agent = %config.name, start_id = %start_id, "client agent runs");
    let version = config
        .reported_version
        .unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned());
    let host_id = config.host_id.unwrap_or_else(host::host_id);
    let hello = || {
        let mut hello = Hello {
            kind: AgentKind::ClientAgent.into(),
            start_id: start_id.0.clone(),
            version: version.clone(),
            host_id: host_id.clone(),
            running: attempts.running(),
            carries_nonces: true,
            speaks: 0,
            ..Hello::default()
        };
        recollection.say(&mut hello);
        hello
    };
    session::hold(primaries, shutdown, hello, |session| {
        orders.clone().serve(session)
    })
    .await;
    attempts.end_all();
    if let Err(stragglers) = tasks.finish(FINISH).await {
        let stragglers = stragglers.join(", ");
        tracing::warn!(stragglers, "ended without waiting any longer");
    }
    tracing::info!(agent = %config.name, "client agent has ended");
    Ok(())
}
