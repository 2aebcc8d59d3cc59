//! This node tells the group on which host it runs and which version it is, until the state says so.
//!
//! The leader proposes it for itself before it decides anything; every other node tells the leader. Called by `node` and `leader`.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use outlast_core::{Command, Reply};
use outlast_kit::leader::Primaries;
use outlast_kit::shutdown::Shutdown;
use outlast_kit::tls::Credentials;
use outlast_proto::v1::DescribeMemberRequest;
use outlast_proto::v1::members_client::MembersClient;

use crate::brain::{Brain, Me};

/// How long one search for the leader takes.
const SEARCH: Duration = Duration::from_secs(2);
/// Between two tries, rising.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Where this node stands in the state it holds.
#[derive(PartialEq, Eq)]
enum Standing {
    /// Not in the group, as far as it knows.
    Outside,
    /// In the group, and what is said of it is true.
    Known,
    /// In the group, and it has to introduce itself.
    Unknown,
}

/// The leader's own introduction. False: it was not made, and cannot be decided without.
pub(crate) async fn by_leader(brain: &Brain) -> bool {
    if standing(brain) != Standing::Unknown {
        return true;
    }
    let Me { node_id, facts, .. } = brain.me();
    let command = Command::DescribeMember {
        node_id: *node_id,
        host_id: facts.host_id.clone(),
        version: facts.version.clone(),
        cluster_version: facts.cluster_version,
    };
    match brain.propose(command).await {
        Ok(Reply::Refused(refusal)) => {
            tracing::info!(%refusal, "this node's introduction was refused");
            true
        }
        Ok(_) => true,
        Err(_) => false,
    }
}

/// Introduces this node to the leader whenever the state says something else of it than it does itself; until shutdown.
pub(crate) async fn keep(brain: Brain, credentials: Credentials, shutdown: Shutdown) {
    let mut changes = brain.changes();
    while !shutdown.has_begun() {
        changes.mark_unchanged();
        if standing(&brain) == Standing::Unknown {
            tokio::select! {
                () = introduce(&brain, &credentials) => continue,
                () = shutdown.begun() => return,
            }
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = shutdown.begun() => return,
        }
    }
}

/// Tells the leader, again and again, until this node's own state shows it.
async fn introduce(brain: &Brain, credentials: &Credentials) {
    let mut pauses = ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times()
        .build();
    let mut said = String::new();
    while standing(brain) == Standing::Unknown {
        // Whoever leads has done it before it decided anything.
        if !brain.leads()
            && let Err(error) = tell(brain, credentials).await
            && error != said
        {
            tracing::info!(
                error,
                "the leader was not told where this node runs yet; trying on"
            );
            said = error;
        }
        let mut changes = brain.changes();
        let shown =
            async { while standing(brain) == Standing::Unknown && changes.changed().await.is_ok() {} };
        let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
        let _ = tokio::time::timeout(pause, shown).await;
    }
}

async fn tell(brain: &Brain, credentials: &Credentials) -> Result<(), String> {
    let Me { node_id, facts, .. } = brain.me();
    let members = brain.raft().status().members.into_iter();
    let others: Vec<_> = members
        .filter(|member| member.id != *node_id)
        .map(|member| member.peer.address)
        .collect();
    let primaries = Primaries::new(credentials.clone(), &others).map_err(|error| error.to_string())?;
    let request = DescribeMemberRequest {
        node_id: *node_id,
        host_id: facts.host_id.clone(),
        version: facts.version.clone(),
        cluster_version: facts.cluster_version,
    };
    let told = primaries
        .call(SEARCH, |channel| {
            let request = request.clone();
            async move { MembersClient::new(channel).describe(request).await.map(drop) }
        })
        .await;
    told.map_err(|error| error.to_string())
}

fn standing(brain: &Brain) -> Standing {
    let (state, me) = (brain.read(), brain.me());
    let row = state.present_members().find(|(id, _)| *id == me.node_id);
    match row {
        None => Standing::Outside,
        Some((_, member)) if member.name != me.name => Standing::Outside,
        Some((_, member)) if member.facts.as_ref() == Some(&me.facts) => Standing::Known,
        Some(_) => Standing::Unknown,
    }
}
