//! Whom and what an entry touched, so that only those are woken that have something to look at (B-10). Noted by `apply`, never
//! replicated and never stored; what is missing here is seen late, at the next look of those that look from time to time.
//!
//! A wake-up says "look", never "what". Called by `apply`; the daemon and the simulation take it after every entry.

use std::collections::BTreeSet;

use outlast_proto::words::{AgentName, JobId};

use crate::rows::Job;
use crate::state::ClusterState;

/// What can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rows {
    /// The settings and the version of the cluster.
    Settings,
    /// Who belongs to the group, and what is said of it.
    Members,
    /// Pools, storage units and agents with what they say of themselves; not their journals.
    Agents,
    /// Which jobs wait, which run and where: what decides whether a job can start.
    Queue,
    /// Anything of any job.
    Jobs,
    /// Which jobs wait to begin again, and until when; whose attempt has lost its client.
    FollowUps,
}

impl Rows {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Settings,
        Self::Members,
        Self::Agents,
        Self::Queue,
        Self::Jobs,
        Self::FollowUps,
    ];
}

/// What entries touched since this was last taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// What kinds of rows.
    pub rows: BTreeSet<Rows>,
    /// Agents that may be owed something else than before.
    pub agents: BTreeSet<AgentName>,
}

impl Touched {
    /// A job is new or has changed; `waits`: its place among those that wait may be another.
    pub(crate) fn job(&mut self, waits: bool) {
        self.rows.insert(Rows::Jobs);
        if waits {
            self.rows.insert(Rows::Queue);
        }
    }

    /// An attempt begins to run on these, or runs no more.
    pub(crate) fn begins_or_ends(&mut self, agents: [&AgentName; 2]) {
        self.rows.insert(Rows::Queue);
        self.agents.extend(agents.map(Clone::clone));
    }
}

impl ClusterState {
    /// Whom and what the entries since the last call touched.
    pub fn take_touched(&mut self) -> Touched {
        std::mem::take(&mut self.touched)
    }

    /// An agent has come, or is said to be something else than before: so may be what those are owed that have a job with it.
    pub(crate) fn touch_agent(&mut self, agent: &AgentName) {
        let jobs = self.running_on(agent);
        let partners: Vec<_> = jobs.flat_map(|job| self.agents_of(job)).cloned().collect();
        self.touched.rows.insert(Rows::Agents);
        self.touched.agents.insert(agent.clone());
        self.touched.agents.extend(partners);
    }

    /// Those that the running attempt of a job is on.
    fn agents_of<'a>(&'a self, job: &'a Job) -> impl Iterator<Item = &'a AgentName> {
        let running = self.running_of(job).into_iter();
        running.flat_map(|open| [&open.media_agent, &job.client])
    }

    /// A job has changed, or something of it: its running attempt may be owed something else.
    pub(crate) fn touch_agents_of(&mut self, id: JobId) {
        let job = self.jobs.get(&id).into_iter();
        let agents: Vec<_> = job.flat_map(|job| self.agents_of(job)).cloned().collect();
        self.touched.agents.extend(agents);
    }

    pub(crate) fn touch(&mut self, rows: Rows) {
        self.touched.rows.insert(rows);
    }
}
