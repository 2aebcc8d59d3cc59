//! `cluster`: the primary's own group and the cluster-wide settings.

use std::time::Duration;

use clap::Subcommand;
use outlast_kit::errors;
use outlast_proto::v1;
use outlast_proto::v1::cluster_client::ClusterClient;
use tonic::Status;
use tonic::metadata::MetadataValue;

use super::thresholds::{ThresholdArgs, shown};
use super::{Invocation, parse};
use crate::connection::{Connection, request_id, rpc};
use crate::documents::{
    AcknowledgedDocument, AlarmDocument, ClusterDocument, InitDocument, MemberDocument, NodeDocument,
    ReconcilerDocument, SettingsDocument,
};
use crate::error::CliError;
use crate::human::{self, clean, or_dash};
use crate::table::{facts, left, right, table};

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Who leads, and who is there; with --stale as any node sees it
    Status,
    #[command(flatten)]
    Group(GroupCommand),
    /// The nodes of the group
    Members,
    /// Show the cluster-wide settings, or change those that are named
    Set {
        /// Whether jobs may go on without a primary
        #[arg(long, value_name = "on/off", value_parser = parse::switch)]
        resilience: Option<bool>,
        /// How long a job that is not resilient lives without a primary
        #[arg(long, value_name = "D", value_parser = parse::duration)]
        disruption_grace: Option<Duration>,
        /// How long a broken data stream may take to come back
        #[arg(long, value_name = "D", value_parser = parse::duration)]
        reconnect_for: Option<Duration>,
        /// Patience of elections: lan (nodes in one place) or wan; counts from each node's next start
        #[arg(long, value_name = "lan/wan")]
        timing: Option<String>,
        #[command(flatten)]
        thresholds: ThresholdArgs,
    },
}

/// Commands that change the group.
#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// Make a new group of the one node the context names; more nodes join it
    Init,
    /// Take a running node into the group
    Join {
        /// Its number, never used before in this cluster
        #[arg(long, value_name = "N")]
        node_id: u64,
        /// Its name, as in its certificate
        #[arg(long)]
        name: String,
        /// Where the others and all agents reach it
        #[arg(long, value_name = "HOST:PORT")]
        address: String,
    },
    /// Hand leadership over, to a given node or to the one that is furthest
    TransferLeader {
        /// The node that shall lead
        name: Option<String>,
    },
    /// Take a node out of the group for good; its number is never used again
    Remove { name: String },
    /// Say that an alarm has been dealt with: `cluster status` shows it no more
    Acknowledge {
        /// Its number, as `cluster status` shows it
        number: u32,
    },
}

pub(super) async fn run(command: ClusterCommand, invocation: &Invocation<'_>) -> Result<(), CliError> {
    let connection = invocation.connect()?;
    match command {
        ClusterCommand::Status => {
            let status = status(&connection).await?;
            invocation.output.one(&ClusterDocument::from(&status), view)
        }
        ClusterCommand::Members => {
            let members = ClusterDocument::from(&status(&connection).await?).members;
            invocation.output.list("members", &members, members_view)
        }
        ClusterCommand::Group(change) => change_group(change, &connection, invocation).await,
        ClusterCommand::Set {
            resilience,
            disruption_grace,
            reconnect_for,
            timing,
            thresholds,
        } => {
            let change = v1::ChangeSettingsRequest {
                request_id: request_id(),
                resilience,
                disruption_grace_seconds: disruption_grace.map(|d| d.as_secs()),
                reconnect_for_seconds: reconnect_for.map(|d| d.as_secs()),
                timing,
                failover_after_seconds: thresholds.failover_after,
                stalled_after_seconds: thresholds.stalled_after,
                no_communication_after_seconds: thresholds.no_communication_after,
            };
            let settings = set(&connection, change).await?;
            invocation
                .output
                .one(&SettingsDocument::from(&settings), settings_view)
        }
    }
}

async fn change_group(
    command: GroupCommand,
    connection: &Connection,
    invocation: &Invocation<'_>,
) -> Result<(), CliError> {
    let request_id = request_id();
    match command {
        GroupCommand::Init => {
            // Not the leader's business: there is none yet.
            let request = v1::InitRequest {};
            let answer = rpc!(connection, write_slowly, ClusterClient, init, request)?;
            invocation.output.one(
                &InitDocument {
                    cluster_id: answer.cluster_id,
                },
                |done| format!("cluster {} is founded", done.cluster_id),
            )
        }
        GroupCommand::Join {
            node_id,
            name,
            address,
        } => {
            let request = v1::JoinRequest {
                request_id,
                node_id,
                name: name.clone(),
                address,
            };
            rpc!(connection, write_slowly, ClusterClient, join, request)?;
            invocation.output.one(&NodeDocument { name }, |node| {
                format!("{} is a member and votes", node.name)
            })
        }
        GroupCommand::Remove { name } => {
            let request = v1::RemoveRequest {
                request_id,
                name: name.clone(),
            };
            rpc!(connection, write_slowly, ClusterClient, remove, request)?;
            invocation.output.one(&NodeDocument { name }, |node| {
                format!("{} has left; stop its process", node.name)
            })
        }
        GroupCommand::Acknowledge { number } => {
            let request = v1::AcknowledgeAlarmRequest { request_id, number };
            rpc!(connection, write, ClusterClient, acknowledge_alarm, request)?;
            invocation.output.one(&AcknowledgedDocument { number }, |alarm| {
                format!("alarm {} is acknowledged", alarm.number)
            })
        }
        GroupCommand::TransferLeader { name } => {
            let request = v1::TransferLeaderRequest {
                to: name.unwrap_or_default(),
            };
            let answer = rpc!(connection, write_slowly, ClusterClient, transfer_leader, request)?;
            invocation
                .output
                .one(&NodeDocument { name: answer.leader }, |node| {
                    format!("{} leads", node.name)
                })
        }
    }
}

