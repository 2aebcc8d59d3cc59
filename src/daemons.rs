//! The daemons: configuration in, process until a signal. What a daemon does is in its own crate.

use std::fmt::Display;
use std::future::Future;
use std::path::Path;

use outlast_kit::config::{ConfigError, load};
use outlast_kit::errors::with_causes;
use outlast_kit::shutdown::Shutdown;
use serde::de::DeserializeOwned;

use crate::cli::{Daemon, DaemonArgs};
use crate::error::exit;
use crate::output::remark;

/// Why a daemon did not start or ended by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DaemonError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{file}: {problem}")]
    Problem { file: String, problem: String },
    #[error("{0}")]
    Run(String),
    /// A node that may not take part; starting it again changes nothing.
    #[error("{0}")]
    Refused(String),
    #[error("signals cannot be handled: {0}")]
    Signals(std::io::Error),
}

impl DaemonError {
    /// The process's exit code (CLI.md): a bad configuration is wrong usage.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            DaemonError::Config(_) | DaemonError::Problem { .. } => exit::WRONG_USAGE,
            DaemonError::Refused(_) => exit::REFUSED,
            DaemonError::Run(_) | DaemonError::Signals(_) => exit::FAILED,
        }
    }
}

impl From<outlast_primary::RunError> for DaemonError {
    fn from(error: outlast_primary::RunError) -> Self {
        match error {
            outlast_primary::RunError::MustRejoin(text) => DaemonError::Refused(text),
            other => DaemonError::Run(with_causes(&other)),
        }
    }
}

impl From<outlast_media_agent::RunError> for DaemonError {
    fn from(error: outlast_media_agent::RunError) -> Self {
        DaemonError::Run(with_causes(&error))
    }
}

impl From<outlast_client_agent::RunError> for DaemonError {
    fn from(error: outlast_client_agent::RunError) -> Self {
        DaemonError::Run(with_causes(&error))
    }
}

/// Runs a daemon until SIGTERM or SIGINT, or with `--check` only looks at its configuration.
pub(crate) async fn run(daemon: Daemon, args: &DaemonArgs) -> Result<(), DaemonError> {
    outlast_kit::telemetry::init();
    match daemon {
        Daemon::Primary => {
            let config: outlast_primary::Config = read(args, daemon)?;
            check(args, config.check())?;
            go(args, |shutdown| outlast_primary::run(config, shutdown)).await
        }
        Daemon::MediaAgent => {
            let config: outlast_media_agent::Config = read(args, daemon)?;
            check(args, config.check())?;
            go(args, |shutdown| outlast_media_agent::run(config, shutdown)).await
        }
        Daemon::ClientAgent => {
            let config: outlast_client_agent::Config = read(args, daemon)?;
            check(args, config.check())?;
            go(args, |shutdown| outlast_client_agent::run(config, shutdown)).await
        }
    }
}

fn read<T: DeserializeOwned>(args: &DaemonArgs, daemon: Daemon) -> Result<T, ConfigError> {
    load(&args.config, daemon.word())
}

fn check<T, E: Display>(args: &DaemonArgs, checked: Result<T, E>) -> Result<(), DaemonError> {
    checked.map(drop).map_err(|problem| DaemonError::Problem {
        file: shown(&args.config),
        problem: problem.to_string(),
    })
}

async fn go<F, E>(args: &DaemonArgs, daemon: impl FnOnce(Shutdown) -> F) -> Result<(), DaemonError>
where
    F: Future<Output = Result<(), E>>,
    DaemonError: From<E>,
{
    if args.check {
        remark(&format!("{} is in order", shown(&args.config)));
        return Ok(());
    }
    let shutdown = Shutdown::on_signals().map_err(DaemonError::Signals)?;
    daemon(shutdown.clone()).await?;
    match shutdown.failure() {
        None => Ok(()),
        Some(failure) => Err(DaemonError::Run(format!("it had to end: {failure}"))),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
