//! `restore`: a job like any other.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use outlast_proto::v1;
use outlast_proto::v1::jobs_client::JobsClient;

use super::{Invocation, job};
use crate::connection::{request_id, rpc};
use crate::error::CliError;

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The restore point, or an unambiguous beginning of its id
    id: String,
    /// What to restore [default: everything]
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
    /// The folder on the client under which files are put; a relative one counts from the current folder
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The client to restore to [default: the one it came from]
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// What happens to files that are there already
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    overwrite: OverwriteWhen,
    /// Wait for the end, and exit with the job's exit code
    #[arg(long)]
    wait: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum OverwriteWhen {
    /// Leave them alone
    #[default]
    Never,
    /// Replace them
    Always,
    /// Replace those that are older than the one in the restore point
    IfNewer,
}

impl From<OverwriteWhen> for v1::Overwrite {
    fn from(when: OverwriteWhen) -> Self {
        match when {
            OverwriteWhen::Never => v1::Overwrite::Never,
            OverwriteWhen::Always => v1::Overwrite::Always,
            OverwriteWhen::IfNewer => v1::Overwrite::IfNewer,
        }
    }
}

pub(super) async fn run(args: RestoreArgs, invocation: &Invocation<'_>) -> Result<u8, CliError> {
    let connection = invocation.connect()?;
    let request = v1::RestoreRequest {
        request_id: request_id(),
        restore_point: args.id,
        paths: args.paths,
        to: absolute(&args.to)?,
        client: args.client.unwrap_or_default(),
        overwrite: v1::Overwrite::from(args.overwrite).into(),
    };
    let answer = rpc!(connection, write, JobsClient, restore, request)?;
    job::submitted(invocation, &connection, answer.ids, args.wait).await
}

fn absolute(path: &Path) -> Result<String, CliError> {
    let path = std::path::absolute(path).map_err(|source| CliError::NoCurrentFolder { source })?;
    path.into_os_string()
        .into_string()
        .map_err(|path| CliError::NotUtf8 { path: path.into() })
}
