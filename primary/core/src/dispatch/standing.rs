//! Which media agents of a pool can take a job at all, and what is against the others (F-02, F-19, T-08).

use outlast_proto::words::{AgentName, SelectionMethod, UnitState};

use super::choice::blamed;
use super::{Presence, TOO_OLD, Waiting, is_too_old};
use crate::indexes::Need;
use crate::rows::{Job, StorageUnit};
use crate::state::ClusterState;

/// Media agents that are named of those that cannot take a job.
const MOST_NAMED: usize = 5;

/// How a media agent stands to what a job needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It can take it.
    Able,
    /// It is here and cannot use its storage unit now: it is tried if nobody else can, and says then what is wrong (S-11).
    Troubled,
    /// Not here, and not silent for so long that it counts as down: it may be back at once.
    Away,
    /// It gets none, for this reason.
    Down(String),
}

/// The media agents that can take what is needed, in the order of their pool.
#[derive(Clone, Debug)]
pub(super) struct Line {
    able: Vec<AgentName>,
    troubled: Vec<AgentName>,
    /// Which one the pool's method waits for.
    waits: Option<Waiting>,
}

impl Line {
    /// Those that can be given a job now; none: nobody. Or for whom all wait.
    pub(super) fn ready(&self) -> Result<&[AgentName], Waiting> {
        match &self.waits {
            Some(waiting) => Err(waiting.clone()),
            None if self.able.is_empty() => Ok(&self.troubled),
            None => Ok(&self.able),
        }
    }

    /// Those against whom nothing is known, whatever the pool's method.
    pub(super) fn sound(&self) -> &[AgentName] {
        &self.able
    }
}

pub(super) fn line(state: &ClusterState, presence: &Presence, need: &Need) -> Line {
    let (mut able, mut troubled, mut waits) = (Vec::new(), Vec::new(), None);
    let pool = state.pool(&need.pool);
    let waits_for_first = pool.is_some_and(|pool| pool.method == SelectionMethod::Failover);
    for name in pool.into_iter().flat_map(|pool| &pool.media_agents) {
        match standing(state, presence, need, name) {
            Standing::Able => able.push(name.clone()),
            Standing::Troubled => troubled.push(name.clone()),
            Standing::Away if waits_for_first && able.is_empty() && waits.is_none() => {
                waits = Some(name.clone());
            }
            Standing::Away | Standing::Down(_) => {}
        }
    }
    // Nobody else to go to: there is nothing that the method decides.
    let waits = waits.filter(|_| !able.is_empty()).map(|first| Waiting {
        reason: format!(
            "pool {} gives jobs to the first of its media agents that is not down (its method is failover): {first} is not connected, and does not \
             count as down before it was silent for longer",
            need.pool
        ),
        waits_for: Some(first.to_string()),
    });
    Line {
        able,
        troubled,
        waits,
    }
}

pub(super) fn standing(state: &ClusterState, presence: &Presence, need: &Need, name: &AgentName) -> Standing {
    let row = state.agent(name);
    let Some((row, media)) = row.and_then(|row| Some((row, row.media.as_ref()?))) else {
        return Standing::Down(format!("{name} has not said where it stores"));
    };
    let unit = &media.storage_unit;
    if !row.is_usable() {
        return Standing::Down(format!("{name} is {}", row.why_unusable()));
    }
    if is_too_old(state, presence, name) {
        return Standing::Down(format!("{name} {TOO_OLD}"));
    }
    if need.unit.as_ref().is_some_and(|needed| needed != unit) {
        let needed = need.unit.as_ref().map_or("", |unit| unit.as_str());
        return Standing::Down(format!(
            "{name} does not reach storage unit {needed}, where what the job needs lies"
        ));
    }
    let known = state.storage_unit(unit);
    let state_of_unit = known.map(|unit| unit.state).unwrap_or_default();
    if let Some(why) = known.filter(|_| need.stores).and_then(why_closed) {
        return Standing::Down(format!("storage unit {unit} of {name} is {why}"));
    }
    if presence.silent.contains(name) {
        return Standing::Down(format!("{name} is silent"));
    }
    if !presence.connected.contains_key(name) {
        return Standing::Away;
    }
    if presence.problems.contains_key(name) || state_of_unit == UnitState::Unavailable {
        return Standing::Troubled;
    }
    Standing::Able
}

/// Why no backup goes to a unit, whoever would write; none: nothing is against it.
fn why_closed(unit: &StorageUnit) -> Option<String> {
    let what_opens_it = match unit.state {
        UnitState::Full => "it gets backups again when there is more room",
        UnitState::Suspect => "it gets backups again when outlast storage check finds it clean",
        UnitState::Ok | UnitState::Unavailable => return None,
    };
    Some(format!("{} ({}); {what_opens_it}", unit.state, unit.why))
}

/// Why no media agent of a pool can take a job.
pub(super) fn why_none(state: &ClusterState, presence: &Presence, need: &Need, job: &Job) -> String {
    let name = &need.pool;
    let members = state.pool(name).map(|pool| pool.media_agents.as_slice());
    let here = members.unwrap_or_default().iter();
    let mut here = here
        .filter(|agent| presence.connected.contains_key(agent) && !presence.silent.contains(agent))
        .peekable();
    if here.peek().is_none() {
        return format!("no media agent of pool {name} is connected");
    }
    let blamed = blamed(state, job);
    let why = |agent: &AgentName| {
        let why = match standing(state, presence, need, agent) {
            Standing::Down(why) => why,
            Standing::Able | Standing::Troubled | Standing::Away => format!("{agent} cannot be used now"),
        };
        match blamed.why(state, agent) {
            Some(blame) => format!("{why}, and {blame}"),
            None => why,
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
