//! Agents introduce themselves; pools and storage units come into being with their first media agent.

use outlast_proto::words::{AgentAdmin, AgentKind, AgentName, AgentState, JobId, Severity, Timestamp};

use super::{Context, Outcome};
use crate::entry::{AgentHello, MediaHello};
use crate::reply::{Refusal, Reply};
use crate::rows::{Agent, JournalCursor, MediaRole};
use crate::state::ClusterState;

impl ClusterState {
    pub(super) fn register_agent(&mut self, hello: &AgentHello, context: Context<'_>) -> Outcome {
        if self.removed(&hello.name).is_some() {
            let name = hello.name.clone();
            return Err(Refusal::AgentRemoved { name });
        }
        let known = self.agents.get(&hello.name);
        if known.is_some_and(|agent| agent.kind != hello.kind)
            || (hello.kind == AgentKind::MediaAgent) != hello.media.is_some()
        {
            return Err(Refusal::NameTaken {
                name: hello.name.clone(),
            });
        }
        let (state, since) = known.map_or((AgentState::Enabled, context.at), |agent| {
            (agent.state, agent.since)
        });
        let admin = known.map_or_else(Default::default, |agent| agent.admin);
        let thresholds = known.map_or_else(Default::default, |agent| agent.thresholds);
        let old_journal = known
            .and_then(|agent| agent.media.as_ref())
            .map(|media| media.journal.clone());
        if let Some(media) = &hello.media {
            self.join_storage_unit(&hello.name, media)?;
            self.join_pool(&hello.name, media);
        }
        let media = hello.media.as_ref().map(|media| {
            let same = old_journal
                .clone()
                .filter(|journal| journal.id == media.journal_id);
            MediaRole {
                pool: media.pool.clone(),
                storage_unit: media.storage_unit.clone(),
                data_addresses: media.data_addresses.clone(),
                journal: same.unwrap_or(JournalCursor {
                    id: media.journal_id.clone(),
                    acknowledged: 0,
                    writer: 0,
                }),
            }
        });
        let lost = media
            .as_ref()
            .zip(old_journal)
            .is_some_and(|(media, old)| media.journal.id != old.id);
        let agent = Agent {
            kind: hello.kind,
            state,
            admin,
            since,
            version: hello.version.clone(),
            host_id: hello.host_id.clone(),
            start_id: hello.start_id.clone(),
            fibre_transport: hello.fibre_transport,
            speaks: if self.splits_jobs() { hello.speaks } else { 0 },
            thresholds,
            media,
        };
        self.agents.insert(hello.name.clone(), agent);
        if !thresholds.is_none() {
            self.drop_unfit_thresholds(&hello.name);
        }
        self.touch_agent(&hello.name);
        if lost {
            self.move_on_without_journal(&hello.name, context.at);
        }
        Ok(Reply::Done)
    }

    fn join_storage_unit(&mut self, agent: &AgentName, media: &MediaHello) -> Result<(), Refusal> {
        let mut unit = self
            .storage_units
            .get(&media.storage_unit)
            .cloned()
            .unwrap_or_default();
        match (&unit.repository_id, &media.repository_id) {
            (Some(known), Some(found)) if known != found => {
                return Err(Refusal::OtherRepository {
                    unit: media.storage_unit.to_string(),
                    agent: agent.clone(),
                    known: known.clone(),
                    found: found.clone(),
                });
            }
            (None, Some(found)) => unit.repository_id = Some(found.clone()),
            _ => {}
        }
        self.leave_other_units(agent, media);
        if !unit.media_agents.contains(agent) {
            unit.media_agents.push(agent.clone());
        }
        self.storage_units.insert(media.storage_unit.clone(), unit);
        Ok(())
    }

    fn leave_other_units(&mut self, agent: &AgentName, media: &MediaHello) {
        let old = self
            .agents
            .get(agent)
            .and_then(|a| a.media.as_ref())
            .map(|m| m.storage_unit.clone());
        if let Some(unit) = old.filter(|old| *old != media.storage_unit)
            && let Some(unit) = self.storage_units.get_mut(&unit)
        {
            unit.media_agents.retain(|name| name != agent);
        }
    }

    fn join_pool(&mut self, agent: &AgentName, media: &MediaHello) {
        let old = self
            .agents
            .get(agent)
            .and_then(|a| a.media.as_ref())
            .map(|m| m.pool.clone());
        if let Some(pool) = old.filter(|old| *old != media.pool)
            && let Some(pool) = self.pools.get_mut(&pool)
        {
            pool.media_agents.retain(|name| name != agent);
        }
        let known = self.pools.get(&media.pool).cloned();
        let mut pool = known.unwrap_or_else(|| self.new_pool());
        if !pool.media_agents.contains(agent) {
            pool.media_agents.push(agent.clone());
            self.pools.insert(media.pool.clone(), pool);
        } else if self.pools.get(&media.pool).is_none() {
            self.pools.insert(media.pool.clone(), pool);
        }
    }

    pub(super) fn change_agent_state(
        &mut self,
        name: &AgentName,
        (from, to): (AgentState, AgentState),
        context: Context<'_>,
    ) -> Outcome {
        let agent = self.agents.get_mut(name).ok_or(Refusal::Outdated)?;
        if agent.state != from {
            return Err(Refusal::Outdated);
        }
        (agent.state, agent.since) = (to, context.at);
        self.touch_agent(name);
        Ok(Reply::Done)
    }

    pub(super) fn set_agent_admin(&mut self, name: &AgentName, admin: AgentAdmin) -> Outcome {
        if !self.splits_jobs() {
            return Err(Refusal::TooOld);
        }
        let agent = self.agents.get_mut(name);
        agent
            .ok_or_else(|| Refusal::NoSuchAgent { name: name.clone() })?
            .admin = admin;
        if admin != AgentAdmin::Draining {
            self.forget_drained(name);
        }
        self.touch_agent(name);
        Ok(Reply::Done)
    }

    /// C-08a: whatever anybody says of its attempts.
    pub(super) fn declare_dead(&mut self, name: &AgentName, context: Context<'_>) -> Outcome {
        if !self.splits_jobs() {
            return Err(Refusal::TooOld);
        }
        let agent = self
            .agents
            .get_mut(name)
            .ok_or_else(|| Refusal::NoSuchAgent { name: name.clone() })?;
        if agent.media.is_none() {
            return Err(Refusal::NoMediaAgent { name: name.clone() });
        }
        (agent.state, agent.since) = (AgentState::NoCommunication, context.at);
        self.touch_agent(name);
        let on_it = self.running_on(name);
        let jobs: Vec<JobId> = on_it.map(|job| job.id).collect();
        for job in &jobs {
            let who = context.asked_by.map_or(context.by, |asker| asker.name.as_str());
            self.supersede_running(
                *job,
                &format!("{who} declared media agent {name} dead"),
                None,
                context,
            );
        }
        Ok(Reply::DeclaredDead { jobs })
    }

    /// The agent came with a journal that knows nothing of its attempts: they go on in new ones (DESIGN 3).
    fn move_on_without_journal(&mut self, agent: &AgentName, at: Timestamp) {
        let jobs: Vec<JobId> = self
            .running_on(agent)
            .filter(|job| {
                self.running_of(job)
                    .is_some_and(|running| running.media_agent == *agent)
            })
            .map(|job| job.id)
            .collect();
        for job in jobs {
            let text = "the media agent came back with a new journal".to_owned();
            self.say(job, at, Severity::Warning, agent.as_str(), text.clone());
            self.interrupt_attempt(job, None, text, at);
        }
    }
}
