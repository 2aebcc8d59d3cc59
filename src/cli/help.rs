//! `help` and `completions`: answers that need no cluster.

use clap::{Args, CommandFactory as _, Subcommand};
use clap_complete::Shell;
use serde::Serialize;

use super::{Cli, Invocation};
use crate::error::CliError;
use crate::help_pages;

#[derive(Debug, Args)]
pub(crate) struct HelpArgs {
    #[command(subcommand)]
    topic: Option<HelpTopic>,
}

#[derive(Debug, Subcommand)]
enum HelpTopic {
    /// What a status code means, and what to do
    Code { number: u16 },
    #[command(external_subcommand)]
    Command(Vec<String>),
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    shell: Shell,
}

/// The page of a code for `-o json`.
#[derive(Debug, Serialize)]
struct CodeDocument {
    code: u16,
    text: &'static str,
    page: &'static str,
}

pub(super) fn run(args: &HelpArgs, invocation: &Invocation<'_>) -> Result<(), CliError> {
    match &args.topic {
        Some(HelpTopic::Code { number }) => code(*number, invocation),
        Some(HelpTopic::Command(words)) => command(words, invocation),
        None => command(&[], invocation),
    }
}

fn code(code: u16, invocation: &Invocation<'_>) -> Result<(), CliError> {
    let page = help_pages::page(u32::from(code)).ok_or(CliError::NoSuchCode { code })?;
    let document = CodeDocument {
        code,
        text: outlast_proto::words::StatusCode(code).text(),
        page,
    };
    invocation
        .output
        .one(&document, |document| document.page.to_owned())
}

fn command(words: &[String], invocation: &Invocation<'_>) -> Result<(), CliError> {
    let mut command = Cli::command();
    // Gives every command the options that are understood everywhere.
    command.build();
    for word in words {
        command = command
            .find_subcommand(word)
            .cloned()
            .ok_or_else(|| CliError::NoSuchCommand {
                command: words.join(" "),
            })?;
    }
    invocation.output.text(&command.render_help().to_string())
}

/// Prints the completions for a shell.
pub(super) fn completions(args: &CompletionsArgs, invocation: &Invocation<'_>) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "outlast", &mut script);
    invocation.output.text(&String::from_utf8_lossy(&script))
}
