//! The leader's part in what follows attempts that ended (E-05, F-09): begins jobs again when their time has come, and decides of attempts that
//! lost their clients by who is here. What is due the core plans; it is woken by that, not by a look at every job.

use std::time::{Duration, Instant};

use outlast_core::recovery::{Clients, Reckoning, plan};
use outlast_core::touched::Rows;
use outlast_core::{Command, Reply};
use outlast_proto::words::Timestamp;

use super::Leader;
use crate::reconcilers::{Reconciler, Trouble};
use crate::wakes::Cause;

/// What waits for something that is not noticed is looked at this often.
const AT_LEAST: Duration = Duration::from_secs(10);
/// While it is not known whether a client is there.
const SOON: Duration = Duration::from_secs(1);

pub(super) struct Recovery {
    leader: Leader,
    /// Since when this node leads.
    since: Instant,
    period: Option<Duration>,
    reckoning: Reckoning,
}

impl Recovery {
    pub(super) fn new(leader: Leader) -> Self {
        Self {
            leader,
            since: Instant::now(),
            period: None,
            reckoning: Reckoning::default(),
        }
    }
}

impl Reconciler for Recovery {
    const NAME: &'static str = "recovery";
    const WAKES: &'static [Cause] = &[
        Cause::Rows(Rows::FollowUps),
        Cause::Rows(Rows::Queue),
        Cause::Rows(Rows::Agents),
        Cause::Presence,
    ];

    fn period(&self) -> Option<Duration> {
        self.period
    }

    async fn look(&mut self) -> Result<Vec<Command>, Trouble> {
        let Leader { brain, registry, .. } = &self.leader;
        let now = brain.clock().now();
        let mut presence = registry.presence();
        let unheard = presence.connected.keys();
        presence.unheard = unheard
            .filter(|agent| !registry.is_heard(agent, now))
            .cloned()
            .collect();
        let state = brain.read();
        let now = self.reckoning.look(&state, now, brain.clock().monotonic());
        // Who can has found the new leader by then (F-13).
        let had_time = self.since.elapsed() >= Duration::from_secs(state.settings().disruption_grace.0);
        let due = plan(&state, &presence, Clients { had_time }, now);
        self.period = match due.next {
            _ if state.has_lost_clients() => Some(SOON),
            Some(next) => Some(until(now, next).min(AT_LEAST)),
            None => None,
        };
        Ok(due.commands)
    }

    fn hear(&mut self, command: &Command, reply: &Reply) {
        // Otherwise somebody else was quicker.
        if *reply != Reply::Done {
            return;
        }
        match command {
            Command::SettleLoss { job, verdict, .. } => {
                tracing::warn!(%job, ?verdict, "a job's attempt has lost its client");
            }
            Command::BeginFollowUp { job, .. } => tracing::info!(%job, "a job begins again by a rule"),
            Command::EndFollowUp { job, .. } => {
                tracing::warn!(%job, "nothing went on with a job in time: it is done with the status of its last attempt");
            }
            _ => {}
        }
    }
}

fn until(now: Timestamp, then: Timestamp) -> Duration {
    let micros = u64::try_from(then.0.saturating_sub(now.0)).unwrap_or(0);
    Duration::from_micros(micros)
}
