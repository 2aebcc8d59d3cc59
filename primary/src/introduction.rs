//! This node tells the group on which host it runs and which version it is, until the state says so.
//!
//! The leader proposes it for itself before it decides anything; every other node tells the leader. Called by `node` and `leader`.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use outlast_core::touched::Rows;
use outlast_core::{Command, Reply};
use outlast_kit::leader::Primaries;
use outlast_kit::tls::Credentials;
use outlast_proto::v1::DescribeMemberRequest;
use outlast_proto::v1::members_client::MembersClient;

use crate::brain::{Brain, Me};
use crate::reconcilers::{Reconciler, Trouble};
use crate::wakes::Cause;

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

/// Introduces this node to the leader whenever the state says something else of it than it does itself.
pub(crate) struct Introduction {
    brain: Brain,
    credentials: Credentials,
    pauses: ExponentialBackoff,
    /// Until the next try; none: the state says what is true.
    pause: Option<Duration>,
}

impl Introduction {
    pub(crate) fn new(brain: Brain, credentials: Credentials) -> Self {
        Self {
            brain,
            credentials,
            pauses: pauses(),
            pause: None,
        }
    }
}

impl Reconciler for Introduction {
    const NAME: &'static str = "introduction";
    const WAKES: &'static [Cause] = &[Cause::Rows(Rows::Members)];

    fn period(&self) -> Option<Duration> {
        self.pause
    }

    async fn look(&mut self) -> Result<Vec<Command>, Trouble> {
        if standing(&self.brain) != Standing::Unknown {
            (self.pauses, self.pause) = (pauses(), None);
            return Ok(Vec::new());
        }
        self.pause = Some(self.pauses.next().unwrap_or(LONGEST_PAUSE));
        // Whoever leads has done it before it decided anything. What was told counts when this node's own state shows it.
        if !self.brain.leads() {
            let told = tell(&self.brain, &self.credentials).await;
            told.map_err(|error| {
                Trouble(format!(
                    "the leader was not told where this node runs yet: {error}"
                ))
            })?;
        }
        Ok(Vec::new())
    }
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
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
