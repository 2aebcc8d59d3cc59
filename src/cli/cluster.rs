//! `cluster status`.

use clap::Subcommand;
use outlast_kit::errors;
use outlast_proto::v1;
use outlast_proto::v1::cluster_client::ClusterClient;
use tonic::Status;
use tonic::metadata::MetadataValue;

use super::Desk;
use crate::connection::Connection;
use crate::documents::ClusterDocument;
use crate::error::CliError;
use crate::human::or_dash;
use crate::table::{facts, left, right, table};

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Who leads, and who is there; with --stale as any node sees it
    Status,
}

pub(super) async fn run(command: &ClusterCommand, desk: &Desk<'_>) -> Result<(), CliError> {
    match command {
        ClusterCommand::Status => {
            let status = status(&desk.connect()?).await?;
            desk.output.one(&ClusterDocument::from(&status), view)
        }
    }
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
    let leader = status
        .members
        .iter()
        .find(|member| {
            !status.leader.is_empty() && member.name == status.leader && !member.address.is_empty()
        })
        .map(|member| (member.name.as_str(), member.address.as_str()));
    let mut refusal = errors::not_leader(leader);
    // By this the search tells a node that answers from one that does not.
    let answered = MetadataValue::from_static("application/grpc");
    refusal.metadata_mut().insert("content-type", answered);
    refusal
}

fn view(status: &ClusterDocument) -> String {
    let head = facts(&[
        ("Cluster", or_dash(status.cluster_id.as_ref())),
        ("Leader", or_dash(status.leader.as_ref())),
        ("Term", status.term.to_string()),
        ("Version", or_dash(status.version.as_ref())),
        ("As seen by", or_dash(status.answered_by.as_ref())),
    ]);
    let rows = status.members.iter().map(|member| {
        let reachable = member.reachable.map(|yes| if yes { "yes" } else { "no" });
        [
            member.name.clone(),
            or_dash(member.address.as_ref()),
            or_dash(member.role.as_ref()),
            or_dash(reachable),
            or_dash(member.lag),
        ]
    });
    let columns = [
        left("NAME"),
        left("ADDRESS"),
        left("ROLE"),
        left("REACHABLE"),
        right("LAG"),
    ];
    format!("{head}\n{}", table(columns, rows.collect()))
}
