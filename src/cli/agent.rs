//! `outlast agent`.

use clap::Subcommand;
use outlast_proto::v1;
use outlast_proto::v1::agents_client::AgentsClient;
use outlast_proto::words::AgentAdmin;

use super::Invocation;
use super::thresholds::{ThresholdArgs, shown};
use crate::connection::{Connection, request_id, rpc};
use crate::documents::{AgentDocument, LeavingDocument, RemovedDocument, ThresholdDocument};
use crate::error::CliError;
use crate::human::{or_dash, size, time};
use crate::output::remark;
use crate::table::{facts, left, right, table};

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// All agents
    List,
    /// One agent
    Show { name: String },
    /// Change settings of one agent; those that are not named stay
    Set {
        name: String,
        #[command(flatten)]
        thresholds: ThresholdArgs,
    },
    /// Gives it no new jobs, until it is enabled; running ones go on
    Disable { name: String },
    /// Gives it jobs again
    Enable { name: String },
    /// Gives it no new jobs and moves what runs there to others, so that its host can be taken down when it is empty
    Drain { name: String },
    /// The host of a media agent is gone: its running attempts move to others now
    DeclareDead {
        name: String,
        /// Also if it is heard
        #[arg(long)]
        force: bool,
    },
    /// Takes an agent out of the cluster for good: its certificate is not welcome any more
    Remove {
        name: String,
        /// Its host is gone: jobs that run on it go on in another attempt
        #[arg(long)]
        declare_dead: bool,
        /// Also if nobody else reaches its storage unit, or if it is declared dead and is heard
        #[arg(long)]
        force: bool,
    },
}

pub(super) async fn run(command: AgentCommand, invocation: &Invocation<'_>) -> Result<(), CliError> {
    let connection = invocation.connect()?;
    let stale = connection.stale();
    match command {
        AgentCommand::List => {
            let answer = rpc!(
                connection,
                read,
                AgentsClient,
                list,
                v1::ListAgentsRequest { stale }
            )?;
            let documents: Vec<_> = answer.agents.iter().map(AgentDocument::from).collect();
            invocation.output.list("agents", &documents, view_list)
        }
        AgentCommand::Show { name } => {
            let request = v1::GetAgentRequest { name, stale };
            let agent = rpc!(connection, read, AgentsClient, get, request)?;
            invocation.output.one(&AgentDocument::from(&agent), view_one)
        }
        AgentCommand::Set { name, thresholds } => set(invocation, &connection, name, thresholds).await,
        AgentCommand::Disable { name } => {
            set_admin(invocation, &connection, name, AgentAdmin::Disabled).await
        }
        AgentCommand::Enable { name } => set_admin(invocation, &connection, name, AgentAdmin::Enabled).await,
        AgentCommand::Drain { name } => set_admin(invocation, &connection, name, AgentAdmin::Draining).await,
        AgentCommand::Remove {
            name,
            declare_dead,
            force,
        } => {
            let request = v1::RemoveAgentRequest {
                request_id: request_id(),
                name,
                declare_dead,
                force,
            };
            remove(invocation, &connection, request).await
        }
        AgentCommand::DeclareDead { name, force } => {
            let request = v1::DeclareAgentDeadRequest {
                request_id: request_id(),
                name,
                force,
            };
            let answer = rpc!(connection, write, AgentsClient, declare_dead, request)?;
            let moved = match answer.jobs.as_slice() {
                [] => "no attempt ran on it".to_owned(),
                jobs => format!("jobs that go on in another attempt: {}", jobs.join(", ")),
            };
            remark(&moved);
            invocation
                .output
                .one(&AgentDocument::from(&answer.agent.unwrap_or_default()), view_one)
        }
    }
}

async fn set(
    invocation: &Invocation<'_>,
    connection: &Connection,
    name: String,
    thresholds: ThresholdArgs,
) -> Result<(), CliError> {
    let request = v1::SetAgentRequest {
        request_id: request_id(),
        name,
        failover_after_seconds: thresholds.failover_after,
        stalled_after_seconds: thresholds.stalled_after,
        no_communication_after_seconds: thresholds.no_communication_after,
    };
    let agent = rpc!(connection, write, AgentsClient, set, request)?;
    invocation.output.one(&AgentDocument::from(&agent), view_one)
}

async fn remove(
    invocation: &Invocation<'_>,
    connection: &Connection,
    request: v1::RemoveAgentRequest,
) -> Result<(), CliError> {
    let name = request.name.clone();
    let answer = rpc!(connection, write, AgentsClient, remove, request)?;
    let document = RemovedDocument {
        name,
        removed: true,
        jobs: answer.jobs,
    };
    invocation.output.one(&document, view_removed)
}

