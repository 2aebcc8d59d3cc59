//! `outlast storage`.

use clap::Subcommand;
use outlast_proto::v1;
use outlast_proto::v1::storage_client::StorageClient;

use super::Invocation;
use crate::connection::{Connection, is_silence, request_id, rpc};
use crate::documents::{CheckDocument, StorageDocument};
use crate::error::{CliError, exit};
use crate::human::{or_dash, size, time};
use crate::output::remark;
use crate::table::{facts, left, right, table};

#[derive(Debug, Subcommand)]
pub(crate) enum StorageCommand {
    /// All storage units
    List,
    /// Look whether everything is there that a unit's repository refers to; a suspect unit that is clean gets backups again
    Check {
        /// The storage unit
        unit: String,
        /// Read every pack, too
        #[arg(long)]
        read_data: bool,
        /// Wait for the end, as it does anyway: a check has no job of its own
        #[arg(long)]
        wait: bool,
    },
}

pub(super) async fn run(command: StorageCommand, invocation: &Invocation<'_>) -> Result<u8, CliError> {
    let connection = invocation.connect()?;
    let stale = connection.stale();
    match command {
        StorageCommand::List => {
            let request = v1::ListStorageRequest { stale };
            let answer = rpc!(connection, read, StorageClient, list, request)?;
            let documents: Vec<_> = answer.units.iter().map(StorageDocument::from).collect();
            invocation.output.list("storage units", &documents, view_list)?;
            Ok(exit::SUCCESSFUL)
        }
        StorageCommand::Check { unit, read_data, .. } => {
            let request = v1::CheckStorageRequest {
                request_id: request_id(),
                name: unit,
                read_data,
            };
            let found = check(&connection, request).await?;
            let document = CheckDocument::from(&found);
            invocation.output.one(&document, view_check)?;
            Ok(match document.clean {
                true => exit::SUCCESSFUL,
                false => exit::FAILED,
            })
        }
    }
}

/// The last word of a check; on the way it is told how far it is.
async fn check(
    connection: &Connection,
    request: v1::CheckStorageRequest,
) -> Result<v1::CheckStorageResponse, CliError> {
    let mut stream = rpc!(connection, write, StorageClient, check, request)?;
    let mut told = String::new();
    loop {
        match stream.message().await {
            Ok(Some(last)) if last.clean.is_some() => return Ok(last),
            Ok(Some(part)) => {
                let done = part
                    .done
                    .saturating_mul(100)
                    .checked_div(part.total)
                    .unwrap_or_default();
                // A line for each tenth is enough for a log.
                let line = format!("{}: {} {} %", part.media_agent, part.step, done / 10 * 10);
                if line != told {
                    remark(&line);
                    told = line;
                }
            }
            Ok(None) => {
                let reason = "the check broke off; begin it again".to_owned();
                return Err(CliError::BrokenAnswer { reason });
            }
            Err(status) if is_silence(&status) => {
                let reason = outlast_kit::errors::cause_of(&status);
                let reason = format!("{reason}; begin the check again");
                return Err(CliError::BrokenAnswer { reason });
            }
            Err(status) => return Err(CliError::Refused(status)),
        }
    }
}

fn view_check(check: &CheckDocument) -> String {
    let verdict = match check.clean {
        true => "clean".to_owned(),
        false => format!("{} things are wrong", check.found),
    };
    let facts = facts(&[
        ("Storage unit", or_dash(check.unit.as_ref())),
        ("Its state", or_dash(check.state.as_ref())),
        ("Checked by", or_dash(check.media_agent.as_ref())),
        ("Found", verdict),
    ]);
    let findings = check.findings.iter().map(|finding| format!("\n{finding}\n"));
    facts + &findings.collect::<String>()
}

fn view_list(units: &[StorageDocument]) -> String {
    let rows = units.iter().map(|unit| {
        [
            unit.unit.clone(),
            or_dash(unit.state.as_ref()),
            time(unit.since),
            or_dash(unit.free_bytes.map(size)),
            unit.media_agents.join(", "),
            unit.restore_points.to_string(),
            unit.lost.to_string(),
        ]
    });
    let columns = [
        left("UNIT"),
        left("STATE"),
        left("SINCE"),
        right("FREE"),
        left("MEDIA AGENTS"),
        right("RESTORE POINTS"),
        right("LOST"),
    ];
    let reasons = units.iter().filter_map(|unit| {
        let (name, state) = (&unit.unit, unit.state.as_ref()?);
        Some(format!("\n{name} is {state}: {}\n", unit.why.as_ref()?))
    });
    let problems = units.iter().flat_map(|unit| {
        let problems = unit.problems.iter();
        problems.map(|problem| {
            format!(
                "\n{} cannot use {} now: {}\n",
                problem.media_agent, unit.unit, problem.text
            )
        })
    });
    table(columns, rows.collect()) + &reasons.chain(problems).collect::<String>()
}
