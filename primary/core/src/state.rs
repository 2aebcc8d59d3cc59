//! The whole replicated state: the tables, and the indexes derived from them.
//!
//! Only `apply` changes it. The store keeps the tables row by row; indexes are rebuilt when rows are loaded.

use std::collections::BTreeSet;

use outlast_proto::words::{
    AgentKind, AgentName, Attempt, Exception, ItemNumber, JobId, JobState, Policy, PolicyName, PoolName,
    RequestId, RuleName, SnapshotId, StorageUnitName, Timestamp,
};

use crate::indexes::Indexes;
use crate::joined;
use crate::reply::Reply;
use crate::rows::{
    Agent, Alarm, Cluster, Detail, Fence, History, ItemRow, Job, Member, OpenAttempt, PolicyRow, Pool, Reign,
    RemovedAgent, RestorePoint, RuleRow, Settings, StorageUnit,
};
use crate::table::{DamagedRow, RowChange, Table};
use crate::touched::{Rows, Touched};

/// An answer that a repeated submission gets again.
pub(crate) type KnownRequest = (Timestamp, Reply);

/// The state every primary holds. Public fields are for reading; entries change them.
#[derive(Clone, Debug)]
pub struct ClusterState {
    pub(crate) cluster: Table<(), Cluster>,
    pub(crate) members: Table<u64, Member>,
    pub(crate) policies: Table<PolicyName, PolicyRow>,
    pub(crate) policy_revisions: Table<(PolicyName, u32), Policy>,
    pub(crate) pools: Table<PoolName, Pool>,
    pub(crate) storage_units: Table<StorageUnitName, StorageUnit>,
    pub(crate) agents: Table<AgentName, Agent>,
    pub(crate) jobs: Table<JobId, Job>,
    pub(crate) items: Table<(JobId, ItemNumber), ItemRow>,
    pub(crate) open: Table<(JobId, Attempt), OpenAttempt>,
    /// Exceptions of open attempts, in order; those of ended ones are in their histories.
    pub(crate) exceptions: Table<(JobId, Attempt, u32), Exception>,
    pub(crate) fences: Table<(AgentName, JobId), Fence>,
    pub(crate) histories: Table<(JobId, Attempt), History>,
    pub(crate) restore_points: Table<SnapshotId, RestorePoint>,
    pub(crate) details: Table<(JobId, u32), Detail>,
    pub(crate) requests: Table<RequestId, KnownRequest>,
    pub(crate) reigns: Table<u64, Reign>,
    pub(crate) alarms: Table<u32, Alarm>,
    pub(crate) rules: Table<RuleName, RuleRow>,
    pub(crate) removed: Table<AgentName, RemovedAgent>,
    pub(crate) indexes: Indexes,
    pub(crate) touched: Touched,
}

impl Default for ClusterState {
    fn default() -> Self {
        Self {
            cluster: Table::new(b'C'),
            members: Table::new(b'm'),
            policies: Table::new(b'p'),
            policy_revisions: Table::new(b'P'),
            pools: Table::new(b'o'),
            storage_units: Table::new(b's'),
            agents: Table::new(b'a'),
            jobs: Table::new(b'j').in_format(joined::SPLIT),
            items: Table::new(b'i'),
            open: Table::new(b'O'),
            exceptions: Table::new(b'x'),
            fences: Table::new(b'F'),
            histories: Table::new(b'h'),
            restore_points: Table::new(b'r'),
            details: Table::new(b'd'),
            requests: Table::new(b'q'),
            reigns: Table::new(b'R'),
            alarms: Table::new(b'A'),
            rules: Table::new(b'u'),
            removed: Table::new(b'g'),
            indexes: Indexes::default(),
            touched: Touched::default(),
        }
    }
}

/// Runs the same call on every table.
macro_rules! on_all_tables {
    ($state:ident, |$table:ident| $call:expr) => {{
        {
            let $table = &mut $state.cluster;
            $call
        }
        {
            let $table = &mut $state.members;
            $call
        }
        {
            let $table = &mut $state.policies;
            $call
        }
        {
            let $table = &mut $state.policy_revisions;
            $call
        }
        {
            let $table = &mut $state.pools;
            $call
        }
        {
            let $table = &mut $state.storage_units;
            $call
        }
        {
            let $table = &mut $state.agents;
            $call
        }
        {
            let $table = &mut $state.jobs;
            $call
        }
        {
            let $table = &mut $state.items;
            $call
        }
        {
            let $table = &mut $state.open;
            $call
        }
        {
            let $table = &mut $state.exceptions;
            $call
        }
        {
            let $table = &mut $state.fences;
            $call
        }
        {
            let $table = &mut $state.histories;
            $call
        }
        {
            let $table = &mut $state.restore_points;
            $call
        }
        {
            let $table = &mut $state.details;
            $call
        }
        {
            let $table = &mut $state.requests;
            $call
        }
        {
            let $table = &mut $state.reigns;
            $call
        }
        {
            let $table = &mut $state.alarms;
            $call
        }
        {
            let $table = &mut $state.rules;
            $call
        }
        {
            let $table = &mut $state.removed;
            $call
        }
    }};
}

