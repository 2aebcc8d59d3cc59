//! Which durations are in force where, and whether they fit together there.
//!
//! Pure. The table is [`super::INEQUALITIES`]; called by `apply` for settings, pools, agents and policies.

use std::collections::BTreeMap;

use outlast_proto::words::{AgentKind, AgentName, Policy, PolicyName, PoolName, Seconds};

use super::{INEQUALITIES, Inequality, Setting, Side, TICKET_GOOD_FOR};
use crate::reply::Refusal;
use crate::rows::{Agent, Pool, Settings};
use crate::state::ClusterState;
use crate::thresholds::{Level, Threshold, Thresholds, in_force};

/// Where durations meet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// What pools have that say nothing of their own; of the cluster's own settings.
    Cluster,
    /// What media agents of a pool have that say nothing of their own.
    Pool(PoolName),
    /// An agent that says something of its own.
    Agent(AgentName),
    /// A policy.
    Policy(PolicyName),
}

/// A value, and who says it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Given {
    value: u64,
    by: String,
}

/// What is in force at one place; a setting that means nothing there has no value.
type Values = BTreeMap<Setting, Given>;

/// Values that do not fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where.
    pub place: Place,
    /// Which row of the table; none: a range.
    row: Option<usize>,
    /// The values of its parts.
    parts: Vec<(Setting, Given)>,
}

/// Everything of the cluster, its pools and agents that the table speaks of; changed before it is put in force.
#[derive(Clone, Debug)]
pub struct Durations {
    /// The cluster's.
    pub settings: Settings,
    /// What pools say of their own, and whether failover is switched off.
    pub pools: BTreeMap<PoolName, (Thresholds, bool)>,
    /// Agents that say something of their own, with their pool.
    pub agents: BTreeMap<AgentName, (Option<PoolName>, Thresholds)>,
}

impl Durations {
    /// As they are in force.
    #[must_use]
    pub fn of(state: &ClusterState) -> Self {
        let pools = state.pools().map(|(name, pool)| (name.clone(), of_pool(pool)));
        let agents = state.agents().filter(|(_, agent)| !agent.thresholds.is_none());
        Self {
            settings: state.settings(),
            pools: pools.collect(),
            agents: agents
                .map(|(name, agent)| (name.clone(), of_agent(agent)))
                .collect(),
        }
    }

