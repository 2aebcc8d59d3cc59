//! `policy apply`, `list`, `show` and `delete`; `test` has a file of its own.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use outlast_proto::v1;
use outlast_proto::v1::policies_client::PoliciesClient;
use outlast_proto::words::Policy;

use super::policy_test::{self, TestArgs};
use super::{Invocation, parse};
use crate::connection::{Connection, all_pages, request_id, rpc};
use crate::documents::{AppliedDocument, DeletedDocument, PolicyDocument};
use crate::error::{CliError, exit};
use crate::human::or_dash;
use crate::output::{Format, remark};
use crate::policy_file::{self, PolicyFileError};
use crate::table::{left, right, table};

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Create a policy, or make it what a file says
    Apply {
        /// The policy file; - for standard input
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
        /// Show the change and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// All policies
    List {
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// One policy, as a file that could be applied again
    Show { name: String },
    /// Delete a policy; its jobs and restore points stay
    Delete { name: String },
    /// What a backup would take and leave out if it ran now; nothing is backed up
    Test(TestArgs),
}

pub(super) async fn run(command: PolicyCommand, invocation: &Invocation<'_>) -> Result<u8, CliError> {
    match command {
        PolicyCommand::Test(args) => return policy_test::run(args, invocation).await,
        PolicyCommand::Apply { file, dry_run } => apply(&file, dry_run, invocation).await?,
        PolicyCommand::List { limit } => {
            let views = list(&invocation.connect()?, limit).await?;
            let documents: Vec<_> = views.iter().map(PolicyDocument::from).collect();
            invocation.output.list("policies", &documents, view_list)?;
        }
        PolicyCommand::Show { name } => {
            let connection = invocation.connect()?;
            let stale = connection.stale();
            let request = v1::GetPolicyRequest { name, stale };
            let view = rpc!(connection, read, PoliciesClient, get, request)?;
            invocation
                .output
                .one(&PolicyDocument::from(&view), |_| as_file(&view))?;
        }
        PolicyCommand::Delete { name } => {
            let request = v1::DeletePolicyRequest {
                request_id: request_id(),
                name: name.clone(),
            };
            rpc!(invocation.connect()?, write, PoliciesClient, delete, request)?;
            let document = DeletedDocument { name, deleted: true };
            invocation.output.one(&document, |document| {
                format!("policy {} deleted\n", document.name)
            })?;
        }
    }
    Ok(exit::SUCCESSFUL)
}

async fn apply(file: &Path, dry_run: bool, invocation: &Invocation<'_>) -> Result<(), CliError> {
    let policy = of_file(file)?;
    let request = v1::ApplyPolicyRequest {
        request_id: request_id(),
        policy: Some(v1::Policy::from(&policy)),
        dry_run,
        items_are_paths: true,
    };
    let answer = rpc!(invocation.connect()?, write, PoliciesClient, apply, request)?;
    let document = AppliedDocument {
        name: policy.name.to_string(),
        dry_run,
        created: answer.created,
        changes: answer.changes,
        revision: answer.revision,
        warnings: answer.warnings,
    };
    if invocation.output.format() == Format::Table {
        for warning in &document.warnings {
            remark(&format!("warning: {}", crate::human::clean(warning)));
        }
    }
    invocation.output.one(&document, view_applied)
}

/// The policy that a file has.
pub(super) fn of_file(file: &Path) -> Result<Policy, PolicyFileError> {
    let (name, text) = read(file)?;
    policy_file::parse(&name, &text)
}

/// The text, and what errors call it.
fn read(file: &Path) -> Result<(String, String), PolicyFileError> {
    let (name, text) = parse::text_of(file);
    match text {
        Ok(text) => Ok((name, text)),
        Err(source) => Err(PolicyFileError::Unreadable { file: name, source }),
    }
}

/// As a file that could be applied again; what is off is said in comments (L-06).
fn as_file(view: &v1::PolicyView) -> String {
    let off = view.without_effect.iter();
    let off: String = off
        .map(|off| format!("# off: {}\n", crate::human::clean(&off.text)))
        .collect();
    off + &policy_file::to_text(&view.policy.clone().unwrap_or_default())
}

async fn list(connection: &Connection, limit: Option<usize>) -> Result<Vec<v1::PolicyView>, CliError> {
    let stale = connection.stale();
    all_pages(limit, |page| async move {
        let page = Some(page);
        let request = v1::ListPoliciesRequest { page, stale };
        let answer = rpc!(connection, read, PoliciesClient, list, request)?;
        Ok((answer.policies, answer.next_page_token))
    })
    .await
}

fn view_applied(applied: &AppliedDocument) -> String {
    let what = match (applied.created, applied.changes.is_empty(), applied.dry_run) {
        (true, _, false) => "created",
        (true, _, true) => "would be created",
        (false, true, _) => "is like this already",
        (false, false, false) => "changed",
        (false, false, true) => "would change",
    };
    let changes: String = applied
        .changes
        .iter()
        .map(|change| format!("  {}\n", crate::human::clean(change)))
        .collect();
    format!("policy {} {what}\n{changes}", applied.name)
}

fn view_list(policies: &[PolicyDocument]) -> String {
    let rows = policies.iter().map(|policy| {
        [
            policy.name.clone(),
            or_dash(policy.r#type.as_ref()),
            policy.clients.join(", "),
            policy.items.len().to_string(),
            or_dash(policy.pool.as_ref()),
            policy
                .schedule
                .iter()
                .map(|schedule| schedule.name.as_str())
                .collect::<Vec<_>>()
                .join(", "),
            policy.revision.to_string(),
        ]
    });
    let columns = [
        left("NAME"),
        left("TYPE"),
        left("CLIENTS"),
        right("ITEMS"),
        left("POOL"),
        left("SCHEDULES"),
        right("REVISION"),
    ];
    table(columns, rows.collect())
}

#[cfg(test)]
mod tests {
    use super::view_applied;
    use crate::documents::AppliedDocument;

    #[test]
    fn an_applied_policy_says_what_happened() {
        for (created, changes, dry_run, expected) in [
            (true, vec![], false, "policy home created\n"),
            (true, vec![], true, "policy home would be created\n"),
            (false, vec![], false, "policy home is like this already\n"),
            (false, vec!["items"], true, "policy home would change\n  items\n"),
            (false, vec!["items"], false, "policy home changed\n  items\n"),
        ] {
            let document = AppliedDocument {
                name: "home".into(),
                dry_run,
                created,
                changes: changes.into_iter().map(str::to_owned).collect(),
                revision: 1,
                warnings: vec![],
            };
            assert_eq!(view_applied(&document), expected);
        }
    }
}
