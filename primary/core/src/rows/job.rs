//! Jobs. Their items and open attempts have rows of their own.

use outlast_proto::words::{
    AgentName, Attempt, AttemptId, CompletionStatus, JobId, JobKey, JobKind, JobNonce, JobState, PolicyName,
    PoolName, StatusCode, StorageUnitName, Timestamp,
};
use serde::{Deserialize, Serialize};

use super::FollowUp;
use crate::entry::{Asker, RestoreRequest};

/// What a job is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobTask {
    /// Back up the items of the policy.
    Backup {
        /// Compare with nothing.
        full: bool,
    },
    /// Restore from a restore point.
    Restore {
        /// As it was asked for.
        request: RestoreRequest,
        /// Where the restore point lies.
        storage_unit: StorageUnitName,
    },
}

/// One run of a policy on a client, or one restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Never changes.
    pub id: JobId,
    /// Nor does this: tells it from any other job that has or gets its number (S-12b). A row without one is as it was before there were
    /// nonces: members of before have the same.
    #[serde(default, skip_serializing_if = "JobNonce::is_none")]
    pub nonce: JobNonce,
    /// Of which policy (of a restore: the policy that made the restore point).
    pub policy: PolicyName,
    /// That policy as it was when the job was created.
    pub revision: u32,
    /// The pool it runs in.
    pub pool: PoolName,
    /// Whose data.
    pub client: AgentName,
    /// What to do.
    pub task: JobTask,
    /// T-06.
    pub priority: u32,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// When its first attempt was dispatched.
    pub started_at: Option<Timestamp>,
    /// When it became done.
    pub ended_at: Option<Timestamp>,
    /// Where it is.
    pub state: JobState,
    /// Rises with every change; decisions name the one they were made on.
    pub version: u64,
    /// How it ended.
    pub status: Option<(CompletionStatus, StatusCode)>,
    /// The number of the last attempt.
    pub last_attempt: Attempt,
    /// Whether the last attempt is resilient, once that is decided.
    pub resilient: Option<bool>,
    /// The attempt under way, if there is one; superseded ones may be open beside it.
    pub running: Option<Attempt>,
    /// How many lines of details there are.
    pub details: u32,
    /// Who submitted it; none: not known. From cluster version [`crate::apply::JOBS_SAY_BY_WHOM`] on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Asker>,
    /// What follows its last attempt.
    #[serde(default, skip_serializing_if = "FollowUp::is_none")]
    pub follow_up: FollowUp,
}

impl Job {
    /// What kind of job it is.
    #[must_use]
    pub const fn kind(&self) -> JobKind {
        match self.task {
            JobTask::Backup { .. } => JobKind::Backup,
            JobTask::Restore { .. } => JobKind::Restore,
        }
    }

    /// Which job it is for good.
    #[must_use]
    pub const fn key(&self) -> JobKey {
        JobKey {
            id: self.id,
            nonce: self.nonce,
        }
    }

    /// When there is something to do about it, if it waits to begin again.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        let waits = matches!(self.state, JobState::Incomplete | JobState::WaitingForRetry);
        Some(self.follow_up.waits.as_ref().filter(|_| waits)?.next())
    }

    /// Which attempt runs.
    #[must_use]
    pub fn running_id(&self) -> Option<AttemptId> {
        Some(self.key().attempt(self.running?))
    }
}
