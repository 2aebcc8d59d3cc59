//! `outlast`, the one binary: the command line, the daemons, and `dev`.
//!
//! Only parsing, dispatch and the last word on errors live here. Exit codes are those of CLI.md, see [`error`].

mod cli;
mod connection;
mod context;
mod daemons;
mod dev;
mod documents;
mod error;
mod help_pages;
mod human;
mod joblog;
mod output;
mod policy_file;
mod rule_file;
mod table;
mod wire;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use cli::{Cli, Command, Daemon, DaemonArgs, DevArgs, DevCommand, Globals};
use dev::DevError;
use error::{CliError, exit};
use output::{Format, Output, remark};
use tokio::runtime::Builder;

fn main() -> ExitCode {
    let code = match Cli::try_parse() {
        Ok(cli) => run(cli),
        Err(error) => usage(&error),
    };
    ExitCode::from(code)
}

fn run(cli: Cli) -> u8 {
    match cli.command {
        Command::Dev(args) => in_runtime(Builder::new_current_thread(), of_dev(&cli.globals, args)),
        Command::Daemon(daemon) => {
            let (daemon, args) = daemon.parts();
            outlast_kit::memory::settle();
            in_runtime(Builder::new_multi_thread(), of_daemon(daemon, args))
        }
        Command::Client(command) => {
            in_runtime(Builder::new_current_thread(), of_client(&cli.globals, command))
        }
    }
}

fn in_runtime(mut builder: Builder, command: impl Future<Output = u8>) -> u8 {
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            remark(&format!("error: no runtime: {error}"));
            return exit::FAILED;
        }
    };
    // Dropping a runtime waits for its blocking threads, and one may hang in a call that never returns. What has to be finished was
    // waited for by the command itself.
    let code = catch_unwind(AssertUnwindSafe(|| runtime.block_on(command)));
    runtime.shutdown_background();
    // The hook has said where and why.
    code.unwrap_or(exit::FAILED)
}

/// Runs a command that talks to the cluster.
async fn of_client(globals: &Globals, command: cli::ClientCommand) -> u8 {
    cli::run(globals, command).await.unwrap_or_else(|error| {
        report(globals.output, &error);
        error.exit_code()
    })
}

async fn of_dev(globals: &Globals, args: DevArgs) -> u8 {
    let output = Output::new(globals.output);
    let result = match args.command {
        Some(DevCommand::Restart(child)) => {
            dev::restart(&child.name, &child.data_dir).map(|()| exit::SUCCESSFUL)
        }
        None => dev::run(args.start, &output).await,
    };
    result.unwrap_or_else(|error| {
        match &error {
            DevError::Cli(error) => report(globals.output, error),
            other => report_text(globals.output, &other.to_string()),
        }
        error.exit_code()
    })
}

async fn of_daemon(daemon: Daemon, args: &DaemonArgs) -> u8 {
    match daemons::run(daemon, args).await {
        Ok(()) => exit::SUCCESSFUL,
        Err(error) => {
            report_text(Format::Table, &error.to_string());
            error.exit_code()
        }
    }
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

/// Says what went wrong where no more is known than a sentence.
fn report_text(format: Format, text: &str) {
    if format != Format::Table {
        let document = serde_json::json!({ "code": null, "text": text, "help": null, "tried": [] });
        return remark(&serde_json::json!({ "error": document }).to_string());
    }
    let lines: Vec<_> = text.lines().map(human::clean).collect();
    remark(&format!("error: {}", lines.join("\n")));
}

/// Help that was asked for, or wrong usage.
fn usage(error: &clap::Error) -> u8 {
    let not_utf8 = std::env::args_os().find_map(|arg| human::as_written(&arg));
    if let (ErrorKind::InvalidUtf8, Some(written)) = (error.kind(), not_utf8) {
        let json = cli::wants_json(std::env::args_os());
        let text = format!(
            "an argument is not UTF-8; write such a byte of a name as it is shown, with a backslash: '{written}', in single quotes"
        );
        report_text(if json { Format::Json } else { Format::Table }, &text);
        return exit::WRONG_USAGE;
    }
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use tokio::runtime::Builder;

    use super::{exit, in_runtime};

    /// A call to a storage unit or a source that is gone may never return.
    async fn hang_in_a_call() {
        let (begins, begun) = tokio::sync::oneshot::channel();
        tokio::task::spawn_blocking(move || {
            begins.send(()).unwrap();
            loop {
                std::thread::park();
            }
        });
        begun.await.unwrap();
    }

    fn ends_with(command: impl Future<Output = u8> + Send + 'static) -> u8 {
        let (say, said) = channel();
        std::thread::spawn(move || say.send(in_runtime(Builder::new_multi_thread(), command)));
        said.recv_timeout(Duration::from_secs(60))
            .expect("the process does not end")
    }

    #[test]
    fn t90_b01_a_daemon_that_panics_ends_whatever_its_threads_hang_in() {
        let code = ends_with(async {
            hang_in_a_call().await;
            panic!("as tokio does when its descriptors fail")
        });
        assert_eq!(code, exit::FAILED);
    }

    #[test]
    fn t90_b01_a_daemon_that_has_ended_ends_whatever_its_threads_hang_in() {
        let code = ends_with(async {
            hang_in_a_call().await;
            exit::SUCCESSFUL
        });
        assert_eq!(code, exit::SUCCESSFUL);
    }
}
