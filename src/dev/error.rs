//! What can go wrong with `dev`, in sentences.

use std::net::SocketAddr;
use std::path::PathBuf;

use outlast_kit::authority::AuthorityError;
use outlast_kit::config::ConfigError;

use crate::error::{CliError, exit};

/// Why `dev` did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DevError {
    #[error("--once needs a path to back up")]
    OnceWithoutPaths,
    #[error("{} does not exist", path.display())]
    NoSuchPath { path: PathBuf },
    #[error("{} is not UTF-8; a policy cannot name it", path.display())]
    NotUtf8 { path: PathBuf },
    #[error("{} is given twice", path.display())]
    Twice { path: PathBuf },
    #[error("{} is inside the cluster's own folder {}; give another --data-dir", path.display(), data_dir.display())]
    BacksUpItself { path: PathBuf, data_dir: PathBuf },
    #[error("a cluster has 1, 3 or 5 primaries, not {0}")]
    Primaries(u32),
    #[error("a cluster has 1 to 9 media agents, not {0}")]
    MediaAgents(u32),
    #[error(
        "{} holds a cluster of {primaries} primaries and {media_agents} media agents; leave the numbers out, or give another --data-dir",
        data_dir.display()
    )]
    OtherCluster {
        data_dir: PathBuf,
        primaries: usize,
        media_agents: usize,
    },
    #[error("{} is not a folder of outlast dev, and not empty; give another --data-dir", data_dir.display())]
    ForeignFolder { data_dir: PathBuf },
    #[error("port {} is in use; give another --port, or 0 for free ones", address.port())]
    PortInUse { address: SocketAddr },
    #[error("another outlast dev is running in {}", data_dir.display())]
    InUse { data_dir: PathBuf },
    #[error("there is no \"{name}\" in {}; there are: {}", data_dir.display(), known.join(", "))]
    NoSuchChild {
        name: String,
        data_dir: PathBuf,
        known: Vec<String>,
    },
    #[error("{name} is running already (pid {pid})")]
    Running { name: String, pid: u32 },
    #[error("{} holds no cluster; start one with outlast dev --data-dir {}", data_dir.display(), data_dir.display())]
    NoCluster { data_dir: PathBuf },
    #[error("{name} ended at its start; the end of {}:\n{tail}", log.display())]
    Died {
        name: String,
        log: PathBuf,
        tail: String,
    },
    #[error("the cluster was not ready within {seconds} s: {missing}; the logs are in {}", logs.display())]
    NotReady {
        seconds: u64,
        missing: String,
        logs: PathBuf,
    },
    #[error("{doing} {}: {source}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("signals cannot be handled: {0}")]
    Signals(std::io::Error),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Cli(#[from] Box<CliError>),
}

impl From<CliError> for DevError {
    fn from(error: CliError) -> Self {
        DevError::Cli(Box::new(error))
    }
}

impl DevError {
    /// An I/O error with what was being done.
    pub(crate) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> DevError {
        let path = path.into();
        move |source| DevError::Io { doing, path, source }
    }

    /// The process's exit code (CLI.md).
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            DevError::OnceWithoutPaths
            | DevError::NotUtf8 { .. }
            | DevError::Twice { .. }
            | DevError::BacksUpItself { .. }
            | DevError::Primaries(_)
            | DevError::MediaAgents(_)
            | DevError::Config(_) => exit::WRONG_USAGE,
            DevError::NoSuchPath { .. } | DevError::NoSuchChild { .. } | DevError::NoCluster { .. } => {
                exit::NO_SUCH_THING
            }
            DevError::OtherCluster { .. }
            | DevError::ForeignFolder { .. }
            | DevError::PortInUse { .. }
            | DevError::InUse { .. }
            | DevError::Running { .. } => exit::REFUSED,
            DevError::NotReady { .. } => exit::NOT_REACHABLE,
            DevError::Died { .. } | DevError::Io { .. } | DevError::Signals(_) | DevError::Authority(_) => {
                exit::FAILED
            }
            DevError::Cli(error) => error.exit_code(),
        }
    }
}
