//! `job run`, `list`, `cancel`, `show`, `details`, `log` and `watch`. How jobs look is in `job_view`, the waiting in `follow`.

use clap::{Subcommand, ValueEnum};
use outlast_proto::v1;
use outlast_proto::v1::jobs_client::JobsClient;
use outlast_proto::words::{CompletionStatus, JobState};
use serde::Serialize;

use super::follow::follow;
use super::{Invocation, follow_to_end, job_view, parse};
use crate::connection::{Connection, all_pages, request_id, rpc};
use crate::documents::{DetailDocument, JobDocument};
use crate::error::{CliError, exit};
use crate::joblog::{Report, to_html, to_text};
use crate::output::Format;

#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// Run a policy now
    Run {
        policy: String,
        /// On this client only [default: on all of the policy]
        #[arg(long, value_name = "NAME")]
        client: Option<String>,
        /// Read everything, compare with nothing
        #[arg(long)]
        full: bool,
        /// Wait for the end, and exit with the job's exit code
        #[arg(long)]
        wait: bool,
    },
    /// Jobs, newest first
    List {
        /// Only those in this state
        #[arg(long, value_parser = parse::word::<JobState>)]
        state: Option<JobState>,
        /// Only those that ended so
        #[arg(long, value_parser = parse::word::<CompletionStatus>)]
        status: Option<CompletionStatus>,
        /// Only those of this policy
        #[arg(long, value_name = "NAME")]
        policy: Option<String>,
        /// Only those created then or later: a time, a date, or how long ago
        #[arg(long, value_name = "T", value_parser = parse::moment)]
        since: Option<jiff::Timestamp>,
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// End a job that is not done; what it has finished stays
    Cancel { id: String },
    /// Keep back a job that does not run, until it is released
    Hold { id: String },
    /// Let a held job go on
    Release { id: String },
    /// Begin the next attempt of a job that is incomplete, waits for a retry or is held, now
    Resume { id: String },
    /// Do again, as a new job, what a job did that is done, incomplete or held
    Restart {
        id: String,
        /// Wait for the end, and exit with the job's exit code
        #[arg(long)]
        wait: bool,
    },
    /// One job with its items and attempts
    Show { id: String },
    /// What happened to a job, oldest first
    Details { id: String },
    /// The full report of an attempt
    Log {
        id: String,
        /// Which attempt [default: the last]
        #[arg(long, value_name = "N")]
        attempt: Option<u32>,
        /// How it is written [default: json with -o json, else text]
        #[arg(long, value_enum)]
        format: Option<LogFormat>,
    },
    /// Follow a job to its end, and exit with its exit code
    Watch { id: String },
}

/// How a job log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Html,
    Json,
}

/// What a submission answers.
#[derive(Debug, Serialize)]
struct SubmittedDocument {
    /// The first of them.
    id: Option<String>,
    ids: Vec<String>,
}

pub(super) async fn run(command: JobCommand, invocation: &Invocation<'_>) -> Result<u8, CliError> {
    let connection = invocation.connect()?;
    let stale = connection.stale();
    match command {
        JobCommand::Run {
            policy,
            client,
            full,
            wait,
        } => {
            let request = v1::RunJobRequest {
                request_id: request_id(),
                policy,
                client: client.unwrap_or_default(),
                full,
            };
            let answer = rpc!(connection, write, JobsClient, run, request)?;
            return submitted(invocation, &connection, answer.ids, wait).await;
        }
        JobCommand::List {
            state,
            status,
            policy,
            since,
            limit,
        } => {
            let filter = v1::ListJobsRequest {
                page: None,
                stale,
                state: state.map_or(0, JobState::to_wire),
                status: status.map_or(0, CompletionStatus::to_wire),
                policy: policy.unwrap_or_default(),
                since: since.map(crate::wire::stamp),
            };
            let jobs = list(&connection, &filter, limit).await?;
            let documents: Vec<_> = jobs.iter().map(JobDocument::from).collect();
            invocation.output.list("jobs", &documents, job_view::list)?;
        }
        JobCommand::Cancel { id } => return change(invocation, &connection, Change::Cancel, id).await,
        JobCommand::Hold { id } => return change(invocation, &connection, Change::Hold, id).await,
        JobCommand::Release { id } => return change(invocation, &connection, Change::Release, id).await,
        JobCommand::Resume { id } => return change(invocation, &connection, Change::Resume, id).await,
        JobCommand::Restart { id, wait } => {
            let answer = rpc!(connection, write, JobsClient, restart, named(id))?;
            return submitted(invocation, &connection, answer.ids, wait).await;
        }
        JobCommand::Show { id } => {
            let job = get(&connection, id).await?;
            invocation.output.one(&JobDocument::from(&job), job_view::one)?;
        }
        JobCommand::Details { id } => {
            let request = v1::GetJobRequest { id, stale };
            let answer = rpc!(connection, read, JobsClient, details, request)?;
            let documents: Vec<_> = answer.details.iter().map(DetailDocument::from).collect();
            invocation.output.list("details", &documents, job_view::details)?;
        }
        JobCommand::Log { id, attempt, format } => {
            let request = v1::GetJobLogRequest { id, attempt, stale };
            let answer = rpc!(connection, read, JobsClient, log, request)?;
            print_log(invocation, &Report::new(&answer), format)?;
        }
        JobCommand::Watch { id } => {
            // Asked for once before any waiting: a job that is not there, or no leader, is said at once.
            get(&connection, id.clone()).await?;
            return watch(invocation, &connection, &id).await;
        }
    }
    Ok(exit::SUCCESSFUL)
}

