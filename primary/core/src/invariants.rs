//! What must hold after every entry. Checked after each apply in debug builds, in tests and in simulation.

use outlast_proto::words::{AgentName, Attempt, JobId, JobState, RuleName, SnapshotId, StatusCode};

use crate::rows::Job;
use crate::rules::conflict;
use crate::state::ClusterState;

/// Something that must not be, and the SPEC row it breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// S-12: every attempt ends in exactly one history.
    #[error("S-12: attempt {attempt} of job {job} has no history and is not running")]
    AttemptWithoutHistory {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
    },
    /// S-12: an attempt is running or over, not both.
    #[error("S-12: attempt {attempt} of job {job} is running and has a history")]
    RunningWithHistory {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
    },
    /// S-12a: a job that ended before its first attempt, and no other, has a history of attempt 0.
    #[error("S-12a: job {job} ended with {attempts} attempts, and its history of attempt 0 says otherwise")]
    UnstartedAgainstHistory {
        /// The job.
        job: JobId,
        /// How many it had.
        attempts: u32,
    },
    /// Section 2: the status is null until done.
    #[error("job {job} is {state} and its status says otherwise")]
    StatusAgainstState {
        /// The job.
        job: JobId,
        /// Its state.
        state: JobState,
    },
    /// Section 2: an attempt runs in states that say so.
    #[error("job {job} is {state} and its running attempt says otherwise")]
    RunningAgainstState {
        /// The job.
        job: JobId,
        /// Its state.
        state: JobState,
    },
    /// F-04: what is superseded is below what runs, and an attempt that is over, or a job that is, keeps none.
    #[error("F-04: attempt {attempt} of job {job} is open, and should not be")]
    OpenAgainstJob {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
    },
    /// F-04: a fence leaves the running attempt alone.
    #[error("F-04: the fence of {agent} for job {job} is above the job's last attempt")]
    FenceAboveJob {
        /// Who is fenced.
        agent: AgentName,
        /// The job.
        job: JobId,
    },
    /// T-11: a job keeps its policy.
    #[error("T-11: the policy of job {job} is gone")]
    PolicyLost {
        /// The job.
        job: JobId,
    },
    /// F-04: an item's restore point exists and is its own.
    #[error("F-04: job {job} refers to restore point {id}, which is not its own")]
    ForeignRestorePoint {
        /// The job.
        job: JobId,
        /// The restore point.
        id: SnapshotId,
    },
    /// E-02: one custom rule counts for a code.
    #[error("E-02: rules \"{one}\" and \"{other}\" both count for code {code}")]
    TwoRules {
        /// The code.
        code: StatusCode,
        /// One of them.
        one: RuleName,
        /// The other.
        other: RuleName,
    },
    /// F-09, E-04: a job that waits says for what and until when, a held one by whom.
    #[error("F-09: job {job} is {state}, and what it waits for says otherwise")]
    WaitsAgainstState {
        /// The job.
        job: JobId,
        /// Its state.
        state: JobState,
    },
    /// The indexes are derived from the tables.
    #[error("an index differs from its tables")]
    IndexOff,
}

/// Everything that is wrong with the state; nothing, if `apply` is right.
#[must_use]
pub fn violations(state: &ClusterState) -> Vec<Violation> {
    let mut found = Vec::new();
    for job in state.jobs_before(None) {
        check_job(state, job, &mut found);
    }
    for (agent, job, fence) in state.fences() {
        let row = state.job(job).filter(|row| row.nonce == fence.nonce);
        if row.is_some_and(|row| row.running.is_some_and(|running| running <= fence.through)) {
            found.push(Violation::FenceAboveJob {
                agent: agent.clone(),
                job,
            });
        }
    }
    if let Some((code, one, other)) = conflict(state.custom_rules()) {
        let (one, other) = (one.clone(), other.clone());
        found.push(Violation::TwoRules { code, one, other });
    }
    if state.derive_indexes() != state.indexes {
        found.push(Violation::IndexOff);
    }
    found
}

fn check_job(state: &ClusterState, row: &Job, found: &mut Vec<Violation>) {
    let job = row.id;
    if row.status.is_some() != (row.state == JobState::Done) || row.ended_at.is_some() != row.status.is_some()
    {
        found.push(Violation::StatusAgainstState {
            job,
            state: row.state,
        });
    }
    if row.running.is_some() != row.state.is_running() {
        found.push(Violation::RunningAgainstState {
            job,
            state: row.state,
        });
    }
    let (waits, hold) = (row.follow_up.waits.is_some(), &row.follow_up.hold);
    let is_right = match (row.state, hold.as_ref().map(|hold| hold.was)) {
        (JobState::Incomplete | JobState::WaitingForRetry, None) => waits,
        (JobState::Held, Some(was)) => {
            waits == matches!(was, JobState::Incomplete | JobState::WaitingForRetry)
        }
        (JobState::Held, None) => false,
        (_, hold) => !waits && hold.is_none(),
    };
    if !is_right {
        found.push(Violation::WaitsAgainstState {
            job,
            state: row.state,
        });
    }
    if state.policy_of(row).is_none() && row.revision != 0 {
        found.push(Violation::PolicyLost { job });
    }
    for attempt in (1..=row.last_attempt.0).map(Attempt) {
        let open = state.open_attempt(job, attempt).is_some();
        match (open, state.history(job, attempt).is_some()) {
            (true, true) => found.push(Violation::RunningWithHistory { job, attempt }),
            (false, false) => found.push(Violation::AttemptWithoutHistory { job, attempt }),
            _ => {}
        }
    }
    for open in state.open_of(job) {
        let is_right = match row.running {
            Some(running) if running == open.attempt => open.is_running(),
            Some(running) => !open.is_running() && open.attempt < running,
            None => !open.is_running() && row.state != JobState::Done,
        };
        if !is_right || open.attempt > row.last_attempt {
            let attempt = open.attempt;
            found.push(Violation::OpenAgainstJob { job, attempt });
        }
    }
    let ended_unstarted = row.state == JobState::Done && row.last_attempt == Attempt(0);
    if state.history(job, Attempt(0)).is_some() != ended_unstarted {
        found.push(Violation::UnstartedAgainstHistory {
            job,
            attempts: row.last_attempt.0,
        });
    }
    for id in state.items_of(job).filter_map(|(_, item)| item.restore_point) {
        if state.restore_point(&id).is_none_or(|point| point.job != job) {
            found.push(Violation::ForeignRestorePoint { job, id });
        }
    }
}
