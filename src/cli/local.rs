//! How the commands that run processes on this machine are spelled: the daemons and `dev`. They live elsewhere.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// The daemons.
#[derive(Debug, Subcommand)]
pub(crate) enum DaemonCommand {
    /// Run a node of the primary
    Primary(DaemonArgs),
    /// Run a media agent
    MediaAgent(DaemonArgs),
    /// Run a client agent
    ClientAgent(DaemonArgs),
}

/// Which daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Daemon {
    Primary,
    MediaAgent,
    ClientAgent,
}

/// How a daemon is started.
#[derive(Clone, Debug, Args)]
pub(crate) struct DaemonArgs {
    /// The configuration, TOML; every key also as a variable such as OUTLAST_PRIMARY__TLS__CA
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Check the configuration and exit
    #[arg(long)]
    pub(crate) check: bool,
}

/// `dev` and what can be done beside it.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct DevArgs {
    #[command(subcommand)]
    pub(crate) command: Option<DevCommand>,
    #[command(flatten)]
    pub(crate) start: DevStart,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DevCommand {
    /// Start a killed child again
    Restart(DevRestart),
}

/// A whole cluster on this machine.
#[derive(Clone, Debug, Args)]
pub(crate) struct DevStart {
    /// What to back up at once, as items of policy `dev`
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Where everything lies; the same folder continues where it was
    #[arg(long, value_name = "DIR", default_value = "./outlast-dev")]
    pub(crate) data_dir: PathBuf,
    /// How many nodes the primary has [default: as many as the folder has already, else 3]
    #[arg(long, value_name = "N")]
    pub(crate) primaries: Option<u32>,
    /// How many media agents there are [default: as many as the folder has already, else 2]
    #[arg(long, value_name = "N")]
    pub(crate) media_agents: Option<u32>,
    /// Exit with the job's exit code when the job is done
    #[arg(long)]
    pub(crate) once: bool,
    /// The first of the ports used
    #[arg(long, value_name = "PORT", default_value_t = 7400)]
    pub(crate) port: u16,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DevRestart {
    /// The child, such as `media-1`
    pub(crate) name: String,
    /// The folder `dev` runs in
    #[arg(long, value_name = "DIR", default_value = "./outlast-dev")]
    pub(crate) data_dir: PathBuf,
}

impl DaemonCommand {
    /// Which daemon, and how it is started.
    pub(crate) fn parts(&self) -> (Daemon, &DaemonArgs) {
        match self {
            DaemonCommand::Primary(args) => (Daemon::Primary, args),
            DaemonCommand::MediaAgent(args) => (Daemon::MediaAgent, args),
            DaemonCommand::ClientAgent(args) => (Daemon::ClientAgent, args),
        }
    }
}

impl Daemon {
    /// The word on the command line; also the section of its environment variables.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Daemon::Primary => "primary",
            Daemon::MediaAgent => "media-agent",
            Daemon::ClientAgent => "client-agent",
        }
    }
}
