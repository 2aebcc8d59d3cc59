//! The dispatcher's loop: looks at the state whenever something changed and proposes what is missing.

use std::time::Duration;

use outlast_core::{Reply, dispatch};
use outlast_kit::shutdown::Shutdown;

use crate::brain::Brain;
use crate::live::Live;
use crate::sessions::Registry;

/// Changes that come in a burst are looked at together.
const GATHER: Duration = Duration::from_millis(5);
/// Without any change it looks this often all the same.
const AT_LEAST: Duration = Duration::from_secs(10);

pub(crate) async fn run(brain: Brain, registry: Registry, live: Live, term_over: Shutdown) {
    let (mut state, mut presence) = (brain.changes(), registry.changes());
    loop {
        state.mark_unchanged();
        presence.mark_unchanged();
        look(&brain, &registry, &live, &term_over).await;
        tokio::select! {
            _ = state.changed() => {}
            _ = presence.changed() => {}
            () = tokio::time::sleep(AT_LEAST) => {}
            () = term_over.begun() => return,
        }
        tokio::time::sleep(GATHER).await;
    }
}

async fn look(brain: &Brain, registry: &Registry, live: &Live, term_over: &Shutdown) {
    let commands = {
        let state = brain.read();
        live.retain(|job| state.job(job).is_some_and(|job| job.running.is_some()));
        dispatch::plan(&state, &registry.presence())
    };
    for command in commands {
        if term_over.has_begun() {
            return;
        }
        match brain.propose(command).await {
            // Refused means the state moved on; the next look sees why.
            Ok(Reply::Refused(refusal)) => tracing::debug!(%refusal, "a dispatch was refused"),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "a job could not be dispatched; trying again");
                return;
            }
        }
    }
}
