//! What belongs to a job and has rows of its own: items, attempts without a history, their exceptions; and fences, which outlive them. For reading.

use outlast_proto::words::{AgentName, Attempt, Exception, ItemNumber, JobId};

use crate::rows::{Fence, ItemRow, Job, OpenAttempt};
use crate::state::ClusterState;

impl ClusterState {
    /// The items of a job, in order.
    pub fn items_of(&self, job: JobId) -> impl Iterator<Item = (ItemNumber, &ItemRow)> {
        let all = (job, ItemNumber(0))..=(job, ItemNumber(u32::MAX));
        self.items.range(all).map(|((_, number), row)| (*number, row))
    }

    /// An item of a job.
    #[must_use]
    pub fn item(&self, job: JobId, number: ItemNumber) -> Option<&ItemRow> {
        self.items.get(&(job, number))
    }

    /// The attempts of a job that have no history yet, first attempt first.
    pub fn open_of(&self, job: JobId) -> impl Iterator<Item = &OpenAttempt> {
        let all = (job, Attempt(0))..=(job, Attempt(u32::MAX));
        self.open.range(all).map(|(_, row)| row)
    }

    /// Every attempt without a history, by job and attempt.
    pub fn open_attempts(&self) -> impl Iterator<Item = (JobId, &OpenAttempt)> {
        self.open.iter().map(|((job, _), row)| (*job, row))
    }

    /// The attempt of a job that is under way.
    #[must_use]
    pub fn running_of(&self, job: &Job) -> Option<&OpenAttempt> {
        self.open.get(&(job.id, job.running?))
    }

    /// An attempt of a job that has no history yet.
    #[must_use]
    pub fn open_attempt(&self, job: JobId, attempt: Attempt) -> Option<&OpenAttempt> {
        self.open.get(&(job, attempt))
    }

    /// Exceptions of an attempt that has no history yet, those kept by name.
    pub fn exceptions_of(&self, job: JobId, attempt: Attempt) -> impl Iterator<Item = &Exception> {
        let all = (job, attempt, 0)..=(job, attempt, u32::MAX);
        self.exceptions.range(all).map(|(_, exception)| exception)
    }

    /// Who has still to be told what.
    pub fn fences(&self) -> impl Iterator<Item = (&AgentName, JobId, &Fence)> {
        self.fences
            .iter()
            .map(|((agent, job), fence)| (agent, *job, fence))
    }

    /// What this agent has still to be told.
    pub fn fences_of(&self, agent: &AgentName) -> impl Iterator<Item = (JobId, &Fence)> {
        let all = (agent.clone(), JobId(0))..=(agent.clone(), JobId(u64::MAX));
        self.fences.range(all).map(|((_, job), fence)| (*job, fence))
    }
}
