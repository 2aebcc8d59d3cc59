//! An agent is removed for good (C-08a): nothing runs on it, nothing is kept in mind for it, and its certificate is not welcome any more.
//!
//! What it stored stays restorable through others of its storage unit. Its certificate is known by its name here: certificates that are
//! revoked themselves are not in this version.

use outlast_proto::words::{AgentName, JobId};

use super::{Context, Outcome};
use crate::reply::{Refusal, Reply};
use crate::rows::RemovedAgent;
use crate::state::ClusterState;

impl ClusterState {
    pub(super) fn remove_agent(
        &mut self,
        name: &AgentName,
        (is_dead, force): (bool, bool),
        context: Context<'_>,
    ) -> Outcome {
        if !self.has_rules() {
            return Err(Refusal::TooOld);
        }
        let agent = self
            .agents
            .get(name)
            .ok_or_else(|| Refusal::NoSuchAgent { name: name.clone() })?;
        let stored = agent.media.as_ref();
        let stored = stored.map(|media| (media.pool.clone(), media.storage_unit.clone()));
        let running: Vec<JobId> = self.running_on(name).map(|job| job.id).collect();
        // What a client runs nobody can take over.
        if !running.is_empty() && (!is_dead || stored.is_none()) {
            return Err(Refusal::AgentBusy {
                name: name.clone(),
                jobs: running,
                can_be_dead: stored.is_some(),
            });
        }
        if let Some((_, unit)) = &stored
            && !force
            && self
                .storage_units
                .get(unit)
                .is_none_or(|row| row.media_agents.iter().all(|other| other == name))
        {
            return Err(Refusal::LastOfUnit {
                name: name.clone(),
                unit: unit.clone(),
            });
        }
        if !running.is_empty() {
            self.declare_dead(name, context)?;
        }
        if let Some((pool, unit)) = &stored {
            if let Some(pool) = self.pools.get_mut(pool) {
                pool.media_agents.retain(|other| other != name);
            }
            if let Some(unit) = self.storage_units.get_mut(unit) {
                unit.media_agents.retain(|other| other != name);
            }
        }
        let owed: Vec<_> = self
            .fences
            .iter()
            .map(|(key, _)| key.clone())
            .filter(|(agent, _)| agent == name)
            .collect();
        for key in owed {
            self.fences.remove(&key);
        }
        self.touch_agent(name);
        self.agents.remove(name);
        let removed = RemovedAgent {
            at: context.at,
            by: context.asked_by.cloned(),
            stored,
        };
        self.removed.insert(name.clone(), removed);
        Ok(Reply::DeclaredDead { jobs: running })
    }
}
