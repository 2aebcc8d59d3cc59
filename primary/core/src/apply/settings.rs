//! Settings of the cluster, of pools and of agents. Durations are set only so that all of them fit together (C-08c): `durations` has the table.

use outlast_proto::words::{AgentName, PoolName, Seconds};

use super::Outcome;
use crate::durations::judge::{of_agent, of_pool};
use crate::durations::{Durations, Setting};
use crate::entry::{PoolChange, SettingsChange};
use crate::reply::{Refusal, Reply};
use crate::rows::{Pool, Settings};
use crate::state::ClusterState;
use crate::thresholds::{Threshold, Thresholds};
use crate::touched::Rows;

/// R-03, before version 9: the grace ends at least this long before failover would take the attempt away.
const GRACE_MARGIN: Seconds = Seconds(5);

impl ClusterState {
    pub(super) fn change_settings(&mut self, change: &SettingsChange) -> Outcome {
        let mut settings = self.settings();
        settings.resilience = change.resilience.unwrap_or(settings.resilience);
        settings.disruption_grace = change.disruption_grace.unwrap_or(settings.disruption_grace);
        settings.reconnect_for = change.reconnect_for.unwrap_or(settings.reconnect_for);
        settings.timing = change.timing.unwrap_or(settings.timing);
        settings.thresholds = settings.thresholds.changed_by(&change.thresholds);
        if self.has_rules() {
            let mut changed = named(&change.thresholds);
            changed.extend(change.disruption_grace.map(|_| Setting::DisruptionGrace));
            changed.extend(change.reconnect_for.map(|_| Setting::ReconnectFor));
            self.judge_change(&changed, |durations| durations.settings = settings)?;
        } else if !change.thresholds.is_none() {
            return Err(Refusal::TooOld);
        } else {
            self.judge_grace(settings.disruption_grace)?;
        }
        let told = |settings: &Settings| (settings.disruption_grace, settings.reconnect_for);
        if told(&settings) != told(&self.settings()) {
            // All of them are to know it.
            let everybody: Vec<_> = self.agents.iter().map(|(name, _)| name.clone()).collect();
            self.touched.agents.extend(everybody);
        }
        if let Some(cluster) = self.cluster.get_mut(&()) {
            cluster.settings = settings;
        }
        self.touch(Rows::Settings);
        Ok(Reply::Done)
    }

    /// Whether all durations still fit together when this is done to them.
    fn judge_change(&self, changed: &[Setting], change: impl FnOnce(&mut Durations)) -> Result<(), Refusal> {
        let before = Durations::of(self);
        let mut after = before.clone();
        change(&mut after);
        after.may_follow(&before, changed)
    }

    /// As members of before version 9 judge it.
    fn judge_grace(&self, grace: Seconds) -> Result<(), Refusal> {
        let own = |pool: &Pool| pool.failover_after.unwrap_or(Threshold::FailoverAfter.built_in());
        let mut pools = self.pools.iter().map(|(name, pool)| (name, own(pool)));
        match pools.find(|(_, after)| after.0 < grace.0 + GRACE_MARGIN.0) {
            None => Ok(()),
            Some((name, after)) => invalid(
                "disruption_grace",
                format!(
                    "is at least {} s below failover_after, which is {} s in pool \"{name}\"",
                    GRACE_MARGIN.0, after.0
                ),
            ),
        }
    }

    pub(super) fn change_pool(&mut self, name: &PoolName, change: &PoolChange) -> Outcome {
        let known = self.pools.get(name).ok_or_else(|| Refusal::NoSuchPool {
            name: name.clone(),
            known: self.pools.iter().map(|(name, _)| name.clone()).collect(),
        })?;
        let mut pool = known.clone();
        pool.method = change.method.unwrap_or(pool.method);
        pool.failover = change.failover.or(pool.failover);
        let thresholds = change.thresholds();
        if self.has_rules() {
            pool.set_thresholds(pool.thresholds().changed_by(&thresholds));
            let mut changed = named(&thresholds);
            changed.extend(change.failover.map(|_| Setting::FailoverAfter));
            self.judge_change(&changed, |durations| {
                durations.pools.insert(name.clone(), of_pool(&pool));
            })?;
        } else {
            self.change_pool_of_before(&mut pool, &thresholds)?;
        }
        if let Some(order) = &change.order {
            let (mut given, mut there) = (order.clone(), pool.media_agents.clone());
            given.sort();
            there.sort();
            if given != there || !self.splits_jobs() {
                let names: Vec<_> = pool.media_agents.iter().map(AgentName::as_str).collect();
                let reason = format!("names each media agent of the pool once: {}", names.join(", "));
                return invalid("order", reason);
            }
            pool.media_agents.clone_from(order);
        }
        self.pools.insert(name.clone(), pool);
        self.touch(Rows::Agents);
        Ok(Reply::Done)
    }

