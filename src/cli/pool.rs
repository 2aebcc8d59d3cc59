//! `pool list`, `pool show` and `pool set`.

use clap::Subcommand;
use outlast_proto::v1;
use outlast_proto::v1::pools_client::PoolsClient;
use outlast_proto::words::SelectionMethod;

use super::thresholds::{ThresholdArgs, shown};
use super::{Invocation, parse};
use crate::connection::{request_id, rpc};
use crate::documents::PoolDocument;
use crate::error::CliError;
use crate::human::{duration, or_dash};
use crate::table::{facts, left, right, table};

#[derive(Debug, Subcommand)]
pub(crate) enum PoolCommand {
    /// All pools
    List,
    /// One pool
    Show { name: String },
    /// Change settings of a pool; those that are not named stay
    Set {
        name: String,
        /// Whether jobs move to another media agent of the pool
        #[arg(long, value_name = "on/off", value_parser = parse::switch)]
        failover: Option<bool>,
        /// The media agents of the pool, in the order in which they are chosen
        #[arg(long, value_name = "A,B,..", value_delimiter = ',')]
        order: Vec<String>,
        /// How the media agent of a job is chosen
        #[arg(long, value_name = "M", value_parser = parse::word::<SelectionMethod>)]
        method: Option<SelectionMethod>,
        #[command(flatten)]
        thresholds: ThresholdArgs,
    },
}

pub(super) async fn run(command: PoolCommand, invocation: &Invocation<'_>) -> Result<(), CliError> {
    let connection = invocation.connect()?;
    let stale = connection.stale();
    match command {
        PoolCommand::List => {
            let answer = rpc!(
                connection,
                read,
                PoolsClient,
                list,
                v1::ListPoolsRequest { stale }
            )?;
            let documents: Vec<_> = answer.pools.iter().map(PoolDocument::from).collect();
            invocation.output.list("pools", &documents, view_list)
        }
        PoolCommand::Set {
            name,
            failover,
            order,
            method,
            thresholds,
        } => {
            let request = v1::SetPoolRequest {
                request_id: request_id(),
                name,
                method: method.map(SelectionMethod::to_wire),
                failover,
                order,
                failover_after_seconds: thresholds.failover_after,
                stalled_after_seconds: thresholds.stalled_after,
                no_communication_after_seconds: thresholds.no_communication_after,
            };
            let pool = rpc!(connection, write, PoolsClient, set, request)?;
            invocation.output.one(&PoolDocument::from(&pool), view_one)
        }
        PoolCommand::Show { name } => {
            let request = v1::GetPoolRequest { name, stale };
            let pool = rpc!(connection, read, PoolsClient, get, request)?;
            invocation.output.one(&PoolDocument::from(&pool), view_one)
        }
    }
}

fn on_off(on: bool) -> String {
    if on { "on" } else { "off" }.to_owned()
}

fn seconds(seconds: u64) -> String {
    duration(seconds as f64)
}

fn view_list(pools: &[PoolDocument]) -> String {
    let rows = pools.iter().map(|pool| {
        [
            pool.name.clone(),
            pool.media_agents.join(", "),
            or_dash(pool.method.as_ref()),
            on_off(pool.failover),
            seconds(pool.failover_after),
        ]
    });
    let columns = [
        left("NAME"),
        left("MEDIA AGENTS"),
        left("METHOD"),
        left("FAILOVER"),
        right("AFTER"),
    ];
    table(columns, rows.collect())
}

fn view_one(pool: &PoolDocument) -> String {
    facts(&[
        ("Pool", pool.name.clone()),
        ("Media agents", pool.media_agents.join(", ")),
        ("Method", or_dash(pool.method.as_ref())),
        ("Failover", on_off(pool.failover)),
        ("Failover after", shown(&pool.thresholds.failover_after)),
        ("Stalled after", shown(&pool.thresholds.stalled_after)),
        (
            "No communication after",
            shown(&pool.thresholds.no_communication_after),
        ),
    ])
}