fn named(id: String) -> v1::ChangeJobRequest {
    v1::ChangeJobRequest {
        request_id: request_id(),
        id,
    }
}

/// What a person wants to become of a job.
#[derive(Clone, Copy)]
enum Change {
    Cancel,
    Hold,
    Release,
    Resume,
}

async fn change(
    invocation: &Invocation<'_>,
    connection: &Connection,
    change: Change,
    id: String,
) -> Result<u8, CliError> {
    let job = match change {
        Change::Cancel => {
            let request = v1::CancelJobRequest {
                request_id: request_id(),
                id,
            };
            rpc!(connection, write, JobsClient, cancel, request)
        }
        Change::Hold => rpc!(connection, write, JobsClient, hold, named(id)),
        Change::Release => rpc!(connection, write, JobsClient, release, named(id)),
        Change::Resume => rpc!(connection, write, JobsClient, resume, named(id)),
    }?;
    let said = match change {
        Change::Cancel => job_view::canceled,
        Change::Hold | Change::Release | Change::Resume => job_view::changed,
    };
    invocation.output.one(&JobDocument::from(&job), said)?;
    Ok(exit::SUCCESSFUL)
}

async fn get(connection: &Connection, id: String) -> Result<v1::Job, CliError> {
    let stale = connection.stale();
    rpc!(connection, read, JobsClient, get, v1::GetJobRequest { id, stale })
}

async fn list(
    connection: &Connection,
    filter: &v1::ListJobsRequest,
    limit: Option<usize>,
) -> Result<Vec<v1::Job>, CliError> {
    all_pages(limit, |page| async move {
        let mut request = filter.clone();
        request.page = Some(page);
        let answer = rpc!(connection, read, JobsClient, list, request)?;
        Ok((answer.jobs, answer.next_page_token))
    })
    .await
}

fn print_log(
    invocation: &Invocation<'_>,
    report: &Report,
    format: Option<LogFormat>,
) -> Result<(), CliError> {
    match format {
        Some(LogFormat::Html) => invocation.output.text(&to_html(report)),
        Some(LogFormat::Text) => invocation.output.text(&to_text(report)),
        Some(LogFormat::Json) if invocation.output.format() == Format::Table => {
            crate::output::Output::new(Format::Json).one(report, to_text)
        }
        Some(LogFormat::Json) | None => invocation.output.one(report, to_text),
    }
}

/// Prints the ids of jobs just submitted, or waits for their ends and prints those.
pub(super) async fn submitted(
    invocation: &Invocation<'_>,
    connection: &Connection,
    ids: Vec<String>,
    wait: bool,
) -> Result<u8, CliError> {
    if wait {
        return follow_to_end(connection, &invocation.output, &ids).await;
    }
    let document = SubmittedDocument {
        id: ids.first().cloned(),
        ids,
    };
    invocation.output.one(&document, |document| {
        document.ids.iter().map(|id| format!("{id}\n")).collect()
    })?;
    Ok(exit::SUCCESSFUL)
}

async fn watch(invocation: &Invocation<'_>, connection: &Connection, id: &str) -> Result<u8, CliError> {
    let as_it_goes = invocation.output.format() == Format::Jsonl;
    let job = follow(connection, id, |job| {
        if as_it_goes {
            return invocation.output.one(&JobDocument::from(job), job_view::one);
        }
        Ok(())
    })
    .await?;
    let document = JobDocument::from(&job);
    if !as_it_goes {
        invocation.output.one(&document, job_view::one)?;
    }
    Ok(document.exit_code())
}