    /// As members of before version 9 do it.
    fn change_pool_of_before(&self, pool: &mut Pool, change: &Thresholds) -> Result<(), Refusal> {
        let mut own = pool.thresholds();
        for which in Threshold::ALL {
            own.set(which, change.get(which).or(own.get(which)));
        }
        for which in [Threshold::StalledAfter, Threshold::NoCommunicationAfter] {
            if own.get(which) == Some(Seconds(0)) {
                return invalid(which.setting().word(), "is at least 1 s".into());
            }
        }
        let (grace, after) = (self.settings().disruption_grace, own.failover_after);
        if after.is_some_and(|after| after.0 < grace.0 + GRACE_MARGIN.0) {
            let reason = format!(
                "is at least {} s above disruption_grace, which is {} s",
                GRACE_MARGIN.0, grace.0
            );
            return invalid("failover_after", reason);
        }
        pool.set_thresholds(own);
        Ok(())
    }

    /// C-01: of one agent alone.
    pub(super) fn set_agent_thresholds(&mut self, name: &AgentName, change: &Thresholds) -> Outcome {
        if !self.has_rules() {
            return Err(Refusal::TooOld);
        }
        let known = self
            .agents
            .get(name)
            .ok_or_else(|| Refusal::NoSuchAgent { name: name.clone() })?;
        let mut agent = known.clone();
        if agent.media.is_none() && change.failover_after.is_some() {
            let reason = format!("is of media agents; \"{name}\" is a client agent");
            return invalid("failover_after", reason);
        }
        agent.thresholds = agent.thresholds.changed_by(change);
        self.judge_change(&named(change), |durations| {
            durations.agents.insert(name.clone(), of_agent(&agent));
        })?;
        self.agents.insert(name.clone(), agent);
        self.touch_agent(name);
        Ok(Reply::Done)
    }

    /// A pool that has just come: what it has fits to what there is.
    pub(super) fn new_pool(&self) -> Pool {
        let mut pool = Pool::default();
        if self.has_rules() {
            pool.set_thresholds(Durations::of(self).fitting());
        }
        pool
    }

    /// What an agent has of its own was judged in its pool: in another one it is not kept if it does not fit there.
    pub(super) fn drop_unfit_thresholds(&mut self, name: &AgentName) {
        let Some(agent) = self.agents.get(name) else {
            return;
        };
        let mut here = Durations::of(self);
        here.agents = [(name.clone(), of_agent(agent))].into();
        let mut without = here.clone();
        without.agents.clear();
        if here.may_follow(&without, &[]).is_err()
            && let Some(agent) = self.agents.get_mut(name)
        {
            agent.thresholds = Thresholds::default();
        }
    }

    /// From version 9 on a pool inherits what it does not say: that is, what was left as it came into being.
    pub(super) fn let_pools_inherit(&mut self) {
        let names: Vec<_> = self.pools.iter().map(|(name, _)| name.clone()).collect();
        for name in names {
            let Some(pool) = self.pools.get_mut(&name) else {
                continue;
            };
            let mut own = pool.thresholds();
            for which in Threshold::ALL {
                own.set(which, own.get(which).filter(|value| *value != which.built_in()));
            }
            pool.set_thresholds(own);
        }
    }
}

fn named(change: &Thresholds) -> Vec<Setting> {
    let named = Threshold::ALL
        .into_iter()
        .filter(|which| change.get(*which).is_some());
    named.map(Threshold::setting).collect()
}

fn invalid<T>(field: &str, reason: String) -> Result<T, Refusal> {
    Err(Refusal::InvalidRequest {
        field: field.into(),
        reason,
    })
}