impl ClusterState {
    /// The state that stored rows describe.
    ///
    /// # Errors
    /// [`DamagedRow`] if one cannot be read, or belongs to a table this version does not know.
    pub fn from_rows<'a>(rows: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Result<Self, DamagedRow> {
        let mut state = Self::default();
        for (key, row) in rows {
            state.load_row(key, row)?;
        }
        state.indexes = state.derive_indexes();
        Ok(state)
    }

    fn load_row(&mut self, key: &[u8], row: &[u8]) -> Result<(), DamagedRow> {
        if joined::load(self, key, row)? {
            return Ok(());
        }
        on_all_tables!(self, |table| if table.load(key, row)? {
            return Ok(());
        });
        let table = key.first().copied().unwrap_or(b'?').into();
        Err(DamagedRow {
            table,
            reason: "this version knows no such table".into(),
        })
    }

    /// The rows that changed since the last call, for the store.
    pub fn take_changes(&mut self) -> Vec<RowChange> {
        let mut changes = Vec::new();
        if !self.splits_jobs() {
            joined::take_changes(self, &mut changes);
        }
        on_all_tables!(self, |table| table.take_changes(&mut changes));
        changes
    }

    /// The indexes as the tables say; equal to those kept, if `apply` is right.
    pub(crate) fn derive_indexes(&self) -> Indexes {
        let mut indexes = Indexes::default();
        for (_, job) in self.jobs.iter() {
            if job.state == JobState::Queued {
                indexes.queue.add(job);
            }
            if let Some(running) = self.running_of(job) {
                indexes.add_running(job, &running.media_agent);
                if running.loss.is_some() {
                    indexes.lost.insert(job.id);
                }
            }
            indexes.due.extend(job.due().map(|at| (at, job.id)));
        }
        for ((id, _), history) in self.histories.iter() {
            indexes.add_history(*id, history);
        }
        for (id, point) in self.restore_points.iter() {
            indexes.add_restore_point(*id, point);
        }
        for (id, (at, _)) in self.requests.iter() {
            indexes.request_ages.insert((*at, id.clone()));
        }
        indexes
    }

    /// Identity and settings; none before the first leader established them.
    #[must_use]
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.get(&())
    }

    /// Cluster-wide settings.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.cluster().map(|cluster| cluster.settings).unwrap_or_default()
    }

    /// Every node number ever given out, rising.
    pub fn members(&self) -> impl Iterator<Item = (u64, &Member)> {
        self.members.iter().map(|(id, row)| (*id, row))
    }

    /// Those in the group now: admitted and not removed.
    pub fn present_members(&self) -> impl Iterator<Item = (u64, &Member)> {
        self.members().filter(|(_, member)| member.removed_at.is_none())
    }

    /// A policy in force.
    #[must_use]
    pub fn policy(&self, name: &PolicyName) -> Option<(&Policy, u32)> {
        let row = self.policies.get(name).filter(|row| !row.deleted)?;
        Some((
            self.policy_revisions.get(&(name.clone(), row.revision))?,
            row.revision,
        ))
    }

    /// All policies in force, by name.
    pub fn policies(&self) -> impl Iterator<Item = (&Policy, u32)> {
        self.policies.iter().filter_map(|(name, _)| self.policy(name))
    }

    /// The policy a job was made from.
    #[must_use]
    pub fn policy_of(&self, job: &Job) -> Option<&Policy> {
        self.policy_revisions.get(&(job.policy.clone(), job.revision))
    }

    /// A pool.
    #[must_use]
    pub fn pool(&self, name: &PoolName) -> Option<&Pool> {
        self.pools.get(name)
    }

    /// All pools by name.
    pub fn pools(&self) -> impl Iterator<Item = (&PoolName, &Pool)> {
        self.pools.iter()
    }

    /// A storage unit.
    #[must_use]
    pub fn storage_unit(&self, name: &StorageUnitName) -> Option<&StorageUnit> {
        self.storage_units.get(name)
    }

    /// All storage units by name.
    pub fn storage_units(&self) -> impl Iterator<Item = (&StorageUnitName, &StorageUnit)> {
        self.storage_units.iter()
    }

    /// Where a media agent stores.
    #[must_use]
    pub fn unit_of_agent(&self, agent: &AgentName) -> Option<&StorageUnitName> {
        Some(&self.agent(agent)?.media.as_ref()?.storage_unit)
    }

    /// An agent.
    #[must_use]
    pub fn agent(&self, name: &AgentName) -> Option<&Agent> {
        self.agents.get(name)
    }

    /// All agents by name.
    pub fn agents(&self) -> impl Iterator<Item = (&AgentName, &Agent)> {
        self.agents.iter()
    }

    /// What is kept of an agent that was removed: it is not welcome any more.
    #[must_use]
    pub fn removed(&self, name: &AgentName) -> Option<&RemovedAgent> {
        self.removed.get(name)
    }

    /// A client agent.
    #[must_use]
    pub fn client(&self, name: &AgentName) -> Option<&Agent> {
        self.agent(name)
            .filter(|agent| agent.kind == AgentKind::ClientAgent)
    }

    /// A job.
    #[must_use]
    pub fn job(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(&id)
    }

    /// Jobs with ids below `before`, newest first.
    pub fn jobs_before(&self, before: Option<JobId>) -> impl Iterator<Item = &Job> {
        let end = before.unwrap_or(JobId(u64::MAX));
        self.jobs.range(..end).rev().map(|(_, job)| job)
    }

    /// Jobs whose running attempt uses this agent.
    pub fn running_on(&self, agent: &AgentName) -> impl Iterator<Item = &Job> {
        let ids = self.indexes.running.get(agent).into_iter().flatten();
        ids.filter_map(|id| self.jobs.get(id))
    }

    /// On how many jobs this agent is at work.
    pub(crate) fn load_of(&self, agent: &AgentName) -> usize {
        self.indexes.running.get(agent).map_or(0, BTreeSet::len)
    }

    /// The newest job that this media agent has run or is running.
    pub(crate) fn last_job_on(&self, agent: &AgentName) -> Option<JobId> {
        let running = self.indexes.running.get(agent).and_then(BTreeSet::last);
        running.max(self.indexes.last_ended.get(agent)).copied()
    }

    /// A history.
    #[must_use]
    pub fn history(&self, job: JobId, attempt: Attempt) -> Option<&History> {
        self.histories.get(&(job, attempt))
    }

    /// A job's histories, first attempt first.
    pub fn histories_of(&self, job: JobId) -> impl Iterator<Item = (Attempt, &History)> {
        let all = (job, Attempt(0))..=(job, Attempt(u32::MAX));
        self.histories
            .range(all)
            .map(|((_, attempt), history)| (*attempt, history))
    }

    /// Every history, by job and attempt.
    pub fn histories(&self) -> impl DoubleEndedIterator<Item = (JobId, Attempt, &History)> {
        self.histories
            .iter()
            .map(|((job, attempt), history)| (*job, *attempt, history))
    }

    /// A job's details, oldest first.
    pub fn details_of(&self, job: JobId) -> impl Iterator<Item = &Detail> {
        self.details
            .range((job, 0)..=(job, u32::MAX))
            .map(|(_, detail)| detail)
    }

    /// How many entries were applied since the group counts them.
    #[must_use]
    pub fn entries_applied(&self) -> u64 {
        self.cluster().map_or(0, |cluster| cluster.entries)
    }

    /// Changes a job and keeps the indexes true. The job's version rises.
    pub(crate) fn change_job<T>(&mut self, id: JobId, change: impl FnOnce(&mut Job) -> T) -> Option<T> {
        let job = self.jobs.get_mut(&id)?;
        let waited = self.indexes.queue.remove(id);
        let was_due = job.due();
        let result = change(job);
        job.version += 1;
        let due = job.due();
        if was_due != due {
            if let Some(at) = was_due {
                self.indexes.due.remove(&(at, id));
            }
            self.indexes.due.extend(due.map(|at| (at, id)));
            self.touched.rows.insert(Rows::FollowUps);
        }
        let waits = self.enqueue(id);
        self.touched.job(waited != waits);
        self.touch_agents_of(id);
        Some(result)
    }

    pub(crate) fn add_job(&mut self, job: Job) {
        let id = job.id;
        self.touched.job(true);
        self.jobs.insert(id, job);
        self.enqueue(id);
    }

    /// Whether the job waits.
    fn enqueue(&mut self, id: JobId) -> bool {
        let waits = self.jobs.get(&id).filter(|job| job.state == JobState::Queued);
        if let Some(job) = waits {
            self.indexes.queue.add(job);
        }
        waits.is_some()
    }

    pub(crate) fn add_history(&mut self, job: JobId, attempt: Attempt, history: History) {
        self.indexes.add_history(job, &history);
        self.histories.insert((job, attempt), history);
    }

    /// The running attempt of a job, to be changed; its media agent stays.
    pub(crate) fn running_mut(&mut self, job: JobId) -> Option<&mut OpenAttempt> {
        let attempt = self.jobs.get(&job)?.running?;
        self.open.get_mut(&(job, attempt))
    }

    /// Something of a job changed that has a row of its own.
    pub(crate) fn touch_job(&mut self, id: JobId) {
        self.change_job(id, |_| ());
    }

    /// The attempt begins to run.
    pub(crate) fn open_attempt_of(&mut self, id: JobId, attempt: OpenAttempt) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.running = Some(attempt.attempt);
        self.indexes.add_running(job, &attempt.media_agent);
        self.touched.begins_or_ends([&attempt.media_agent, &job.client]);
        self.open.insert((id, attempt.attempt), attempt);
    }

    /// The running attempt of a job runs no more; its row stays.
    pub(crate) fn stop_running(&mut self, id: JobId) -> Option<Attempt> {
        let job = self.jobs.get_mut(&id)?;
        let attempt = job.running.take()?;
        self.indexes.lost.remove(&id);
        if let Some(open) = self.open.get(&(id, attempt)) {
            self.indexes.remove_running(job, &open.media_agent);
            self.touched.begins_or_ends([&open.media_agent, &job.client]);
        }
        Some(attempt)
    }
}