    /// What does not fit.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        let all = self.places().into_iter();
        all.flat_map(|(place, values)| violations(&place, &values))
            .collect()
    }

    /// Whether these may take the place of those: nothing is violated but what was before, by the same values.
    ///
    /// # Errors
    /// What is violated, with the values that the changed setting may have.
    pub fn may_follow(&self, before: &Self, changed: &[Setting]) -> Result<(), Refusal> {
        let known = before.violations();
        let found = self.violations().into_iter();
        match found.into_iter().find(|violation| !known.contains(violation)) {
            None => Ok(()),
            Some(violation) => Err(self.refusal(&violation, changed)),
        }
    }

    /// What a pool that has just come says of its own, so that it fits: where others say nothing of their own, the cluster's need not.
    #[must_use]
    pub fn fitting(&self) -> Thresholds {
        let cluster = &self.settings.thresholds;
        let inherited = |which| in_force(which, None, None, cluster).value.0;
        let failover = inherited(Threshold::FailoverAfter).max(self.settings.disruption_grace.0 + 5);
        let stalled = inherited(Threshold::StalledAfter).max(failover);
        let least = self.settings.reconnect_for.0.saturating_sub(stalled);
        let most = TICKET_GOOD_FOR.0.saturating_sub(stalled);
        let no_communication = inherited(Threshold::NoCommunicationAfter).max(least).min(most);
        let mut own = Thresholds::default();
        for (which, value) in Threshold::ALL
            .into_iter()
            .zip([failover, stalled, no_communication])
        {
            own.set(
                which,
                Some(Seconds(value)).filter(|value| value.0 != inherited(which)),
            );
        }
        own
    }

    /// With every place where they are in force.
    fn places(&self) -> Vec<(Place, Values)> {
        let own = |threshold: Setting| match threshold {
            Setting::DisruptionGrace => self.settings.disruption_grace.0,
            _ => self.settings.reconnect_for.0,
        };
        let of_cluster = [Setting::DisruptionGrace, Setting::ReconnectFor].map(|setting| {
            let by = "cluster-wide".to_owned();
            let value = own(setting);
            (setting, Given { value, by })
        });
        let expiry = Given {
            value: TICKET_GOOD_FOR.0,
            by: "fixed".to_owned(),
        };
        let everywhere: Values = of_cluster
            .into_iter()
            .chain([(Setting::TicketExpiry, expiry)])
            .collect();
        let with = |agent: Option<(&AgentName, &Thresholds)>, pool: Option<&PoolName>| {
            let of_pool = pool.and_then(|pool| self.pools.get(pool));
            let is_off = of_pool.is_some_and(|(_, is_off)| *is_off);
            let mut values = everywhere.clone();
            for which in Threshold::ALL {
                let own = agent.map(|(_, own)| own);
                let found = in_force(which, own, of_pool.map(|(own, _)| own), &self.settings.thresholds);
                let by = match (found.from, agent, pool) {
                    (Level::Agent, Some((name, _)), _) => format!("of agent {name}"),
                    (Level::Pool, _, Some(pool)) => format!("of pool {pool}"),
                    (Level::BuiltIn, ..) => "by default".to_owned(),
                    _ => "cluster-wide".to_owned(),
                };
                let value = found.value.0;
                if which != Threshold::FailoverAfter || !is_off {
                    values.insert(which.setting(), Given { value, by });
                }
            }
            values
        };
        let mut places = Vec::new();
        // What no pool has is not in force, but has its range.
        let own = self.settings.thresholds;
        let said = Threshold::ALL
            .into_iter()
            .filter_map(|which| Some((which.setting(), own.get(which)?)));
        let said = said.map(|(setting, value)| {
            let by = "cluster-wide".to_owned();
            (setting, Given { value: value.0, by })
        });
        let cluster = match self.pools.is_empty() {
            true => with(None, None),
            false => everywhere.clone().into_iter().chain(said).collect(),
        };
        places.push((Place::Cluster, cluster));
        for pool in self.pools.keys() {
            places.push((Place::Pool(pool.clone()), with(None, Some(pool))));
        }
        for (name, (pool, own)) in &self.agents {
            let mut values = with(Some((name, own)), pool.as_ref());
            if pool.is_none() {
                // A client: nothing but its state follows from its silence.
                values.retain(|setting, _| {
                    matches!(setting, Setting::StalledAfter | Setting::NoCommunicationAfter)
                });
            }
            places.push((Place::Agent(name.clone()), values));
        }
        places
    }

    fn refusal(&self, violation: &Violation, changed: &[Setting]) -> Refusal {
        let changed = changed
            .iter()
            .copied()
            .find(|changed| violation.parts.iter().any(|(setting, _)| setting == changed));
        let setting = changed.unwrap_or(violation.parts[0].0);
        let places = self.places();
        let by = |values: &Values| values.get(&setting).map(|given| given.by.clone());
        let here = places.iter().find(|(place, _)| *place == violation.place);
        let said_by = here.and_then(|(_, values)| by(values));
        // Wherever this value is the one in force.
        let alike = places
            .iter()
            .filter(|(_, values)| by(values) == said_by)
            .map(|(_, values)| values);
        refusal(violation, setting, alike)
    }
}

impl Violation {
    /// What is found and what was expected.
    #[must_use]
    pub fn text(&self) -> String {
        let said: Vec<_> = self
            .parts
            .iter()
            .map(|(setting, given)| {
                format!(
                    "{} is {} ({})",
                    setting.word(),
                    setting.value(given.value),
                    given.by
                )
            })
            .collect();
        let said = said.join(", ");
        match self.row.map(|row| &INEQUALITIES[row]) {
            None => said,
            Some(row) => format!(
                "{} must not be above {}, but {said}: {}",
                row.small.words(),
                row.large.words(),
                row.why
            ),
        }
    }
}

/// What of a policy does not fit together; `before`: as it was, if there was one.
///
/// # Errors
/// What is violated, with the values that are allowed.
pub fn judge_policy(policy: &Policy, before: Option<&Policy>) -> Result<(), Refusal> {
    let values = of_policy(policy);
    let found = violations(&Place::Policy(policy.name.clone()), &values);
    let Some(violation) = found.into_iter().next() else {
        return Ok(());
    };
    // Which of them was changed, or is not what it would be if nobody had said it.
    let Policy {
        name,
        clients,
        items,
        pool,
        ..
    } = policy.clone();
    let usual = Policy::with_defaults(name, clients, items, pool);
    let usual = of_policy(before.unwrap_or(&usual));
    let parts = violation.parts.iter().map(|(part, _)| *part);
    let changed = parts.clone().find(|part| values.get(part) != usual.get(part));
    let setting = changed.unwrap_or(violation.parts[0].0);
    let Refusal::InvalidRequest { field, reason } = refusal(&violation, setting, [&values]) else {
        return Ok(());
    };
    Err(Refusal::InvalidPolicy {
        policy: policy.name.clone(),
        field,
        reason,
    })
}

