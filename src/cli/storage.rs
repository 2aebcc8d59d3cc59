//! `outlast storage`.

use clap::Subcommand;
use outlast_proto::v1;
use outlast_proto::v1::storage_client::StorageClient;

use super::Invocation;
use crate::connection::rpc;
use crate::documents::StorageDocument;
use crate::error::CliError;
use crate::human::{or_dash, size, time};
use crate::table::{left, right, table};

#[derive(Debug, Subcommand)]
pub(crate) enum StorageCommand {
    /// All storage units
    List,
}

pub(super) async fn run(command: StorageCommand, invocation: &Invocation<'_>) -> Result<(), CliError> {
    let connection = invocation.connect()?;
    let stale = connection.stale();
    match command {
        StorageCommand::List => {
            let request = v1::ListStorageRequest { stale };
            let answer = rpc!(connection, read, StorageClient, list, request)?;
            let documents: Vec<_> = answer.units.iter().map(StorageDocument::from).collect();
            invocation.output.list("storage units", &documents, view_list)
        }
    }
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
