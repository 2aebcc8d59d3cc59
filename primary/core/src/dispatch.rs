//! The dispatcher: which queued job goes to which media agent now, and why the others wait (T-06, T-08, F-02).
//!
//! Pure: state and presence in, proposals out. The leader's reconciler loop in `primary` calls it.

use std::collections::{BTreeMap, BTreeSet};

use outlast_proto::words::{
    AgentAdmin, AgentName, AgentState, ItemOutcome, JobId, PoolName, SelectionMethod, StorageUnitName,
};

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

/// The jobs to dispatch now, in order of priority. What it costs grows with the clients that are here and the jobs that can start, not
/// with those that wait (`docs/benchmarks.md`).
#[must_use]
pub fn plan(state: &ClusterState, presence: &Presence) -> Vec<Command> {
    let mut usable = BTreeMap::new();
    let mut firsts: Vec<_> = presence
        .connected
        .keys()
        .filter_map(|client| Some((client, state.indexes.queue.of(client)?)))
        .filter(|(client, _)| why_client_waits(state, presence, client).is_none())
        .filter_map(|(_, needs)| {
            let able = needs.iter().filter(|(need, _)| {
                let agents = usable
                    .entry(*need)
                    .or_insert_with(|| usable_agents(state, presence, &need.pool, need.unit.as_ref()));
                !agents.is_empty()
            });
            able.filter_map(|(need, turns)| Some((*turns.first()?, need)))
                .min()
        })
        .collect();
    firsts.sort_unstable();
    let mut taken = Taken::default();
    let mut commands = Vec::new();
    for ((.., id), need) in firsts {
        let Some(job) = state.job(id) else { continue };
        let mut agents = usable.get(need).cloned().unwrap_or_default();
        prefer_others_than_last(state, job, &mut agents);
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
        let waits_for = Some(job.pool.to_string());
        let pool = &job.pool;
        let Some(row) = state.pool(pool) else {
            let reason = format!("pool {pool} does not exist");
            return Some(Waiting { reason, waits_for });
        };
        let unit = unit_of(state, job);
        let is_nobody_there = usable_agents(state, presence, pool, unit.as_ref()).is_empty();
        is_nobody_there.then(|| Waiting {
            reason: why_none(state, presence, (pool, row), unit.as_ref()),
            waits_for,
        })
    })
}

/// Whether another media agent could take the job now, if its running attempt were given up.
#[must_use]
pub fn can_move(state: &ClusterState, presence: &Presence, job: &Job) -> bool {
    let running = state.running_of(job).map(|open| &open.media_agent);
    let unit = unit_of(state, job);
    let others = usable_agents(state, presence, &job.pool, unit.as_ref());
    others.iter().any(|name| Some(name) != running)
}

/// Jobs that this round has given to media agents.
type Taken = BTreeMap<AgentName, usize>;

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

/// Why no media agent of a pool can take a job.
fn why_none(
    state: &ClusterState,
    presence: &Presence,
    (name, pool): (&PoolName, &Pool),
    unit: Option<&StorageUnitName>,
) -> String {
    let here = pool.media_agents.iter();
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
            (Some(row), _) if !row.is_usable() => format!("{agent} is {}", row.why_unusable()),
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
    let usable = usable_agents(state, presence, pool, None);
    select(state, presence, &Taken::default(), pool, &usable)
}

/// Agents of the pool that could run a job, in the pool's order. What an earlier attempt stored is only of use in its own unit.
fn usable_agents(
    state: &ClusterState,
    presence: &Presence,
    pool: &PoolName,
    unit: Option<&StorageUnitName>,
) -> Vec<AgentName> {
    let members = state.pool(pool).map(|pool| pool.media_agents.as_slice());
    let usable = members.unwrap_or_default().iter().filter(|name| {
        let media = state
            .agent(name)
            .filter(|agent| agent.is_usable())
            .and_then(|a| a.media.as_ref());
        presence.connected.contains_key(name)
            && !presence.silent.contains(name)
            && !is_too_old(state, presence, name)
            && media.is_some_and(|media| unit.is_none_or(|unit| *unit == media.storage_unit))
    });
    usable.cloned().collect()
}

/// The only storage unit the job can use: that of what is restored, or of what its earlier attempts finished.
pub(crate) fn unit_of(state: &ClusterState, job: &Job) -> Option<StorageUnitName> {
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
    pool: &PoolName,
    usable: &[AgentName],
) -> Option<AgentName> {
    let load = |name: &AgentName| state.load_of(name) + taken.get(name).copied().unwrap_or(0);
    match state.pool(pool)?.method {
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
fn last_used(state: &ClusterState, taken: &Taken, name: &AgentName) -> (usize, Option<JobId>) {
    (taken.get(name).copied().unwrap_or(0), state.last_job_on(name))
}