async fn set_admin(
    invocation: &Invocation<'_>,
    connection: &Connection,
    name: String,
    admin: AgentAdmin,
) -> Result<(), CliError> {
    let request = v1::SetAgentAdminRequest {
        request_id: request_id(),
        name,
        admin: admin.to_wire(),
    };
    let agent = rpc!(connection, write, AgentsClient, set_admin, request)?;
    if admin == AgentAdmin::Draining && agent.active_jobs == 0 {
        remark("it is empty: nothing runs there");
    }
    invocation.output.one(&AgentDocument::from(&agent), view_one)
}

fn view_removed(removed: &RemovedDocument) -> String {
    let moved = match removed.jobs.as_slice() {
        [] => String::new(),
        jobs => format!("; jobs that go on in another attempt: {}", jobs.join(", ")),
    };
    format!("agent {} removed{moved}\n", removed.name)
}

fn view_list(agents: &[AgentDocument]) -> String {
    let rows = agents.iter().map(|agent| {
        [
            agent.name.clone(),
            or_dash(agent.kind.as_ref()),
            or_dash(agent.state.as_ref()),
            time(agent.since),
            connected(agent),
            time(agent.last_seen),
            or_dash(agent.version.as_ref()),
            or_dash(agent.pool.as_ref()),
            storage(agent),
            agent.active_jobs.to_string(),
        ]
    });
    let columns = [
        left("NAME"),
        left("KIND"),
        left("STATE"),
        left("SINCE"),
        left("CONNECTED"),
        left("LAST SEEN"),
        left("VERSION"),
        left("POOL"),
        left("STORAGE"),
        right("ACTIVE JOBS"),
    ];
    table(columns, rows.collect()) + &agents.iter().filter_map(alarm).collect::<String>()
}

/// The unit, and what is known against it.
fn storage(agent: &AgentDocument) -> String {
    let Some(storage) = &agent.storage else {
        return "-".to_owned();
    };
    match storage.state.as_deref() {
        None | Some("ok") => storage.unit.clone(),
        Some(state) => format!("{} ({state})", storage.unit),
    }
}

/// C-09.
fn alarm(agent: &AgentDocument) -> Option<String> {
    let at = time(Some(agent.turns_taken?));
    Some(format!(
        "\nALARM: two processes take turns under the certificate of agent {}, last at {at}: one of them is a copy; stop it, and give it a \
         certificate of its own\n",
        agent.name
    ))
}

fn connected(agent: &AgentDocument) -> String {
    or_dash(agent.connected.map(|yes| if yes { "yes" } else { "no" }))
}

/// Each job that runs on a media agent that is drained, and what becomes of it (C-08b).
fn leaving(agent: &AgentDocument) -> String {
    let line = |leaving: &LeavingDocument| {
        let job = &leaving.job;
        match &leaving.why {
            None if leaving.moves => {
                format!("job {job} moves: it makes a checkpoint and goes on on another media agent\n")
            }
            why => format!("job {job} stays until it is done: {}\n", or_dash(why.as_ref())),
        }
    };
    agent.leaving.iter().map(line).collect()
}

fn threshold(said: Option<&ThresholdDocument>) -> String {
    or_dash(said.map(shown))
}

fn view_one(agent: &AgentDocument) -> String {
    let storage = agent.storage.as_ref();
    facts(&[
        ("Agent", agent.name.clone()),
        ("Kind", or_dash(agent.kind.as_ref())),
        ("State", or_dash(agent.state.as_ref())),
        ("Set to", or_dash(agent.admin.as_ref())),
        ("Since", time(agent.since)),
        ("Connected", connected(agent)),
        ("Last seen", time(agent.last_seen)),
        ("Version", or_dash(agent.version.as_ref())),
        ("Host id", or_dash(agent.host_id.as_ref())),
        ("Pool", or_dash(agent.pool.as_ref())),
        ("Storage unit", or_dash(agent.storage_unit.as_ref())),
        (
            "Its state",
            or_dash(storage.and_then(|storage| storage.state.as_ref())),
        ),
        (
            "Free there",
            or_dash(storage.and_then(|storage| storage.free_bytes).map(size)),
        ),
        ("Active jobs", agent.active_jobs.to_string()),
        ("Failover after", threshold(agent.failover_after.as_ref())),
        ("Stalled after", threshold(agent.stalled_after.as_ref())),
        (
            "No communication after",
            threshold(agent.no_communication_after.as_ref()),
        ),
    ]) + &leaving(agent)
        + &alarm(agent).unwrap_or_default()
}
