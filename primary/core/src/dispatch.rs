//! The dispatcher: which queued job goes to which media agent now, and why the others wait (T-06, T-08, F-02).
//!
//! Pure: state and presence in, proposals out. The leader's reconciler loop in `primary` calls it.

use std::collections::{BTreeMap, BTreeSet};

use outlast_proto::words::{AgentName, AgentState, ItemOutcome, PoolName, SelectionMethod, StorageUnitName};

use crate::entry::Command;
use crate::rows::{Job, JobTask, Pool};
use crate::state::ClusterState;

/// Who holds a session with the leader right now, and what it says of itself. Never replicated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// Agents with an open session; of media agents the free bytes of their unit, if known.
    pub connected: BTreeMap<AgentName, Option<u64>>,
    /// Those of them whose programs are of before jobs had nonces: what they report of a job that has one counts for another job (S-12b).
    pub without_nonces: BTreeSet<AgentName>,
    /// Media agents that are silent for too long, connected or not.
    pub silent: BTreeSet<AgentName>,
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

/// Media agents that are named of those that cannot take a job.
const MOST_NAMED: usize = 5;

/// The jobs to dispatch now, in order of priority.
#[must_use]
pub fn plan(state: &ClusterState, presence: &Presence) -> Vec<Command> {
    let mut taken = Taken::default();
    let mut commands = Vec::new();
    for job in state.waiting_jobs() {
        if let Ok(media_agent) = choose(state, presence, &taken, job) {
            taken.clients.insert(job.client.clone());
            *taken.media_agents.entry(media_agent.clone()).or_default() += 1;
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
    choose(state, presence, &Taken::default(), job).err()
}

/// Whether another media agent could take the job now, if its running attempt were given up.
#[must_use]
pub fn can_move(state: &ClusterState, presence: &Presence, job: &Job) -> bool {
    let running = state.running_of(job).map(|open| &open.media_agent);
    let unit = unit_of(state, job);
    let others = state
        .pool(&job.pool)
        .map(|pool| usable_agents(state, presence, pool, unit.as_ref()));
    others
        .unwrap_or_default()
        .iter()
        .any(|name| Some(name) != running)
}

/// What this round has given away already.
#[derive(Default)]
struct Taken {
    clients: BTreeSet<AgentName>,
    media_agents: BTreeMap<AgentName, usize>,
}

fn choose(state: &ClusterState, presence: &Presence, taken: &Taken, job: &Job) -> Result<AgentName, Waiting> {
    let waiting = |reason: String, waits_for: &str| Waiting {
        reason,
        waits_for: Some(waits_for.to_owned()),
    };
    let running = || {
        state
            .running_on(&job.client)
            .filter(|other| other.client == job.client)
    };
    if running().count() >= JOBS_PER_CLIENT || taken.clients.contains(&job.client) {
        let other = running()
            .next()
            .map_or_else(|| "another job".to_owned(), |other| format!("job {}", other.id));
        return Err(waiting(
            format!("{other} is running on client {}", job.client),
            &other,
        ));
    }
    let client = job.client.as_str();
    match state.client(&job.client) {
        None => return Err(waiting(format!("client {client} has never connected"), client)),
        Some(agent) if agent.state == AgentState::Disabled => {
            return Err(waiting(format!("client {client} is disabled"), client));
        }
        Some(_) if !presence.connected.contains_key(&job.client) => {
            return Err(waiting(format!("client {client} is not connected"), client));
        }
        Some(_) if is_too_old(state, presence, &job.client) => {
            return Err(waiting(format!("client {client} {TOO_OLD}"), client));
        }
        Some(_) => {}
    }
    let pool = state
        .pool(&job.pool)
        .ok_or_else(|| waiting(format!("pool {} does not exist", job.pool), job.pool.as_str()))?;
    let unit = unit_of(state, job);
    let mut usable = usable_agents(state, presence, pool, unit.as_ref());
    prefer_others_than_last(state, job, &mut usable);
    select(state, presence, taken, pool, &usable).ok_or_else(|| {
        waiting(
            why_none(state, presence, &job.pool, unit.as_ref()),
            job.pool.as_str(),
        )
    })
}

/// What an agent without nonces is told to be, and what becomes of its jobs.
const TOO_OLD: &str = "runs a program that is too old for this group: nothing it reports of a job counts, so it gets none (S-12b); \
                       install the primary's version on its host, and the job starts by itself";

/// Whether an agent gets no jobs since nothing it reports of one would count: an attempt would never end.
#[must_use]
pub fn is_too_old(state: &ClusterState, presence: &Presence, agent: &AgentName) -> bool {
    state.has_nonces() && presence.without_nonces.contains(agent)
}

/// Why no media agent of a pool can take a job.
fn why_none(
    state: &ClusterState,
    presence: &Presence,
    name: &PoolName,
    unit: Option<&StorageUnitName>,
) -> String {
    let members = state.pool(name).map(|pool| pool.media_agents.as_slice());
    let here = members.unwrap_or_default().iter();
    let mut here = here
        .filter(|agent| presence.connected.contains_key(agent) && !presence.silent.contains(agent))
        .peekable();
    if here.peek().is_none() {
        return format!("no media agent of pool {name} is connected");
    }
    let why = |agent: &AgentName| {
        let row = state.agent(agent);
        let stores_in = row
            .and_then(|row| row.media.as_ref())
            .map(|media| &media.storage_unit);
        match (row, unit) {
            (Some(row), _) if row.state != AgentState::Enabled => format!("{agent} is {}", row.state.word()),
            _ if is_too_old(state, presence, agent) => format!("{agent} {TOO_OLD}"),
            (_, Some(unit)) if stores_in != Some(unit) => {
                format!("{agent} does not reach storage unit {unit}, where what the job needs lies")
            }
            _ => format!("{agent} has not said where it stores"),
        }
    };
    let named: Vec<_> = here.by_ref().take(MOST_NAMED).map(why).collect();
    let more = here.count();
    let mut text = format!("no media agent of pool {name} can take it: {}", named.join("; "));
    if more > 0 {
        text += &format!("; and {more} more");
    }
    text
}

/// The media agent that a new job of this pool would go to now.
#[must_use]
pub fn candidate(state: &ClusterState, presence: &Presence, pool: &PoolName) -> Option<AgentName> {
    let pool = state.pool(pool)?;
    let usable = usable_agents(state, presence, pool, None);
    select(state, presence, &Taken::default(), pool, &usable)
}

/// Agents of the pool that could run a job, in the pool's order. What an earlier attempt stored is only of use in its own unit.
fn usable_agents(
    state: &ClusterState,
    presence: &Presence,
    pool: &Pool,
    unit: Option<&StorageUnitName>,
) -> Vec<AgentName> {
    let usable = pool.media_agents.iter().filter(|name| {
        let media = state
            .agent(name)
            .filter(|agent| agent.state == AgentState::Enabled)
            .and_then(|a| a.media.as_ref());
        presence.connected.contains_key(name)
            && !presence.silent.contains(name)
            && !is_too_old(state, presence, name)
            && media.is_some_and(|media| unit.is_none_or(|unit| *unit == media.storage_unit))
    });
    usable.cloned().collect()
}

/// The only storage unit the job can use: that of what is restored, or of what its earlier attempts finished.
fn unit_of(state: &ClusterState, job: &Job) -> Option<StorageUnitName> {
    match &job.task {
        JobTask::Restore { storage_unit, .. } => Some(storage_unit.clone()),
        JobTask::Backup { .. } => state
            .items_of(job.id)
            .find_map(|(_, item)| {
                item.restore_point
                    .filter(|_| item.outcome != ItemOutcome::NotStarted)
            })
            .and_then(|id| state.restore_point(&id))
            .map(|point| point.storage_unit.clone()),
    }
}

/// After an interrupted attempt another agent is preferred (S-03); the same one is better than none.
fn prefer_others_than_last(state: &ClusterState, job: &Job, usable: &mut [AgentName]) {
    let history = state.history(job.id, job.last_attempt);
    let last = match state.open_attempt(job.id, job.last_attempt) {
        Some(open) => Some(&open.media_agent),
        None => history.and_then(|history| history.media_agent.as_ref()),
    };
    if let Some(last) = last {
        usable.sort_by_key(|name| name == last);
    }
}

fn select(
    state: &ClusterState,
    presence: &Presence,
    taken: &Taken,
    pool: &Pool,
    usable: &[AgentName],
) -> Option<AgentName> {
    let load = |name: &AgentName| {
        state.running_on(name).count() + taken.media_agents.get(name).copied().unwrap_or(0)
    };
    match pool.method {
        SelectionMethod::Prioritized | SelectionMethod::Failover => usable.first().cloned(),
        SelectionMethod::RoundRobin => usable
            .iter()
            .min_by_key(|name| last_used(state, taken, name))
            .cloned(),
        SelectionMethod::LoadBalanced => {
            let free = |name: &AgentName| presence.connected.get(name).copied().flatten().unwrap_or(0);
            usable
                .iter()
                .min_by_key(|name| (load(name), std::cmp::Reverse(free(name))))
                .cloned()
        }
    }
}

/// When an agent last got a job, as the id of that job: the smallest has waited longest.
fn last_used(state: &ClusterState, taken: &Taken, name: &AgentName) -> (usize, u64) {
    let running = state.running_on(name).map(|job| job.id.0).max();
    let ended = state
        .histories()
        .rev()
        .find(|(.., h)| h.media_agent.as_ref() == Some(name))
        .map(|(job, ..)| job.0);
    (
        taken.media_agents.get(name).copied().unwrap_or(0),
        running.max(ended).unwrap_or(0),
    )
}
