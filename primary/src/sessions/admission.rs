//! The first messages of a session: who is it, is it known, what does it have to know.

use outlast_core::entry::MediaHello;
use outlast_core::rows::{Agent, JournalCursor};
use outlast_core::{AgentHello, ClusterState, Command, Reply};
use outlast_kit::identity::{Identity, Kind};
use outlast_proto::v1::{AttemptRef, Hello, Welcome};
use outlast_proto::words::{AgentKind, AgentName, JournalId, StartId};
use tonic::Status;

use crate::brain::Brain;
use crate::view::errors;

/// Reads a hello; the name is that of the certificate, and the kind must be, too.
///
/// # Errors
/// The status that ends the session.
pub(super) fn parse_hello(identity: &Identity, hello: &Hello) -> Result<AgentHello, Status> {
    let invalid = |field: &str, why: String| Status::invalid_argument(format!("hello.{field}: {why}"));
    let kind = AgentKind::from_wire(hello.kind).ok_or_else(|| invalid("kind", "is not known".into()))?;
    let certified = match identity.kind {
        Kind::MediaAgent => Some(AgentKind::MediaAgent),
        Kind::ClientAgent => Some(AgentKind::ClientAgent),
        Kind::Primary | Kind::Operator => None,
    };
    if certified != Some(kind) {
        return Err(Status::permission_denied(format!(
            "{identity} may not open a session as {kind}"
        )));
    }
    let name: AgentName = identity
        .name
        .parse()
        .map_err(|error| invalid("name", format!("{error} (of the certificate)")))?;
    if hello.start_id.is_empty() || hello.start_id.len() > 64 {
        return Err(invalid("start_id", "has 1 to 64 characters".into()));
    }
    let media = match kind {
        AgentKind::ClientAgent => None,
        AgentKind::MediaAgent => {
            if hello.journal_id.is_empty() || hello.journal_id.len() > 64 {
                return Err(invalid("journal_id", "has 1 to 64 characters".into()));
            }
            Some(MediaHello {
                journal_id: JournalId(hello.journal_id.clone()),
                pool: hello
                    .pool
                    .parse()
                    .map_err(|error| invalid("pool", format!("{error}")))?,
                storage_unit: hello
                    .storage_unit
                    .parse()
                    .map_err(|error| invalid("storage_unit", format!("{error}")))?,
                repository_id: Some(hello.repository_id.clone()).filter(|id| !id.is_empty()),
                data_addresses: hello.data_addresses.clone(),
            })
        }
    };
    Ok(AgentHello {
        name,
        kind,
        start_id: StartId(hello.start_id.clone()),
        version: hello.version.clone(),
        host_id: hello.host_id.clone(),
        fibre_transport: hello.fibre_transport,
        media,
    })
}

/// Puts the agent into the replicated state, unless it is there just so.
///
/// # Errors
/// The status that ends the session.
pub(super) async fn register(brain: &Brain, hello: &AgentHello) -> Result<(), Status> {
    if is_registered(&brain.read(), hello) {
        return Ok(());
    }
    match brain
        .propose(Command::RegisterAgent { hello: hello.clone() })
        .await
        .map_err(|e| errors::of_brain(&e))?
    {
        Reply::Refused(refusal) => Err(errors::of_refusal(&refusal)),
        _ => Ok(()),
    }
}

fn is_registered(state: &ClusterState, hello: &AgentHello) -> bool {
    let same = |agent: &Agent| {
        let media = match (&agent.media, &hello.media) {
            (None, None) => true,
            (Some(known), Some(new)) => {
                let unit = state.storage_unit(&new.storage_unit);
                known.journal.id == new.journal_id
                    && known.pool == new.pool
                    && known.storage_unit == new.storage_unit
                    && known.data_addresses == new.data_addresses
                    && unit
                        .is_some_and(|u| new.repository_id.is_none() || u.repository_id == new.repository_id)
            }
            _ => false,
        };
        media
            && agent.kind == hello.kind
            && agent.start_id == hello.start_id
            && agent.version == hello.version
            && agent.host_id == hello.host_id
            && agent.fibre_transport == hello.fibre_transport
    };
    state.agent(&hello.name).is_some_and(same)
}

/// What the agent has to know.
pub(super) fn welcome(brain: &Brain, hello: &AgentHello, said: &Hello) -> Option<Welcome> {
    let state = brain.read();
    let cluster = state.cluster()?;
    let agent = state.agent(&hello.name)?;
    let cursor = agent.media.as_ref().map(|media| &media.journal);
    let open = state.running_on(&hello.name).filter_map(|job| {
        job.running
            .as_ref()
            .map(|running| AttemptRef::of(job.id, running.attempt))
    });
    Some(Welcome {
        cluster_id: cluster.id.clone(),
        ticket_key: super::ticket::public_key(cluster).into(),
        primaries: brain
            .raft()
            .status()
            .members
            .iter()
            .map(|m| m.peer.address.clone())
            .collect(),
        journal_acknowledged: cursor.map_or(0, |cursor| cursor.acknowledged),
        begin_new_journal: cursor.is_some_and(|cursor| is_behind(cursor, said)),
        status_updates_ms: cluster.settings.status_updates_ms,
        reconnect_for_seconds: cluster.settings.reconnect_for.0,
        disruption_grace_seconds: cluster.settings.disruption_grace.0,
        open: open.collect(),
    })
}

/// The journal lacks what was acknowledged, or what comes next: a rolled-back or emptied disk.
fn is_behind(cursor: &JournalCursor, said: &Hello) -> bool {
    said.journal_last < cursor.acknowledged || said.journal_first > cursor.acknowledged + 1
}
