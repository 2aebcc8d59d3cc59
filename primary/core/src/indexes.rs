//! What is derived from the tables, so that nobody has to look at all of them. Never stored: rebuilt when rows are loaded.
//!
//! Kept by `state` and `apply`; `invariants` compares them with what the tables say.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use outlast_proto::words::{
    AgentName, ItemNumber, JobId, PolicyName, PoolName, RequestId, SnapshotId, StorageUnitName, Timestamp,
};

use crate::dispatch::need_of;
use crate::rows::{History, Job, RestorePoint};

/// A restore point in the order of committing: entries applied before, its time, its id.
type Committed = (u64, Timestamp, SnapshotId);

/// Derived from the tables: what the reconcilers need without looking at everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Indexes {
    /// Queued jobs.
    pub(crate) queue: Queue,
    /// The newest job of a media agent that has a history.
    pub(crate) last_ended: BTreeMap<AgentName, JobId>,
    /// Jobs with a running attempt, by media agent and by client.
    pub(crate) running: BTreeMap<AgentName, BTreeSet<JobId>>,
    /// Restore points of one client, policy and item in the order they were committed, those of before that was kept by their times: the next
    /// backup's parent is the last.
    pub(crate) by_item: BTreeMap<(AgentName, PolicyName, String), BTreeSet<Committed>>,
    /// The restore point of an item of a job: there is at most one.
    pub(crate) by_job_item: BTreeMap<(JobId, ItemNumber), SnapshotId>,
    /// How many restore points lie in a storage unit, and how many of these are lost.
    pub(crate) by_unit: BTreeMap<StorageUnitName, (u64, u64)>,
    /// Jobs that wait to begin again, by when there is something to do about them.
    pub(crate) due: BTreeSet<(Timestamp, JobId)>,
    /// Jobs whose running attempt has lost its client, so that what follows is to be decided.
    pub(crate) lost: BTreeSet<JobId>,
    /// Known requests, oldest first.
    pub(crate) request_ages: BTreeSet<(Timestamp, RequestId)>,
}

/// What a waiting job needs of a media agent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Need {
    pub(crate) pool: PoolName,
    /// The only storage unit it can use.
    pub(crate) unit: Option<StorageUnitName>,
    /// Whether it stores something there.
    pub(crate) stores: bool,
}

/// The order in which jobs are dispatched: by priority, then as they were submitted.
pub(crate) type Turn = (Reverse<u32>, Timestamp, JobId);

/// Queued jobs, by what decides whether they can start: those that cannot for the same reason need not be looked at one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Queue {
    clients: BTreeMap<AgentName, BTreeMap<Need, BTreeSet<Turn>>>,
    /// Where each is, to be found when it has changed.
    places: BTreeMap<JobId, (AgentName, Need, Turn)>,
}

impl Queue {
    pub(crate) fn add(&mut self, job: &Job) {
        let turn = (Reverse(job.priority), job.created_at, job.id);
        let need = need_of(job);
        let needs = self.clients.entry(job.client.clone()).or_default();
        needs.entry(need.clone()).or_default().insert(turn);
        self.places.insert(job.id, (job.client.clone(), need, turn));
    }

    /// Whether it was there.
    pub(crate) fn remove(&mut self, job: JobId) -> bool {
        let Some((client, need, turn)) = self.places.remove(&job) else {
            return false;
        };
        if let Some(needs) = self.clients.get_mut(&client) {
            if let Some(turns) = needs.get_mut(&need) {
                turns.remove(&turn);
                if turns.is_empty() {
                    needs.remove(&need);
                }
            }
            if needs.is_empty() {
                self.clients.remove(&client);
            }
        }
        true
    }

    /// Those of a client, by what they need.
    pub(crate) fn of(&self, client: &AgentName) -> Option<&BTreeMap<Need, BTreeSet<Turn>>> {
        self.clients.get(client)
    }
}

impl Indexes {
    pub(crate) fn add_history(&mut self, job: JobId, history: &History) {
        if let Some(media_agent) = &history.media_agent {
            let last = self.last_ended.entry(media_agent.clone()).or_insert(job);
            *last = job.max(*last);
        }
    }

    pub(crate) fn add_running(&mut self, job: &Job, media_agent: &AgentName) {
        for agent in [media_agent, &job.client] {
            self.running.entry(agent.clone()).or_default().insert(job.id);
        }
    }

    pub(crate) fn remove_running(&mut self, job: &Job, media_agent: &AgentName) {
        for agent in [media_agent, &job.client] {
            if let Some(jobs) = self.running.get_mut(agent) {
                jobs.remove(&job.id);
                if jobs.is_empty() {
                    self.running.remove(agent);
                }
            }
        }
    }

    pub(crate) fn add_restore_point(&mut self, id: SnapshotId, point: &RestorePoint) {
        let item = (point.client.clone(), point.policy.clone(), point.item.clone());
        let place = (point.committed, point.time, id);
        self.by_item.entry(item).or_default().insert(place);
        self.by_job_item.insert((point.job, point.item_number), id);
        let (all, lost) = self.by_unit.entry(point.storage_unit.clone()).or_default();
        *all += 1;
        *lost += u64::from(point.lost.is_some());
    }
}