pub(crate) fn of_pool(pool: &Pool) -> (Thresholds, bool) {
    (pool.thresholds(), pool.failover == Some(false))
}

pub(crate) fn of_agent(agent: &Agent) -> (Option<PoolName>, Thresholds) {
    let media = agent
        .media
        .as_ref()
        .filter(|_| agent.kind == AgentKind::MediaAgent);
    (media.map(|media| media.pool.clone()), agent.thresholds)
}

fn of_policy(policy: &Policy) -> Values {
    let own = "of the policy";
    let cancel_after = policy.limits.cancel_after.map(|after| after.0);
    let said = [
        (
            Setting::CheckpointInterval,
            Some(policy.checkpoint.interval.0),
            own,
        ),
        (Setting::CancelAfter, cancel_after, own),
        (Setting::RetryDelay, Some(policy.retry.delay.0), own),
        (Setting::RetryTries, Some(policy.retry.tries.into()), own),
        (Setting::RetryWithin, Some(policy.retry.within.0), own),
        (Setting::IncompleteFor, Some(policy.retry.incomplete_for().0), own),
    ];
    let said = said.into_iter().filter_map(|(setting, value, by)| {
        let (value, by) = (value?, by.to_owned());
        Some((setting, Given { value, by }))
    });
    said.collect()
}

fn violations(place: &Place, values: &Values) -> Vec<Violation> {
    let out_of_range = values.iter().filter(|(setting, given)| {
        let range = setting.range().filter(|_| given.by != "by default");
        range.is_some_and(|(from, to)| given.value < from || given.value > to)
    });
    let mut found: Vec<_> = out_of_range
        .map(|(setting, given)| Violation {
            place: place.clone(),
            row: None,
            parts: vec![(*setting, given.clone())],
        })
        .collect();
    for (row, inequality) in INEQUALITIES.iter().enumerate() {
        let sides = (
            sum_of(&inequality.small, values),
            sum_of(&inequality.large, values),
        );
        if let (Some(small), Some(large)) = sides
            && small > large
        {
            let parts = inequality.small.parts().chain(inequality.large.parts());
            found.push(Violation {
                place: place.clone(),
                row: Some(row),
                parts: parts
                    .filter_map(|part| Some((part, values.get(&part)?.clone())))
                    .collect(),
            });
        }
    }
    found
}

/// None: not all of it means something here.
fn sum_of(side: &Side, values: &Values) -> Option<u64> {
    let mut sum: u64 = 0;
    for part in side.sum {
        sum = sum.saturating_add(values.get(part)?.value);
    }
    let times = match side.times {
        None => 1,
        Some(times) => values.get(&times)?.value,
    };
    Some(sum.saturating_mul(times).saturating_add(side.plus))
}

/// The smallest and the largest value that a setting may have beside the other ones here.
fn allowed(setting: Setting, values: &Values) -> (u64, u64) {
    let (mut from, mut to) = setting.range().unwrap_or((0, u64::MAX));
    for Inequality { small, large, .. } in INEQUALITIES {
        let (Some(small_sum), Some(large_sum)) = (sum_of(small, values), sum_of(large, values)) else {
            continue;
        };
        let own = values.get(&setting).map_or(0, |given| given.value);
        if small.names(setting) {
            // All others of this side stay as they are.
            let (others, times) = match small.times {
                Some(times) if times == setting => (
                    small.plus,
                    sum_of(
                        &Side {
                            times: None,
                            plus: 0,
                            ..*small
                        },
                        values,
                    ),
                ),
                Some(times) => (small.plus, values.get(&times).map(|given| given.value)),
                None => (small_sum.saturating_sub(own), Some(1)),
            };
            let room = large_sum.saturating_sub(others);
            to = to.min(room.checked_div(times.unwrap_or(1)).unwrap_or(u64::MAX));
        } else if large.names(setting) {
            from = from.max(small_sum.saturating_sub(large_sum.saturating_sub(own)));
        }
    }
    (from, to)
}

fn refusal<'a>(
    violation: &Violation,
    setting: Setting,
    alike: impl IntoIterator<Item = &'a Values>,
) -> Refusal {
    let (from, to) = alike
        .into_iter()
        .map(|values| allowed(setting, values))
        .fold((0, u64::MAX), |(from, to), (low, high)| {
            (from.max(low), to.min(high))
        });
    let allowed = match from <= to {
        true => format!("{} to {}", setting.value(from), setting.value(to)),
        false => "none, before the others are changed".to_owned(),
    };
    Refusal::InvalidRequest {
        field: setting.word().to_owned(),
        reason: format!("{}; allowed for {}: {allowed}", violation.text(), setting.word()),
    }
}