/// Changes what is named; when nothing is, only looks.
async fn set(connection: &Connection, change: v1::ChangeSettingsRequest) -> Result<v1::Settings, CliError> {
    let named = v1::ChangeSettingsRequest {
        request_id: String::new(),
        ..change.clone()
    };
    if named == v1::ChangeSettingsRequest::default() {
        let request = v1::GetSettingsRequest {
            stale: connection.stale(),
        };
        return rpc!(connection, read, ClusterClient, get_settings, request);
    }
    rpc!(connection, write, ClusterClient, change_settings, change)
}

fn settings_view(settings: &SettingsDocument) -> String {
    facts(&[
        (
            "Resilience",
            if settings.resilience { "on" } else { "off" }.to_owned(),
        ),
        ("Disruption grace", format!("{} s", settings.disruption_grace)),
        ("Reconnect for", format!("{} s", settings.reconnect_for)),
        ("Timing", settings.timing.clone()),
        ("Failover after", shown(&settings.thresholds.failover_after)),
        ("Stalled after", shown(&settings.thresholds.stalled_after)),
        (
            "No communication after",
            shown(&settings.thresholds.no_communication_after),
        ),
    ])
}

/// The status as the leader sees it, since only the leader knows who is reachable; with `--stale` as anyone does.
async fn status(connection: &Connection) -> Result<v1::ClusterStatus, CliError> {
    let stale = connection.stale();
    connection
        .read(|channel| async move {
            let answer = ClusterClient::new(channel)
                .status(v1::ClusterStatusRequest {})
                .await?
                .into_inner();
            if stale || is_of_leader(&answer) {
                Ok(answer)
            } else {
                Err(elsewhere(&answer))
            }
        })
        .await
}

fn is_of_leader(status: &v1::ClusterStatus) -> bool {
    !status.leader.is_empty() && (status.answered_by.is_empty() || status.answered_by == status.leader)
}

/// Any node answers this question, so a follower's answer is turned into the refusal other calls get from it: the
/// search for the leader goes on where it points.
fn elsewhere(status: &v1::ClusterStatus) -> Status {
    let mut refusal = refusal(status);
    // By this the search tells a node that answers from one that does not.
    let answered = MetadataValue::from_static("application/grpc");
    refusal.metadata_mut().insert("content-type", answered);
    refusal
}

fn refusal(status: &v1::ClusterStatus) -> Status {
    if !status.notice.is_empty() {
        return Status::unavailable(&status.notice);
    }
    let leader = status
        .members
        .iter()
        .find(|member| {
            !status.leader.is_empty() && member.name == status.leader && !member.address.is_empty()
        })
        .map(|member| (member.name.as_str(), member.address.as_str()));
    errors::not_leader(leader)
}

fn view(status: &ClusterDocument) -> String {
    if let Some(notice) = &status.notice {
        return format!("{}: {}\n", or_dash(status.answered_by.as_ref()), clean(notice));
    }
    let head = facts(&[
        ("Cluster", or_dash(status.cluster_id.as_ref())),
        ("Leader", or_dash(status.leader.as_ref())),
        ("Term", status.term.to_string()),
        ("Version", or_dash(status.version.as_ref())),
        ("As seen by", or_dash(status.answered_by.as_ref())),
    ]);
    let alarms: String = status.alarms.iter().map(alarm_view).collect();
    let troubled = reconcilers_view(&status.reconcilers);
    let settings = status.settings.as_ref().map(settings_view);
    let settings = settings.map(|text| format!("\n{text}")).unwrap_or_default();
    let members = members_view(&status.members);
    format!("{alarms}{head}\n{members}{settings}{troubled}")
}

/// Those that do not get on, or had to begin again.
fn reconcilers_view(reconcilers: &[ReconcilerDocument]) -> String {
    let troubled = reconcilers
        .iter()
        .filter(|reconciler| reconciler.error.is_some() || reconciler.restarts > 0);
    let rows: Vec<_> = troubled
        .map(|reconciler| {
            [
                reconciler.name.clone(),
                human::time(reconciler.last_run),
                reconciler.restarts.to_string(),
                or_dash(reconciler.error.as_ref()),
            ]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let columns = [left("PART"), left("LAST LOOK"), right("PANICS"), left("TROUBLE")];
    format!("\n{}", table(columns, rows))
}

fn alarm_view(alarm: &AlarmDocument) -> String {
    let number = alarm
        .number
        .map(|number| format!(" {number}"))
        .unwrap_or_default();
    format!("ALARM{number}: {}\n", clean(&alarm.text))
}

fn members_view(members: &[MemberDocument]) -> String {
    let rows = members.iter().map(|member| {
        let reachable = member.reachable.map(|yes| if yes { "yes" } else { "no" });
        [
            member.node_id.to_string(),
            member.name.clone(),
            or_dash(member.address.as_ref()),
            or_dash(member.role.as_ref()),
            or_dash(reachable),
            or_dash(member.lag),
        ]
    });
    let columns = [
        right("NODE"),
        left("NAME"),
        left("ADDRESS"),
        left("ROLE"),
        left("REACHABLE"),
        right("LAG"),
    ];
    table(columns, rows.collect())
}
