//! The dispatcher: which queued job goes to which media agent now, and why the others wait (T-06, T-08, F-02).
//!
//! Pure: state and presence in, proposals out. The leader's reconciler loop in `primary` calls it. Who can take a job at all is `standing`'s, who of
//! those gets it `choice`'s.

mod choice;
mod standing;

use std::collections::{BTreeMap, BTreeSet};

use outlast_proto::words::{AgentAdmin, AgentName, AgentState, PoolName, StorageUnitName};

use crate::entry::Command;
use crate::indexes::Need;
use crate::rows::{Job, JobTask};
use crate::state::ClusterState;

use choice::{Taken, place, select};
use standing::{Line, line, why_none};

pub(crate) use choice::{Blamed, blamed};

/// Who holds a session with the leader right now, and what it says of itself. Never replicated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// Agents with an open session; of media agents the free bytes of their unit, if known.
    pub connected: BTreeMap<AgentName, Option<u64>>,
    /// Those of them whose programs are of before jobs had nonces: what they report of a job that has one counts for another job (S-12b).
    pub without_nonces: BTreeSet<AgentName>,
    /// Media agents that are silent for too long, connected or not.
    pub silent: BTreeSet<AgentName>,
    /// Media agents that cannot use their storage unit now, each with the reason.
    pub problems: BTreeMap<AgentName, String>,
    /// Connected clients of which nothing was heard lately.
    pub unheard: BTreeSet<AgentName>,
}

/// Why a job is not running (T-08).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// A sentence for a person.
    pub reason: String,
    /// The agent or job it waits for.
    pub waits_for: Option<String>,
}

/// How many jobs of one client run at a time (T-06).
const JOBS_PER_CLIENT: usize = 1;

/// The jobs to dispatch now, in order of priority. What it costs grows with the clients that are here and the jobs that can start, not
/// with those that wait (`docs/benchmarks.md`).
#[must_use]
pub fn plan(state: &ClusterState, presence: &Presence) -> Vec<Command> {
    let mut lines: BTreeMap<&Need, Line> = BTreeMap::new();
    let mut firsts: Vec<_> = presence
        .connected
        .keys()
        .filter_map(|client| Some((client, state.indexes.queue.of(client)?)))
        .filter(|(client, _)| why_client_waits(state, presence, client).is_none())
        .filter_map(|(_, needs)| {
            let firsts = needs.iter().filter_map(|(need, turns)| {
                let line = lines.entry(need).or_insert_with(|| line(state, presence, need));
                let line = line.ready().ok().filter(|line| !line.is_empty())?;
                // Almost always the first: what waits for the storage unit of its last attempt lets the next one pass.
                turns.iter().find_map(|turn| {
                    let job = state.job(turn.2)?;
                    let agents = place(state, presence, job, line).ok()?;
                    Some((*turn, job, agents))
                })
            });
            firsts.min_by_key(|(turn, ..)| *turn)
        })
        .collect();
    firsts.sort_unstable_by_key(|(turn, ..)| *turn);
    let mut taken = Taken::default();
    let mut commands = Vec::new();
    for (_, job, agents) in firsts {
        if let Some(media_agent) = select(state, presence, &taken, &job.pool, &agents) {
            *taken.entry(media_agent.clone()).or_default() += 1;
            commands.push(Command::DispatchJob {
                job: job.id,
                version: job.version,
                media_agent,
            });
        }
    }
    commands
}

/// Why a queued job is not dispatched; none if it is about to be.
#[must_use]
pub fn why_waiting(state: &ClusterState, presence: &Presence, job: &Job) -> Option<Waiting> {
    why_client_waits(state, presence, &job.client).or_else(|| {
        let pool = &job.pool;
        if state.pool(pool).is_none() {
            return Some(Waiting {
                reason: format!("pool {pool} does not exist"),
                waits_for: Some(pool.to_string()),
            });
        }
        let need = need_of(job);
        let line = line(state, presence, &need);
        let ready = match line.ready() {
            Ok([]) => {
                return Some(Waiting {
                    reason: why_none(state, presence, &need, job),
                    waits_for: Some(pool.to_string()),
                });
            }
            ready => ready,
        };
        ready.and_then(|ready| place(state, presence, job, ready)).err()
    })
}

