//! The dispatcher's loop: looks at the state whenever something changed and proposes what is missing.

use std::time::{Duration, Instant};

use outlast_core::{Reply, dispatch};
use outlast_kit::shutdown::Shutdown;

use crate::brain::Brain;
use crate::live::Live;
use crate::sessions::Registry;

/// Changes that come in a burst are looked at together.
const GATHER: Duration = Duration::from_millis(5);
/// Without any change it looks this often all the same.
const AT_LEAST: Duration = Duration::from_secs(10);
/// How long jobs wait for a member to say on which host it runs: an attempt that begins before is not resilient. Members of a new
/// group, and one that joins, say it within a second; one that is down is not waited for.
const INTRODUCTIONS: Duration = Duration::from_secs(5);

pub(crate) async fn run(brain: Brain, registry: Registry, live: Live, term_over: Shutdown) {
    let (mut state, mut presence) = (brain.changes(), registry.changes());
    // Since when a member has been missing.
    let mut silent_since = None;
    loop {
        state.mark_unchanged();
        presence.mark_unchanged();
        let awaited = brain.read().awaits_introductions();
        let wait = patience(awaited, &mut silent_since, Instant::now());
        if wait.is_none() {
            look(&brain, &registry, &live, &term_over).await;
        }
        tokio::select! {
            _ = state.changed() => {}
            _ = presence.changed() => {}
            () = tokio::time::sleep(wait.unwrap_or(AT_LEAST)) => {}
            () = term_over.begun() => return,
        }
        tokio::time::sleep(GATHER).await;
    }
}

/// How long to go on waiting for members that have not introduced themselves; none: they have, or had their time.
fn patience(awaited: bool, silent_since: &mut Option<Instant>, now: Instant) -> Option<Duration> {
    if !awaited {
        *silent_since = None;
        return None;
    }
    let waited = now.duration_since(*silent_since.get_or_insert(now));
    INTRODUCTIONS.checked_sub(waited).filter(|left| !left.is_zero())
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::patience;

    #[test]
    fn r12_members_are_waited_for_but_not_for_long() {
        let (begin, mut since) = (Instant::now(), None);
        for (at, awaited, wait) in [
            (0, false, None),
            (10, true, Some(5)),
            (12, true, Some(3)),
            (15, true, None),
            (99, true, None),
            // They have said it; another one that joins later has its own time.
            (100, false, None),
            (200, true, Some(5)),
            (201, false, None),
        ] {
            let now = begin + Duration::from_secs(at);
            let left = patience(awaited, &mut since, now);
            assert_eq!(left, wait.map(Duration::from_secs), "at {at}");
        }
    }
}
