//! `pool list` and `pool show`.

use clap::Subcommand;
use outlast_proto::v1;
use outlast_proto::v1::pools_client::PoolsClient;

use super::Desk;
use crate::connection::rpc;
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
}

pub(super) async fn run(command: PoolCommand, desk: &Desk<'_>) -> Result<(), CliError> {
    let connection = desk.connect()?;
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
            desk.output.list("pools", &documents, view_list)
        }
        PoolCommand::Show { name } => {
            let request = v1::GetPoolRequest { name, stale };
            let pool = rpc!(connection, read, PoolsClient, get, request)?;
            desk.output.one(&PoolDocument::from(&pool), view_one)
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
        ("Failover after", seconds(pool.failover_after)),
        ("Stalled after", seconds(pool.stalled_after)),
        ("No communication after", seconds(pool.no_communication_after)),
    ])
}
