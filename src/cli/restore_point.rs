//! `restore-point list` and `restore-point ls`.

use clap::Subcommand;
use outlast_proto::v1;
use outlast_proto::v1::restore_points_client::RestorePointsClient;

use super::Invocation;
use crate::connection::{Connection, all_pages, is_silence, rpc};
use crate::documents::{FileDocument, RestorePointDocument};
use crate::error::CliError;
use crate::human::{clean, or_dash, size, time};
use crate::output::remark;
use crate::table::{left, right, table};

#[derive(Debug, Subcommand)]
pub(crate) enum RestorePointCommand {
    /// What can be restored, newest first
    List {
        /// Of this client only
        #[arg(long, value_name = "NAME")]
        client: Option<String>,
        /// Of this policy only
        #[arg(long, value_name = "NAME")]
        policy: Option<String>,
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// The files of a folder in a restore point
    Ls {
        /// The restore point, or an unambiguous beginning of its id
        id: String,
        /// The folder [default: the item's own]
        path: Option<String>,
    },
}

pub(super) async fn run(command: RestorePointCommand, invocation: &Invocation<'_>) -> Result<(), CliError> {
    let connection = invocation.connect()?;
    match command {
        RestorePointCommand::List {
            client,
            policy,
            limit,
        } => {
            let filter = v1::ListRestorePointsRequest {
                page: None,
                stale: connection.stale(),
                client: client.unwrap_or_default(),
                policy: policy.unwrap_or_default(),
            };
            let points = list(&connection, &filter, limit).await?;
            let documents: Vec<_> = points.iter().map(RestorePointDocument::from).collect();
            invocation.output.list("restore points", &documents, view_list)
        }
        RestorePointCommand::Ls { id, path } => {
            let request = v1::ListFilesRequest {
                restore_point: id,
                path: path.unwrap_or_default(),
            };
            let documents = files(&connection, request).await?;
            invocation.output.list("files", &documents, view_files)
        }
    }
}

async fn list(
    connection: &Connection,
    filter: &v1::ListRestorePointsRequest,
    limit: Option<usize>,
) -> Result<Vec<v1::RestorePoint>, CliError> {
    all_pages(limit, |page| async move {
        let mut request = filter.clone();
        request.page = Some(page);
        let answer = rpc!(connection, read, RestorePointsClient, list, request)?;
        Ok((answer.restore_points, answer.next_page_token))
    })
    .await
}

async fn files(
    connection: &Connection,
    request: v1::ListFilesRequest,
) -> Result<Vec<FileDocument>, CliError> {
    let mut stream = rpc!(connection, read, RestorePointsClient, list_files, request)?;
    let mut files = Vec::new();
    loop {
        match stream.message().await {
            Ok(Some(part)) => {
                part.warnings
                    .iter()
                    .for_each(|warning| remark(&format!("warning: {}", clean(warning))));
                files.extend(part.files.iter().map(FileDocument::from));
            }
            Ok(None) => return Ok(files),
            Err(status) if is_silence(&status) => {
                let reason = outlast_kit::errors::cause_of(&status);
                return Err(CliError::BrokenAnswer { reason });
            }
            Err(status) => return Err(CliError::Refused(status)),
        }
    }
}

fn view_list(points: &[RestorePointDocument]) -> String {
    let rows = points.iter().map(|point| {
        [
            // Enough to name it; the whole id is in the JSON.
            point.id.chars().take(12).collect(),
            time(point.time),
            or_dash(point.client.as_ref()),
            or_dash(point.policy.as_ref()),
            or_dash(point.item.as_ref()),
            point.files.to_string(),
            size(point.bytes),
            or_dash(point.job.as_ref()),
        ]
    });
    let columns = [
        left("ID"),
        left("TIME"),
        left("CLIENT"),
        left("POLICY"),
        left("ITEM"),
        right("FILES"),
        right("DATA"),
        right("JOB"),
    ];
    let lost = points.iter().filter_map(|point| {
        let (id, since) = (&point.id, time(Some(point.lost?)));
        Some(format!(
            "\nLOST since {since}: {id}: its snapshot is gone from storage unit {}\n",
            or_dash(point.storage_unit.as_ref())
        ))
    });
    table(columns, rows.collect()) + &lost.collect::<String>()
}

fn view_files(files: &[FileDocument]) -> String {
    let rows = files.iter().map(|file| {
        let target = file.link_target.as_ref();
        [
            or_dash(file.r#type.as_ref()),
            file.mode.clone(),
            or_dash(file.user.as_ref()),
            or_dash(file.group.as_ref()),
            size(file.size),
            time(file.modified_at),
            target.map_or_else(
                || file.path.clone(),
                |target| format!("{} -> {target}", file.path),
            ),
        ]
    });
    let columns = [
        left("TYPE"),
        left("MODE"),
        left("USER"),
        left("GROUP"),
        right("SIZE"),
        left("MODIFIED"),
        left("PATH"),
    ];
    table(columns, rows.collect())
}
