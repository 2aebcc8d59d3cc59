//! `history list`.

use clap::Subcommand;
use outlast_proto::v1;
use outlast_proto::v1::histories_client::HistoriesClient;

use super::Invocation;
use crate::connection::{Connection, all_pages, rpc};
use crate::documents::HistoryDocument;
use crate::error::CliError;
use crate::human::{elapsed, or_dash, size, time};
use crate::table::{left, right, table};

#[derive(Debug, Subcommand)]
pub(crate) enum HistoryCommand {
    /// Ended attempts, newest first
    List {
        /// Of this job only
        #[arg(long, value_name = "ID")]
        job: Option<String>,
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
}

pub(super) async fn run(command: HistoryCommand, invocation: &Invocation<'_>) -> Result<(), CliError> {
    match command {
        HistoryCommand::List { job, limit } => {
            let histories = list(&invocation.connect()?, &job.unwrap_or_default(), limit).await?;
            let documents: Vec<_> = histories.iter().map(HistoryDocument::from).collect();
            invocation.output.list("histories", &documents, view)
        }
    }
}

async fn list(
    connection: &Connection,
    job: &str,
    limit: Option<usize>,
) -> Result<Vec<v1::History>, CliError> {
    all_pages(limit, |page| async move {
        let request = v1::ListHistoriesRequest {
            page: Some(page),
            stale: connection.stale(),
            job: job.to_owned(),
        };
        let answer = rpc!(connection, read, HistoriesClient, list, request)?;
        Ok((answer.histories, answer.next_page_token))
    })
    .await
}

/// Attempts as a table; also part of `job show`.
pub(super) fn view(histories: &[HistoryDocument]) -> String {
    let rows = histories.iter().map(|history| {
        [
            or_dash(history.job.as_ref()),
            history.attempt.to_string(),
            or_dash(history.media_agent.as_ref()),
            or_dash(history.client.as_ref()),
            history.status_shown(),
            or_dash(history.status_code),
            time(history.started_at),
            elapsed(history.started_at, history.ended_at),
            or_dash(history.files),
            or_dash(history.bytes.map(size)),
            or_dash(history.bytes_new.map(size)),
            or_dash(history.bytes_carried_over.map(size)),
            or_dash(history.bytes_resent.map(size)),
            or_dash(history.exceptions),
        ]
    });
    let columns = [
        right("JOB"),
        right("ATTEMPT"),
        left("MEDIA AGENT"),
        left("CLIENT"),
        left("STATUS"),
        right("CODE"),
        left("STARTED"),
        right("ELAPSED"),
        right("FILES"),
        right("DATA"),
        right("NEW"),
        right("CARRIED OVER"),
        right("SENT AGAIN"),
        right("EXCEPTIONS"),
    ];
    table(columns, rows.collect())
}
