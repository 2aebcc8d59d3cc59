//! Who of the media agents that can take a job gets it: what earlier attempts of the job are to it, then the pool's method (F-02, F-08, S-03).

use std::collections::BTreeMap;

use outlast_proto::words::{
    AgentName, Attempt, ItemOutcome, JobId, PoolName, SelectionMethod, StatusCode, StorageFault,
    StorageUnitName,
};

use super::standing::{Standing, standing};
use super::{Presence, Waiting, need_of};
use crate::rows::{History, Job, JobTask};
use crate::state::ClusterState;

/// Jobs that this round has given to media agents.
pub(super) type Taken = BTreeMap<AgentName, usize>;

/// What ended attempts of a job for a reason that is the storage's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Blamed {
    agents: BTreeMap<AgentName, (Attempt, StatusCode)>,
    units: BTreeMap<StorageUnitName, (Attempt, StatusCode)>,
}

impl Blamed {
    /// For a person; none: it is not blamed.
    pub(super) fn why(&self, state: &ClusterState, agent: &AgentName) -> Option<String> {
        let unit = state.unit_of_agent(agent);
        let at_agent = self.agents.get(agent).map(|said| (agent.as_str(), said));
        let (who, (attempt, code)) = at_agent.or_else(|| {
            let unit = unit?;
            Some((unit.as_str(), self.units.get(unit)?))
        })?;
        Some(format!("{who} ended attempt {attempt} of this job with {code}"))
    }

    /// Whether a job has gone on elsewhere for one of these reasons.
    pub(crate) fn has_moved(&self, state: &ClusterState, job: JobId) -> bool {
        let faults = self.agents.values().chain(self.units.values());
        let mut histories = faults.filter_map(|(attempt, _)| state.history(job, *attempt));
        histories.any(|history| history.status.goes_on())
    }

    pub(crate) fn holds(&self, state: &ClusterState, agent: &AgentName) -> bool {
        self.agents.contains_key(agent)
            || state
                .unit_of_agent(agent)
                .is_some_and(|unit| self.units.contains_key(unit))
    }
}

/// By its histories.
pub(crate) fn blamed(state: &ClusterState, job: &Job) -> Blamed {
    let mut blamed = Blamed::default();
    for (attempt, history) in state.histories_of(job.id) {
        let (Some(agent), Some((fault, code))) = (&history.media_agent, fault_of(history)) else {
            continue;
        };
        match fault {
            StorageFault::AtThisAgent => {
                blamed.agents.insert(agent.clone(), (attempt, code));
            }
            StorageFault::Full | StorageFault::OfTheUnit => {
                if let Some(unit) = state.unit_of_agent(agent) {
                    blamed.units.insert(unit.clone(), (attempt, code));
                }
            }
        }
    }
    blamed
}

/// What failed, as its media agent said it, or as the code says where that is one of before this was told.
fn fault_of(history: &History) -> Option<(StorageFault, StatusCode)> {
    let code = history.error.as_ref().map_or(history.code, |error| error.code);
    let by_code = match code {
        StatusCode::STORAGE_UNIT_NOT_AVAILABLE => Some(StorageFault::AtThisAgent),
        StatusCode::STORAGE_FULL => Some(StorageFault::Full),
        StatusCode::STORAGE_WRITE_ERROR => Some(StorageFault::OfTheUnit),
        _ => None,
    };
    Some((history.storage.or(by_code)?, code))
}

/// Those of `ready` that this job can go to now, or what it waits for. `ready` are in the order of the pool.
pub(super) fn place(
    state: &ClusterState,
    presence: &Presence,
    job: &Job,
    ready: &[AgentName],
) -> Result<Vec<AgentName>, Waiting> {
    let all = ready.to_vec();
    if job.last_attempt == Attempt(0) {
        return Ok(all);
    }
    let blamed = blamed(state, job);
    let agents = if_any(all, |agent| !blamed.holds(state, agent));
    let agents = near(state, presence, job, agents, &blamed)?;
    // After an interrupted attempt another agent is preferred (S-03); the same one is better than none.
    // Where it lost its client, it does as well as before.
    let last = state.history(job.id, job.last_attempt);
    let went_on = last.is_none_or(|history| history.status.goes_on());
    let last = last_agent(state, job).filter(|_| went_on);
    Ok(if_any(agents, |agent| Some(agent) != last))
}

