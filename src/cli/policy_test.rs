//! `policy test`: what a backup would take and leave out. How it is printed is `test_printer`'s.
//!
//! Entries are printed as they come, whatever their number: nothing of them is kept here.

use std::path::PathBuf;

use clap::Args;
use outlast_proto::v1;
use outlast_proto::v1::policies_client::PoliciesClient;

use super::Invocation;
use super::policy::of_file;
use super::test_printer::Printer;
use crate::connection::{Connection, is_silence, rpc};
use crate::error::{CliError, exit};

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// The policy
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    name: Option<String>,
    /// Test a policy file instead, as if it were applied; - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// On this client only [default: all clients of the policy, one after the other]
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// List nothing that would be taken
    #[arg(long)]
    left_out: bool,
    /// List at most so many entries of each client, and count the rest
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// What came of all items so far, as the exit code of a backup.
#[derive(Default)]
struct Found {
    failed: bool,
    exceptions: bool,
}

pub(super) async fn run(args: TestArgs, invocation: &Invocation<'_>) -> Result<u8, CliError> {
    let draft = args.file.as_deref().map(of_file).transpose()?;
    let connection = invocation.connect()?;
    let name = match &draft {
        Some(policy) => policy.name.to_string(),
        None => args.name.unwrap_or_default(),
    };
    let clients = match (args.client, &draft) {
        (Some(client), _) => vec![client],
        (None, Some(policy)) => policy.clients.iter().map(ToString::to_string).collect(),
        (None, None) => clients_of(&connection, &name).await?,
    };
    let request = v1::TestPolicyRequest {
        policy: name.clone(),
        client: String::new(),
        left_out_only: args.left_out,
        most_entries: args.limit,
        draft: draft.as_ref().map(v1::Policy::from),
        items_are_paths: true,
    };
    let mut printer = Printer::new(invocation.output, name);
    let (mut found, mut first_error) = (Found::default(), None);
    let is_only = clients.len() == 1;
    for client in clients {
        let request = v1::TestPolicyRequest {
            client: client.clone(),
            ..request.clone()
        };
        match test(&connection, request, (&mut printer, &client), &mut found).await {
            Ok(()) => {}
            Err(error) if is_only && !printer.has_begun() => return Err(error),
            Err(error @ (CliError::Refused(_) | CliError::BrokenAnswer { .. })) => {
                printer.end_client(&client, Some(&error), first_error.is_some());
                printer.flush().await?;
                first_error.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    printer.end().await?;
    match (first_error, found) {
        (Some(error), _) => Err(error),
        (None, Found { failed: true, .. }) => Ok(exit::FAILED),
        (None, Found { exceptions: true, .. }) => Ok(exit::EXCEPTIONS),
        (None, _) => Ok(exit::SUCCESSFUL),
    }
}

async fn clients_of(connection: &Connection, name: &str) -> Result<Vec<String>, CliError> {
    let request = v1::GetPolicyRequest {
        name: name.to_owned(),
        stale: false,
    };
    let view = rpc!(connection, write, PoliciesClient, get, request)?;
    Ok(view.policy.unwrap_or_default().clients)
}

/// Tests on one client, to its end.
async fn test(
    connection: &Connection,
    request: v1::TestPolicyRequest,
    (printer, client): (&mut Printer, &str),
    found: &mut Found,
) -> Result<(), CliError> {
    let mut stream = rpc!(connection, write, PoliciesClient, test, request)?;
    loop {
        match stream.message().await {
            Ok(Some(response)) => {
                printer.begin_client(client);
                printer.warn(client, &response.warnings);
                if let Some(part) = response.part {
                    note(found, part.item_ended.as_ref());
                    printer.part(client, &part);
                }
                printer.flush().await?;
            }
            Ok(None) => break,
            Err(status) if is_silence(&status) => {
                let reason = outlast_kit::errors::cause_of(&status);
                let reason = format!("{reason}; ask again");
                return Err(CliError::BrokenAnswer { reason });
            }
            Err(status) => return Err(CliError::Refused(status)),
        }
    }
    printer.end_client(client, None, false);
    printer.flush().await
}

fn note(found: &mut Found, item: Option<&v1::DryRunItem>) {
    let Some(item) = item else { return };
    found.failed |= item.error.is_some();
    found.exceptions |= item.exceptions > 0;
}
