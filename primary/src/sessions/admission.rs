//! The first messages of a session: who is it, is it known, what does it have to know.

use outlast_core::entry::MediaHello;
use outlast_core::session::{is_behind, is_registered, open_attempts};
use outlast_core::{AgentHello, Command, Reply};
use outlast_kit::identity::{Identity, Kind};
use outlast_proto::v1::{Hello, Welcome};
use outlast_proto::words::{AgentKind, AgentName, AttemptId, JournalId, StartId};
use tonic::Status;

use super::marks;
use crate::brain::Brain;
use crate::view::errors;

/// Longest id, version or address an agent may name; all of them go through Raft.
const MAX_TEXT: usize = 256;
/// Addresses a media agent may name.
const MAX_ADDRESSES: usize = 16;

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
    let addresses = hello.data_addresses.iter().map(|text| ("data_addresses", text));
    let texts = [
        ("version", &hello.version),
        ("host_id", &hello.host_id),
        ("repository_id", &hello.repository_id),
    ];
    if let Some((field, _)) = texts
        .into_iter()
        .chain(addresses)
        .find(|(_, text)| text.len() > MAX_TEXT)
    {
        return Err(invalid(field, format!("is longer than {MAX_TEXT} bytes")));
    }
    if hello.data_addresses.len() > MAX_ADDRESSES {
        return Err(invalid(
            "data_addresses",
            format!("are more than {MAX_ADDRESSES}"),
        ));
    }
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
        speaks: hello.speaks,
        media,
    })
}

/// Puts the agent into the replicated state, unless it is there just so. When it returns this node's state is fit to be told: a
/// majority has confirmed that it leads.
///
/// # Errors
/// The status that ends the session.
pub(super) async fn register(brain: &Brain, hello: &AgentHello) -> Result<(), Status> {
    // Another node may lead by now. By a cursor of long ago an agent would leave a good journal behind and interrupt its work, by
    // a list of attempts of long ago forget tickets (C-05).
    brain.catch_up().await.map_err(|e| errors::of_brain(&e))?;
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

/// Takes in what the agent remembers of its group: if that is more than there is, the group was set back to an older copy (S-12b).
///
/// # Errors
/// The status that ends the session.
pub(super) async fn recall(brain: &Brain, agent: &AgentName, said: &Hello) -> Result<(), Status> {
    let remembered = {
        let state = brain.read();
        let remembered = marks::remembered(&state, said);
        if state.is_too_far(remembered.highest_job) {
            tracing::error!(
                %agent, job = %remembered.highest_job, limit = outlast_core::apply::MAX_JUMP,
                "an agent says that it knows a job whose number is too far above those given out to be true; it is not believed: \
                 find out what this agent is"
            );
        }
        state.lost_by(agent, &remembered).map(|_| remembered)
    };
    let Some(remembered) = remembered else {
        return Ok(());
    };
    tracing::error!(
        %agent,
        "this group was set back to an older copy of itself: an agent remembers what is not here any more; `outlast cluster status` \
         says what is missing"
    );
    let agent = agent.clone();
    let taken = brain
        .propose(Command::TakeRecollection { agent, remembered })
        .await;
    match taken.map_err(|e| errors::of_brain(&e))? {
        Reply::Refused(refusal) => Err(errors::of_refusal(&refusal)),
        _ => Ok(()),
    }
}

/// What the agent has to know.
pub(super) fn welcome(brain: &Brain, hello: &AgentHello, said: &Hello) -> Option<Welcome> {
    let state = brain.read();
    let cluster = state.cluster()?;
    let agent = state.agent(&hello.name)?;
    let cursor = agent.media.as_ref().map(|media| &media.journal);
    let open = open_attempts(&state, &hello.name).map(AttemptId::to_ref);
    Some(Welcome {
        cluster_id: cluster.id.clone(),
        ticket_key: super::key::public_key(cluster).into(),
        primaries: brain
            .raft()
            .status()
            .members
            .iter()
            .map(|m| m.peer.address.clone())
            .collect(),
        journal_acknowledged: cursor.map_or(0, |cursor| cursor.acknowledged),
        journal_writer: cursor.map_or(0, |cursor| cursor.writer),
        begin_new_journal: cursor
            .is_some_and(|cursor| is_behind(cursor, said.journal_first, said.journal_last)),
        status_updates_ms: cluster.settings.status_updates_ms,
        reconnect_for_seconds: cluster.settings.reconnect_for.0,
        disruption_grace_seconds: cluster.settings.disruption_grace.0,
        open: open.collect(),
        primary_version: brain.me().facts.version.clone(),
        mark: marks::of_now(&state),
    })
}

#[cfg(test)]
mod tests {
    use outlast_kit::identity::{Identity, Kind};
    use outlast_proto::v1::{AgentKind, Hello};
    use tonic::Code;

    use super::parse_hello;

    fn hello() -> Hello {
        Hello {
            kind: AgentKind::MediaAgent.into(),
            start_id: "start".into(),
            version: "0.1.0".into(),
            host_id: "host".into(),
            journal_id: "journal".into(),
            pool: "default".into(),
            storage_unit: "storage".into(),
            data_addresses: vec!["127.0.0.1:1".into()],
            ..Hello::default()
        }
    }

    fn parsed(kind: Kind, hello: &Hello) -> Result<String, Code> {
        let name = "media-1".to_owned();
        let parsed = parse_hello(&Identity { kind, name }, hello);
        parsed.map(|hello| hello.name.to_string()).map_err(|e| e.code())
    }

    #[test]
    fn a_name_and_a_kind_are_those_of_the_certificate() {
        assert_eq!(parsed(Kind::MediaAgent, &hello()), Ok("media-1".into()));
        for kind in [Kind::ClientAgent, Kind::Operator, Kind::Primary] {
            assert_eq!(parsed(kind, &hello()), Err(Code::PermissionDenied), "{kind:?}");
        }
    }

    #[test]
    fn t90_what_an_agent_says_of_itself_is_short() {
        let long = || "x".repeat(257);
        type Change = fn(&mut Hello, String);
        let table: [(&str, Change); 5] = [
            ("version", |hello, text| hello.version = text),
            ("host_id", |hello, text| hello.host_id = text),
            ("repository_id", |hello, text| hello.repository_id = text),
            ("data_addresses", |hello, text| hello.data_addresses = vec![text]),
            ("data_addresses", |hello, _| {
                hello.data_addresses = vec!["127.0.0.1:1".into(); 17];
            }),
        ];
        for (field, change) in table {
            let mut said = hello();
            change(&mut said, long());
            assert_eq!(
                parsed(Kind::MediaAgent, &said),
                Err(Code::InvalidArgument),
                "{field}"
            );
        }
    }
}