/// Where the attempts before left something, an attempt can go on, and finds what they finished (F-14): only if nobody can be expected to reach
/// that storage unit the job goes elsewhere.
fn near(
    state: &ClusterState,
    presence: &Presence,
    job: &Job,
    agents: Vec<AgentName>,
    blamed: &Blamed,
) -> Result<Vec<AgentName>, Waiting> {
    let Some(home) = home_of(state, job) else {
        return Ok(agents);
    };
    let is_home = |agent: &AgentName| state.unit_of_agent(agent) == Some(home);
    if agents.iter().any(is_home) {
        return Ok(if_any(agents, is_home));
    }
    let need = need_of(job);
    let members = state.pool(&job.pool).map(|pool| pool.media_agents.as_slice());
    let mut members = members.unwrap_or_default().iter();
    let away = members.find(|agent| {
        is_home(agent)
            && !blamed.holds(state, agent)
            && standing(state, presence, &need, agent) == Standing::Away
    });
    match away {
        None => Ok(agents),
        Some(agent) => Err(Waiting {
            reason: format!(
                "what attempt {} left lies in storage unit {home}, and {agent}, which reaches it, is not connected; when it was silent for longer the \
                 job goes elsewhere",
                job.last_attempt
            ),
            waits_for: Some(agent.to_string()),
        }),
    }
}

/// The storage unit in which the last attempt of a backup left what it did, or earlier ones what they finished.
fn home_of<'a>(state: &'a ClusterState, job: &Job) -> Option<&'a StorageUnitName> {
    if !matches!(job.task, JobTask::Backup { .. }) {
        return None;
    }
    let last = last_agent(state, job).and_then(|agent| state.unit_of_agent(agent));
    last.or_else(|| finished_in(state, job))
}

fn finished_in<'a>(state: &'a ClusterState, job: &Job) -> Option<&'a StorageUnitName> {
    let mut finished = state.items_of(job.id).filter_map(|(_, item)| {
        item.restore_point
            .filter(|_| item.outcome != ItemOutcome::NotStarted)
    });
    let point = finished.find_map(|id| state.restore_point(&id))?;
    Some(&point.storage_unit)
}

fn last_agent<'a>(state: &'a ClusterState, job: &Job) -> Option<&'a AgentName> {
    match state.open_attempt(job.id, job.last_attempt) {
        Some(open) => Some(&open.media_agent),
        None => state.history(job.id, job.last_attempt)?.media_agent.as_ref(),
    }
}

/// Those of which this holds; all, if it holds of none.
fn if_any(all: Vec<AgentName>, holds: impl Fn(&AgentName) -> bool) -> Vec<AgentName> {
    match all.iter().any(&holds) {
        true => all.into_iter().filter(|agent| holds(agent)).collect(),
        false => all,
    }
}

/// By the pool's method.
pub(super) fn select(
    state: &ClusterState,
    presence: &Presence,
    taken: &Taken,
    pool: &PoolName,
    agents: &[AgentName],
) -> Option<AgentName> {
    let load = |name: &AgentName| state.load_of(name) + taken.get(name).copied().unwrap_or(0);
    let chosen = match state.pool(pool)?.method {
        // They differ in whom they wait for: see `standing`.
        SelectionMethod::Prioritized | SelectionMethod::Failover => agents.first(),
        SelectionMethod::RoundRobin => agents.iter().min_by_key(|name| last_used(state, taken, name)),
        SelectionMethod::LoadBalanced => {
            let free = |name: &AgentName| presence.connected.get(name).copied().flatten().unwrap_or(0);
            agents
                .iter()
                .min_by_key(|name| (load(name), std::cmp::Reverse(free(name))))
        }
    };
    chosen.cloned()
}

/// When an agent last got a job, as the id of that job: the smallest has waited longest.
fn last_used(state: &ClusterState, taken: &Taken, name: &AgentName) -> (usize, Option<JobId>) {
    (taken.get(name).copied().unwrap_or(0), state.last_job_on(name))
}
