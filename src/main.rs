//! `outlast`, the one binary: the command line, the daemons, and `dev`.
//!
//! Only parsing, dispatch and the last word on errors live here. Exit codes are those of CLI.md, see [`error`].

mod cli;
mod connection;
mod context;
mod documents;
mod error;
mod help_pages;
mod human;
mod joblog;
mod output;
mod policy_file;
mod table;
mod wire;

use std::process::ExitCode;

use clap::Parser as _;
use outlast_kit::config::ConfigError;

use cli::{Cli, Command, Globals};
use error::{CliError, exit};
use output::{Format, remark};

/// Where the daemons are started; stands in until they are wired in.
mod daemons {
    use crate::cli::{Daemon, DaemonArgs};

    pub(crate) fn run(daemon: Daemon, args: &DaemonArgs) -> anyhow::Result<u8> {
        anyhow::bail!(
            "the {} is not part of this build ({})",
            daemon.word(),
            args.config.display()
        )
    }
}

/// Where `dev` lives; stands in until it is wired in.
mod dev {
    use crate::cli::{DevArgs, DevCommand};

    pub(crate) fn run(args: DevArgs) -> anyhow::Result<u8> {
        let folder = match args.command {
            Some(DevCommand::Restart(restart)) => restart.data_dir,
            None => args.start.data_dir,
        };
        anyhow::bail!("dev is not part of this build ({})", folder.display())
    }
}

fn main() -> ExitCode {
    let code = match Cli::try_parse() {
        Ok(cli) => run(cli),
        Err(error) => usage(&error),
    };
    ExitCode::from(code)
}

fn run(cli: Cli) -> u8 {
    match cli.command {
        Command::Dev(args) => of_daemon(dev::run(args)),
        Command::Daemon(daemon) => {
            let (daemon, args) = daemon.parts();
            of_daemon(daemons::run(daemon, args))
        }
        Command::Client(command) => of_client(&cli.globals, command),
    }
}

/// Runs a command that talks to the cluster.
fn of_client(globals: &Globals, command: cli::ClientCommand) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            remark(&format!("error: no runtime: {error}"));
            return exit::FAILED;
        }
    };
    let result = runtime.block_on(cli::run(globals, command));
    result.unwrap_or_else(|error| {
        report(globals.output, &error);
        error.exit_code()
    })
}

/// Says what went wrong, in the format asked for.
fn report(format: Format, error: &CliError) {
    if matches!(error, CliError::OutputClosed) {
        return;
    }
    if format != Format::Table {
        return remark(&serde_json::json!({ "error": error.document() }).to_string());
    }
    remark(&format!("error: {}", human::clean(&error.to_string())));
    for (address, said) in error.tried() {
        remark(&format!("  {address}: {}", human::clean(said)));
    }
    if let Some(help) = error.document().help {
        remark(&format!("  help: {help}"));
    }
}

fn of_daemon(result: anyhow::Result<u8>) -> u8 {
    result.unwrap_or_else(|error| {
        remark(&format!("error: {error:#}"));
        if error.is::<ConfigError>() {
            exit::WRONG_USAGE
        } else {
            exit::FAILED
        }
    })
}

/// Help that was asked for, or wrong usage.
fn usage(error: &clap::Error) -> u8 {
    if error.use_stderr() && cli::wants_json(std::env::args_os()) {
        let text = error.render().to_string();
        let text = text.trim().trim_start_matches("error: ");
        let document =
            serde_json::json!({ "code": null, "text": text, "help": "outlast --help", "tried": [] });
        remark(&serde_json::json!({ "error": document }).to_string());
        return exit::WRONG_USAGE;
    }
    // A reader that has gone needs no help.
    let _ = error.print();
    if error.use_stderr() {
        exit::WRONG_USAGE
    } else {
        exit::SUCCESSFUL
    }
}
