//! What is due about jobs that wait to begin again, and about attempts whose clients were lost (E-05, F-09, F-12, F-18).
//!
//! Pure: state, presence and time in, proposals out. The leader's reconciler of that name calls it. What follows an attempt is decided by
//! `apply::follow_up`; here only whether its time has come.

use std::time::Duration;

use outlast_proto::words::{JobId, Timestamp};

use crate::dispatch::{Presence, Waiting, can_move, is_too_old, why_waiting};
use crate::entry::{Command, LossVerdict};
use crate::rows::Job;
use crate::state::ClusterState;

/// What there is to do, and when there is something next if nothing happens before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Due {
    /// Now.
    pub commands: Vec<Command>,
    /// Then; none: not by time alone.
    pub next: Option<Timestamp>,
}

/// What time it is, as one leader counts it: never before the last entry's, and never standing still, so that a clock that was set back does not keep
/// jobs waiting for as long as it was ahead (B-09).
#[derive(Clone, Copy, Debug, Default)]
pub struct Reckoning {
    /// The time at that moment of the monotonic clock.
    base: (Timestamp, Duration),
}

impl Reckoning {
    /// Now, by the wall clock `now` and the monotonic one.
    pub fn look(&mut self, state: &ClusterState, now: Timestamp, monotonic: Duration) -> Timestamp {
        let (base, since) = self.base;
        let passed = monotonic.saturating_sub(since).as_micros();
        let reckoned = Timestamp(base.0.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX)));
        let last = state.cluster().map_or(now, |cluster| cluster.last_at);
        if last > reckoned || now > reckoned {
            self.base = (last.max(now), monotonic);
        }
        reckoned.max(last).max(now)
    }
}

/// What the leader knows of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clients {
    /// It has led for so long that every client that can has come to it.
    pub had_time: bool,
}

impl ClusterState {
    /// Whether the client of some attempt is lost and it is not decided what follows.
    #[must_use]
    pub fn has_lost_clients(&self) -> bool {
        !self.indexes.lost.is_empty()
    }
}

/// What is due.
#[must_use]
pub fn plan(state: &ClusterState, presence: &Presence, clients: Clients, now: Timestamp) -> Due {
    let mut due = Due::default();
    let lost = state.indexes.lost.iter().filter_map(|id| state.job(*id));
    for job in lost {
        if let Some(verdict) = judge(state, presence, clients, job) {
            due.commands.push(Command::SettleLoss {
                job: job.id,
                version: job.version,
                verdict,
            });
        }
    }
    for (at, id) in &state.indexes.due {
        if *at > now {
            due.take_next(*at);
            break;
        }
        look_at(state, presence, now, *id, &mut due);
    }
    due
}

fn look_at(state: &ClusterState, presence: &Presence, now: Timestamp, id: JobId, due: &mut Due) {
    let Some(job) = state.job(id) else { return };
    let Some(waits) = &job.follow_up.waits else {
        return;
    };
    let version = job.version;
    let is_due = waits.due.is_some_and(|due| due <= now);
    if is_due && why_waiting(state, presence, job).is_none() {
        due.commands.push(Command::BeginFollowUp { job: id, version });
    } else if waits.until <= now {
        due.commands.push(Command::EndFollowUp { job: id, version });
    } else {
        due.take_next(waits.until);
    }
}

impl Due {
    fn take_next(&mut self, at: Timestamp) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

/// What is known of the client of a lost attempt; none: nothing yet.
fn judge(state: &ClusterState, presence: &Presence, clients: Clients, job: &Job) -> Option<LossVerdict> {
    let running = state.running_of(job)?;
    let client = &job.client;
    if !presence.connected.contains_key(client) {
        return clients.had_time.then_some(LossVerdict::Away);
    }
    // Its session may be one that nobody has closed.
    if presence.unheard.contains(client) {
        return None;
    }
    let here = state.agent(client).map(|agent| &agent.start_id);
    let is_new = running.client_start.is_some() && running.client_start.as_ref() != here;
    if is_new || is_too_old(state, presence, client) {
        return Some(LossVerdict::CameBackNew);
    }
    Some(LossVerdict::CutOff {
        can_move: can_move(state, presence, job),
    })
}

/// Why a job that is due does not begin yet (F-12, T-08); none: it is not due, or it is about to.
#[must_use]
pub fn why_not_yet(state: &ClusterState, presence: &Presence, job: &Job, now: Timestamp) -> Option<Waiting> {
    let due = job.follow_up.waits.as_ref()?.due?;
    (due <= now).then(|| why_waiting(state, presence, job))?
}
