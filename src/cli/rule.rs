//! `rule list`, `show`, `apply`, `enable`, `disable` and `delete`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use outlast_proto::v1;
use outlast_proto::v1::rules_client::RulesClient;

use super::{Invocation, parse};
use crate::connection::{request_id, rpc};
use crate::documents::{AppliedRulesDocument, DeletedDocument, RuleDocument};
use crate::error::CliError;
use crate::human::{clean, duration, nothing, or_dash};
use crate::output::{Format, remark};
use crate::rule_file::{self, RuleFileError};
use crate::table::{facts, left, right, table};

#[derive(Debug, Subcommand)]
pub(crate) enum RuleCommand {
    /// All rules: the built-in ones, then those that were applied
    List,
    /// One rule
    Show { name: String },
    /// Create rules, or make them what a file says; those that it does not name stay
    Apply {
        /// The rule file; - for standard input
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
        /// Show the change and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Let a rule count
    Enable { name: String },
    /// Keep a rule without acting on it
    Disable { name: String },
    /// Delete a rule that is not built in
    Delete { name: String },
}

pub(super) async fn run(command: RuleCommand, invocation: &Invocation<'_>) -> Result<(), CliError> {
    let view = match command {
        RuleCommand::List => return list(invocation).await,
        RuleCommand::Apply { file, dry_run } => return apply(&file, dry_run, invocation).await,
        RuleCommand::Delete { name } => return delete(name, invocation).await,
        RuleCommand::Show { name } => {
            let connection = invocation.connect()?;
            let stale = connection.stale();
            rpc!(
                connection,
                read,
                RulesClient,
                get,
                v1::GetRuleRequest { name, stale }
            )?
        }
        RuleCommand::Enable { name } => {
            let request_id = request_id();
            let request = v1::EnableRuleRequest { request_id, name };
            rpc!(invocation.connect()?, write, RulesClient, enable, request)?
        }
        RuleCommand::Disable { name } => {
            let request_id = request_id();
            let request = v1::DisableRuleRequest { request_id, name };
            rpc!(invocation.connect()?, write, RulesClient, disable, request)?
        }
    };
    invocation.output.one(&RuleDocument::from(&view), view_one)
}

async fn list(invocation: &Invocation<'_>) -> Result<(), CliError> {
    let connection = invocation.connect()?;
    let stale = connection.stale();
    let request = v1::ListRulesRequest { stale };
    let answer = rpc!(connection, read, RulesClient, list, request)?;
    let documents: Vec<_> = answer.rules.iter().map(RuleDocument::from).collect();
    invocation.output.list("rules", &documents, view_list)
}

async fn apply(file: &Path, dry_run: bool, invocation: &Invocation<'_>) -> Result<(), CliError> {
    let (name, text) = parse::text_of(file);
    let text = text.map_err(|source| RuleFileError::Unreadable {
        file: name.clone(),
        source,
    })?;
    let rules = rule_file::parse(&name, &text)?;
    let request = v1::ApplyRulesRequest {
        request_id: request_id(),
        rules: rules.iter().map(v1::Rule::from).collect(),
        dry_run,
    };
    let answer = rpc!(invocation.connect()?, write, RulesClient, apply, request)?;
    let document = AppliedRulesDocument {
        rules: rules.iter().map(|rule| rule.name.to_string()).collect(),
        dry_run,
        changes: answer.changes,
        warnings: answer.warnings,
    };
    if invocation.output.format() == Format::Table {
        for warning in &document.warnings {
            remark(&format!("warning: {}", clean(warning)));
        }
    }
    invocation.output.one(&document, view_applied)
}

async fn delete(name: String, invocation: &Invocation<'_>) -> Result<(), CliError> {
    let request = v1::DeleteRuleRequest {
        request_id: request_id(),
        name: name.clone(),
    };
    rpc!(invocation.connect()?, write, RulesClient, delete, request)?;
    let document = DeletedDocument { name, deleted: true };
    invocation
        .output
        .one(&document, |document| format!("rule {} deleted\n", document.name))
}

fn view_applied(applied: &AppliedRulesDocument) -> String {
    let what = match (applied.changes.is_empty(), applied.dry_run) {
        (true, _) => "they are like this already",
        (false, false) => "changed",
        (false, true) => "would change",
    };
    let changes = applied.changes.iter().map(|change| clean(change));
    let changes: String = changes.map(|change| format!("  {change}\n")).collect();
    format!("rules of the file: {}; {what}\n{changes}", applied.rules.len())
}

fn on_off(on: Option<bool>) -> String {
    or_dash(on.map(|on| if on { "on" } else { "off" }))
}

/// The codes, with the name of their category where the rule is for all of it.
fn covers(rule: &RuleDocument) -> String {
    let codes: Vec<_> = rule.codes.iter().map(ToString::to_string).collect();
    match (&rule.category, codes.is_empty()) {
        (Some(category), _) => format!("{category}: {}", codes.join(", ")),
        (None, true) => nothing(),
        (None, false) => codes.join(", "),
    }
}

fn interval(rule: &RuleDocument) -> String {
    or_dash(rule.interval.map(|seconds| duration(seconds as f64)))
}

fn view_list(rules: &[RuleDocument]) -> String {
    let rows = rules.iter().map(|rule| {
        [
            rule.name.clone(),
            on_off(rule.enabled),
            or_dash(rule.retries),
            interval(rule),
            or_dash(rule.then.as_ref()),
            (if rule.builtin { "yes" } else { "no" }).to_owned(),
            covers(rule),
        ]
    });
    let columns = [
        left("NAME"),
        left("STATE"),
        right("RETRIES"),
        right("INTERVAL"),
        left("THEN"),
        left("BUILT IN"),
        left("CODES"),
    ];
    table(columns, rows.collect())
}

fn view_one(rule: &RuleDocument) -> String {
    facts(&[
        ("Rule", rule.name.clone()),
        ("State", on_off(rule.enabled)),
        ("Built in", (if rule.builtin { "yes" } else { "no" }).to_owned()),
        ("Codes", covers(rule)),
        ("Retries", or_dash(rule.retries)),
        ("Interval", interval(rule)),
        ("Then", or_dash(rule.then.as_ref())),
    ])
}
