//! The commands of CLI.md: how they are spelled, and where each is carried out. One file for each family.
//!
//! Called by `main`. Commands here use the public services only.

mod agent;
mod authority;
mod cluster;
mod follow;
mod help;
mod history;
mod job;
mod job_view;
mod local;
mod parse;
mod policy;
mod policy_test;
mod pool;
mod progress;
mod restore;
mod restore_point;
mod rule;
mod storage;
mod test_printer;
mod thresholds;
mod waiting;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::connection::Connection;
use crate::context::Context;
use crate::error::{CliError, exit};
use crate::output::{Format, Output};

pub(crate) use follow::follow_to_end;
use local::DaemonCommand;
pub(crate) use local::{Daemon, DaemonArgs, DevArgs, DevCommand, DevStart};

/// Outlast: a clustered backup system whose jobs outlast their servers.
#[derive(Debug, Parser)]
#[command(
    name = "outlast",
    version,
    disable_help_subcommand = true,
    infer_long_args = false
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options every command understands.
#[derive(Debug, Args)]
pub(crate) struct Globals {
    /// The context file: endpoints of the primaries, CA and identity [default: ~/.config/outlast/client.toml]
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "FILE",
        env = "OUTLAST_CONTEXT",
        hide_env_values = true
    )]
    pub(crate) context: Option<PathBuf>,
    /// How results are printed
    #[arg(
        short,
        long,
        global = true,
        help_heading = "Global options",
        value_enum,
        value_name = "FORMAT",
        default_value_t
    )]
    pub(crate) output: Format,
    /// How long to look for the leader
    #[arg(long, global = true, help_heading = "Global options", value_name = "DURATION", default_value = "10s", value_parser = parse::duration)]
    pub(crate) timeout: Duration,
    /// Read from any node, also one that may not know the latest
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) stale: bool,
}

/// Everything `outlast` can be told to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a whole cluster on this machine
    Dev(DevArgs),
    #[command(flatten)]
    Daemon(DaemonCommand),
    #[command(flatten)]
    Client(ClientCommand),
}

/// Commands that talk to the cluster, or to nobody.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// The primary's own group
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// The cluster's certificate authority, as files in a folder
    #[command(subcommand)]
    Authority(authority::AuthorityCommand),
    /// What is backed up
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Runs of policies, and restores
    #[command(subcommand)]
    Job(job::JobCommand),
    /// Records of ended attempts
    #[command(subcommand)]
    History(history::HistoryCommand),
    /// What finished items left
    #[command(subcommand)]
    RestorePoint(restore_point::RestorePointCommand),
    /// Restore files from a restore point
    Restore(restore::RestoreArgs),
    /// Media agents and client agents
    #[command(subcommand)]
    Agent(agent::AgentCommand),
    /// Repositories that media agents write to
    #[command(subcommand)]
    Storage(storage::StorageCommand),
    /// Media agents that stand in for each other
    #[command(subcommand)]
    Pool(pool::PoolCommand),
    /// What follows an attempt that ended with an error
    #[command(subcommand)]
    Rule(rule::RuleCommand),
    /// Help on a status code or a command
    Help(help::HelpArgs),
    /// Completions for a shell
    Completions(help::CompletionsArgs),
}

/// What every command works with.
pub(crate) struct Invocation<'a> {
    globals: &'a Globals,
    output: Output,
}

impl Invocation<'_> {
    /// The way to the cluster of the context.
    fn connect(&self) -> Result<Connection, CliError> {
        let context = Context::load(self.globals.context.as_deref())?;
        Connection::new(&context, self.globals.timeout, self.globals.stale)
    }
}

/// Carries out a command; the exit code.
pub(crate) async fn run(globals: &Globals, command: ClientCommand) -> Result<u8, CliError> {
    let invocation = Invocation {
        globals,
        output: Output::new(globals.output),
    };
    match command {
        ClientCommand::Cluster(command) => cluster::run(command, &invocation).await?,
        ClientCommand::Authority(command) => authority::run(&command, &invocation)?,
        ClientCommand::Policy(command) => return policy::run(command, &invocation).await,
        ClientCommand::Job(command) => return job::run(command, &invocation).await,
        ClientCommand::History(command) => history::run(command, &invocation).await?,
        ClientCommand::RestorePoint(command) => restore_point::run(command, &invocation).await?,
        ClientCommand::Restore(args) => return restore::run(args, &invocation).await,
        ClientCommand::Agent(command) => agent::run(command, &invocation).await?,
        ClientCommand::Storage(command) => return storage::run(command, &invocation).await,
        ClientCommand::Pool(command) => pool::run(command, &invocation).await?,
        ClientCommand::Rule(command) => rule::run(command, &invocation).await?,
        ClientCommand::Help(args) => help::run(&args, &invocation)?,
        ClientCommand::Completions(args) => help::completions(&args, &invocation)?,
    }
    Ok(exit::SUCCESSFUL)
}

/// Whether a command line that could not be parsed asks for JSON.
pub(crate) fn wants_json(args: impl IntoIterator<Item = OsString>) -> bool {
    let args: Vec<_> = args
        .into_iter()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let is_json = |value: &str| matches!(value, "json" | "jsonl");
    args.windows(2)
        .any(|pair| matches!(pair[0].as_str(), "-o" | "--output") && is_json(&pair[1]))
        || args.iter().any(|arg| {
            ["--output=", "-o=", "-o"]
                .iter()
                .any(|prefix| arg.strip_prefix(prefix).is_some_and(is_json))
        })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::{Cli, wants_json};

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn json_is_recognised_in_a_wrong_command_line() {
        for (line, expected) in [
            ("outlast -o json jub", true),
            ("outlast jub --output=jsonl", true),
            ("outlast jub -ojson", true),
            ("outlast jub -o table", false),
            ("outlast job show json", false),
        ] {
            assert_eq!(wants_json(line.split(' ').map(Into::into)), expected, "{line}");
        }
    }
}
