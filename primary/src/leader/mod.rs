//! What only the leader runs. `establish` and `revoke` are neighbours over one list of tasks.

mod clocks;
mod dispatcher;
mod watchdog;

use std::collections::BTreeSet;
use std::time::Duration;

use outlast_core::{Command, Reply};
use outlast_kit::shutdown::Shutdown;
use outlast_kit::tasks::Tasks;
use outlast_kit::tls::Credentials;
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;

use crate::brain::{Brain, draw_nonce};
use crate::introduction;
use crate::live::Live;
use crate::sessions::Registry;

/// Between two tries to take up leadership.
const RETRY: Duration = Duration::from_millis(50);
/// Between two tries to bind members to their data directories.
const BIND_AGAIN: Duration = Duration::from_secs(5);

/// What a leader works with.
pub(crate) struct Office {
    pub(crate) brain: Brain,
    pub(crate) registry: Registry,
    pub(crate) live: Live,
    pub(crate) tasks: Tasks,
    pub(crate) credentials: Credentials,
}

/// Takes up and lays down leadership as the Raft group decides, until shutdown.
pub(crate) async fn follow(office: Office, shutdown: Shutdown) {
    let mut leadership = office.brain.raft().leadership();
    loop {
        if leadership.borrow_and_update().is_me {
            let term_over = shutdown.child();
            if establish(&office, &term_over).await {
                wait_for_end(&mut leadership, &shutdown).await;
            } else {
                tokio::time::sleep(RETRY).await;
            }
            revoke(&office, &term_over);
        }
        if shutdown.has_begun() {
            return;
        }
        if !leadership.borrow().is_me {
            tokio::select! {
                changed = leadership.changed() => if changed.is_err() { return },
                () = shutdown.begun() => return,
            }
        }
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
async fn establish(office: &Office, term_over: &Shutdown) -> bool {
    let Office {
        brain,
        registry,
        live,
        tasks,
        credentials,
    } = office;
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
    tasks.spawn(
        "dispatcher",
        dispatcher::run(brain.clone(), registry.clone(), live.clone(), term_over.clone()),
    );
    tasks.spawn(
        "watchdog",
        watchdog::run(brain.clone(), registry.clone(), term_over.clone()),
    );
    tasks.spawn(
        "clocks",
        clocks::run(brain.clone(), credentials.clone(), term_over.clone()),
    );
    tasks.spawn("version", raise_version(brain.clone(), term_over.clone()));
    tasks.spawn("members", bind_members(brain.clone(), term_over.clone()));
    true
}

/// Ends what `establish` started: tasks by `term_over`, sessions by closing the registry.
fn revoke(office: &Office, term_over: &Shutdown) {
    term_over.begin();
    office.registry.close();
    office.live.clear();
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

/// From here on marks are of this leader's reign (S-12b).
async fn begin_reign(brain: &Brain) -> bool {
    // What all members speak may be newer: then agents are asked right away what they remember.
    let spoken = brain.read().version_all_speak();
    if let Some(to) = spoken {
        raise(brain, to).await;
    }
    let knows = brain.read().knows_set_backs();
    let reign = draw_nonce().0;
    !knows || brain.propose(Command::BeginReign { reign }).await.is_ok()
}

async fn raise(brain: &Brain, to: u32) {
    match brain.propose(Command::RaiseClusterVersion { to }).await {
        Ok(Reply::Done) => tracing::info!(
            version = to,
            "all members speak a newer cluster version: it is in force"
        ),
        // Somebody came who does not speak it.
        Ok(_) => {}
        Err(error) => tracing::debug!(%error, "the cluster version could not be raised"),
    }
}

/// Puts a newer cluster version in force as soon as all members speak it (DESIGN 3).
async fn raise_version(brain: Brain, term_over: Shutdown) {
    let mut changes = brain.changes();
    loop {
        changes.mark_unchanged();
        let spoken = brain.read().version_all_speak();
        if spoken.is_some() && !begin_reign(&brain).await {
            tracing::debug!("a reign under the new cluster version could not be begun");
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = term_over.begun() => return,
        }
    }
}

/// Members from before data directories had incarnations get theirs written down, as soon as all of them can say it.
async fn bind_members(brain: Brain, term_over: Shutdown) {
    loop {
        match brain.raft().bind_members().await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => tracing::info!(%error, "members are not bound to their data directories yet"),
        }
        tokio::select! {
            () = tokio::time::sleep(BIND_AGAIN) => {}
            () = term_over.begun() => return,
        }
    }
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
