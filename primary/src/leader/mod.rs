//! What only the leader runs. `establish` and `revoke` are neighbours over one list of reconcilers.

mod clocks;
mod dispatcher;
mod drain;
mod members;
mod recovery;
mod steward;
mod units;
mod version;
mod watchdog;

use std::collections::BTreeSet;
use std::time::Duration;

use outlast_core::Command;
use outlast_kit::shutdown::Shutdown;
use outlast_kit::tasks::Tasks;
use outlast_kit::tls::Credentials;
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;

use clocks::Clocks;
use dispatcher::Dispatcher;
use drain::Drain;
use members::Members;
use recovery::Recovery;
use steward::Steward;
use units::Units;
use version::{Version, begin_reign};
use watchdog::Watchdog;

use crate::brain::Brain;
use crate::introduction;
use crate::live::Live;
use crate::reconcilers::{Accounts, Of, Reconcilers};
use crate::sessions::Registry;

/// Between two tries to take up leadership.
const RETRY: Duration = Duration::from_millis(50);

/// What a leader works with.
#[derive(Clone)]
pub(crate) struct Leader {
    pub(crate) brain: Brain,
    pub(crate) registry: Registry,
    pub(crate) live: Live,
    pub(crate) tasks: Tasks,
    pub(crate) credentials: Credentials,
    pub(crate) accounts: Accounts,
}

/// Takes up and lays down leadership as the Raft group decides, until shutdown.
pub(crate) async fn follow(leader: Leader, shutdown: Shutdown) {
    let mut leadership = leader.brain.raft().leadership();
    loop {
        if leadership.borrow_and_update().is_me {
            let term_over = shutdown.child();
            if establish(&leader, &term_over).await {
                wait_for_end(&mut leadership, &shutdown).await;
            } else {
                tokio::time::sleep(RETRY).await;
            }
            revoke(&leader, &term_over);
        }
        if shutdown.has_begun() {
            return;
        }
        if !leadership.borrow().is_me {
            tokio::select! {
                changed = leadership.changed() => if changed.is_err() { break },
                () = shutdown.begun() => return,
            }
        }
    }
    // A node that was stopped for a reason, as one that is no member any more, may stay up to say so: whoever stopped it sees to that.
    if leader.brain.raft().stop_reason().is_some() {
        shutdown.begun().await;
    }
}

async fn wait_for_end(
    leadership: &mut tokio::sync::watch::Receiver<outlast_raft::Leadership>,
    shutdown: &Shutdown,
) {
    tokio::select! {
        _ = leadership.wait_for(|now| !now.is_me) => {}
        () = shutdown.begun() => {}
    }
}

/// Starts what only the leader runs. False: leadership was lost again before it began.
async fn establish(leader: &Leader, term_over: &Shutdown) -> bool {
    let Leader { brain, registry, .. } = leader;
    // Decisions are made on everything that earlier leaders committed.
    let is_ready = brain.catch_up().await.is_ok()
        && found_cluster(brain).await
        && number_members(brain).await
        && introduction::by_leader(brain).await
        && begin_reign(brain).await;
    if !is_ready {
        return false;
    }
    tracing::info!(
        node = brain.name(),
        term = brain.raft().leadership().borrow().term,
        "leading"
    );
    registry.open();
    let reconcilers = Reconcilers {
        brain: brain.clone(),
        accounts: leader.accounts.clone(),
        tasks: leader.tasks.clone(),
        of: Of::Leader,
        over: term_over.clone(),
    };
    let context = || leader.clone();
    let (dispatching, draining, watching) = (context(), context(), context());
    let (comparing, looking, sweeping) = (context(), context(), context());
    reconcilers.start(move || Dispatcher::new(dispatching.clone()));
    reconcilers.start(move || Drain(draining.clone()));
    reconcilers.start(move || Watchdog::new(watching.clone()));
    let recovering = context();
    reconcilers.start(move || Recovery::new(recovering.clone()));
    reconcilers.start(move || Clocks::new(&comparing));
    reconcilers.start(move || Units(looking.clone()));
    reconcilers.start(move || Steward::new(sweeping.clone()));
    let (raising, binding) = (brain.clone(), brain.clone());
    reconcilers.start(move || Version(raising.clone()));
    reconcilers.start(move || Members::new(binding.clone()));
    true
}

/// Ends what `establish` started: reconcilers by `term_over`, sessions by closing the registry.
fn revoke(leader: &Leader, term_over: &Shutdown) {
    term_over.begin();
    leader.registry.close();
    leader.live.clear();
}

/// The first leader ever gives the cluster its identity and its ticket key.
async fn found_cluster(brain: &Brain) -> bool {
    if brain.read().cluster().is_some() {
        return true;
    }
    let Ok(key) = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()) else {
        tracing::error!("the system's random number generator failed; the cluster cannot be founded");
        return false;
    };
    let command = Command::FoundCluster {
        cluster_id: uuid::Uuid::new_v4().to_string(),
        ticket_key: key.as_ref().to_vec(),
        timing: brain.me().timing,
        version: brain.me().facts.cluster_version,
    };
    brain.propose(command).await.is_ok()
}

/// Members that formed the group have numbers from the start; they are written down like those that join later.
async fn number_members(brain: &Brain) -> bool {
    let status = brain.raft().status();
    let unknown: Vec<_> = {
        let state = brain.read();
        let known: BTreeSet<_> = state.members().map(|(id, _)| id).collect();
        status
            .members
            .into_iter()
            .filter(|member| !known.contains(&member.id))
            .collect()
    };
    for member in unknown {
        let command = Command::AdmitMember {
            node_id: member.id,
            name: member.peer.name,
        };
        if brain.propose(command).await.is_err() {
            return false;
        }
    }
    true
}
