//! The dispatcher: gives waiting jobs to media agents, as the core plans it.

use std::time::{Duration, Instant};

use outlast_core::touched::Rows;
use outlast_core::{Command, dispatch};

use super::Leader;
use crate::reconcilers::{Reconciler, Trouble};
use crate::wakes::Cause;

/// Without any change it looks this often all the same.
const AT_LEAST: Duration = Duration::from_secs(10);
/// How long jobs wait for a member to say on which host it runs: an attempt that begins before is not resilient. Members of a new
/// group, and one that joins, say it within a second; one that is down is not waited for.
const INTRODUCTIONS: Duration = Duration::from_secs(5);

pub(super) struct Dispatcher {
    leader: Leader,
    /// Since when a member has been missing.
    silent_since: Option<Instant>,
    /// For how long still.
    wait: Option<Duration>,
}

impl Dispatcher {
    pub(super) const fn new(leader: Leader) -> Self {
        Self {
            leader,
            silent_since: None,
            wait: None,
        }
    }
}

impl Reconciler for Dispatcher {
    const NAME: &'static str = "dispatcher";
    const WAKES: &'static [Cause] = &[
        Cause::Rows(Rows::Queue),
        Cause::Rows(Rows::Agents),
        Cause::Rows(Rows::Members),
        Cause::Rows(Rows::Settings),
        Cause::Presence,
    ];

    fn period(&self) -> Option<Duration> {
        Some(self.wait.unwrap_or(AT_LEAST))
    }

    async fn look(&mut self) -> Result<Vec<Command>, Trouble> {
        let Leader {
            brain,
            registry,
            live,
            ..
        } = &self.leader;
        let awaited = brain.read().awaits_introductions();
        self.wait = patience(awaited, &mut self.silent_since, Instant::now());
        if self.wait.is_some() {
            return Ok(Vec::new());
        }
        let state = brain.read();
        live.retain(|job| state.job(job).is_some_and(|job| job.running.is_some()));
        Ok(dispatch::plan(&state, &registry.presence()))
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