/// Whether another media agent could take the job now, if its running attempt were given up.
#[must_use]
pub fn can_move(state: &ClusterState, presence: &Presence, job: &Job) -> bool {
    let running = state.running_of(job).map(|open| &open.media_agent);
    let line = line(state, presence, &need_of(job));
    line.sound().iter().any(|name| Some(name) != running)
}

/// Media agents against whom nothing is known that could take the job now and reach this storage unit.
pub(crate) fn who_reaches(
    state: &ClusterState,
    presence: &Presence,
    job: &Job,
    unit: &StorageUnitName,
) -> Vec<AgentName> {
    let need = Need {
        unit: Some(unit.clone()),
        ..need_of(job)
    };
    let blamed = blamed(state, job);
    let mut able = line(state, presence, &need).sound().to_vec();
    able.retain(|agent| !blamed.holds(state, agent));
    able
}

/// The media agent that a new job of this pool would go to now.
#[must_use]
pub fn candidate(state: &ClusterState, presence: &Presence, pool: &PoolName) -> Option<AgentName> {
    let need = Need {
        pool: pool.clone(),
        unit: None,
        stores: true,
    };
    let line = line(state, presence, &need);
    select(state, presence, &Taken::default(), pool, line.ready().ok()?)
}

/// What a job needs of a media agent.
pub(crate) fn need_of(job: &Job) -> Need {
    Need {
        pool: job.pool.clone(),
        unit: unit_of(job),
        stores: matches!(job.task, JobTask::Backup { .. }),
    }
}

/// The only storage unit the job can use: that of what is restored. A backup can go on in any, and what it finished stays where it is (F-08).
fn unit_of(job: &Job) -> Option<StorageUnitName> {
    match &job.task {
        JobTask::Restore { storage_unit, .. } => Some(storage_unit.clone()),
        JobTask::Backup { .. } => None,
    }
}

/// Why no job of a client can begin (T-06).
fn why_client_waits(state: &ClusterState, presence: &Presence, client: &AgentName) -> Option<Waiting> {
    let waiting = |reason: String, waits_for: &str| {
        let waits_for = Some(waits_for.to_owned());
        Some(Waiting { reason, waits_for })
    };
    let running = || state.running_on(client).filter(|other| other.client == *client);
    if let Some(other) = running().next().filter(|_| running().count() >= JOBS_PER_CLIENT) {
        let other = format!("job {}", other.id);
        return waiting(format!("{other} is running on client {client}"), &other);
    }
    let name = client.as_str();
    match state.client(client) {
        None if state.removed(client).is_some() => waiting(
            format!("client {name} was removed from the cluster: cancel its jobs"),
            name,
        ),
        None => waiting(format!("client {name} has never connected"), name),
        Some(agent) if agent.admin == AgentAdmin::Disabled || agent.state == AgentState::Disabled => {
            waiting(format!("client {name} is disabled"), name)
        }
        Some(_) if !presence.connected.contains_key(client) => {
            waiting(format!("client {name} is not connected"), name)
        }
        Some(_) if is_too_old(state, presence, client) => waiting(format!("client {name} {TOO_OLD}"), name),
        Some(_) => None,
    }
}

/// What an agent without nonces is told to be, and what becomes of its jobs.
const TOO_OLD: &str = "runs a program that is too old for this group: nothing it reports of a job counts, so it gets none (S-12b); \
                       install the primary's version on its host, and the job starts by itself";

/// Whether an agent gets no jobs since nothing it reports of one would count: an attempt would never end.
#[must_use]
pub fn is_too_old(state: &ClusterState, presence: &Presence, agent: &AgentName) -> bool {
    state.has_nonces() && presence.without_nonces.contains(agent)
}
