//! States, completion statuses and kinds (SPEC section 2), and the table of a job's life.

use serde::{Deserialize, Serialize};

use super::word_enum;

word_enum!(
    /// Where a job is.
    JobState {
        /// Waiting to be dispatched.
        Queued = "queued",
        /// An attempt is under way.
        Active = "active",
        /// A stop or cancel is under way.
        Stopping = "stopping",
        /// Ended with a usable checkpoint; may be resumed.
        Incomplete = "incomplete",
        /// A rule will start it again.
        WaitingForRetry = "waiting_for_retry",
        /// Laid aside at a checkpoint.
        Suspended = "suspended",
        /// Kept back until an operator releases it.
        Held = "held",
        /// Over; its status is that of its last attempt.
        Done = "done",
    }
);

word_enum!(
    /// How an attempt ended. Set once.
    CompletionStatus {
        /// S-01.
        Successful = "successful",
        /// S-02.
        CompletedWithExceptions = "completed_with_exceptions",
        /// S-03.
        FailedOver = "failed_over",
        /// S-04.
        Resumed = "resumed",
        /// S-05.
        Canceled = "canceled",
        /// S-06.
        CanceledTimedOut = "canceled_timed_out",
        /// S-07.
        Failed = "failed",
        /// S-08.
        Recovered = "recovered",
        /// S-09.
        Missed = "missed",
    }
);

impl CompletionStatus {
    /// Whether the job goes on in a further attempt after an attempt that ended so.
    #[must_use]
    pub const fn goes_on(self) -> bool {
        matches!(
            self,
            CompletionStatus::FailedOver | CompletionStatus::Resumed | CompletionStatus::Recovered
        )
    }
}

word_enum!(
    /// What a job does.
    JobKind {
        /// Host to storage unit.
        Backup = "backup",
        /// Storage unit to host.
        Restore = "restore",
    }
);

word_enum!(
    /// What an agent does.
    AgentKind {
        /// Stores backups.
        MediaAgent = "media_agent",
        /// Reads and restores a host.
        ClientAgent = "client_agent",
    }
);

word_enum!(
    /// What the primary thinks of an agent (C-01).
    AgentState {
        /// Usable.
        Enabled = "enabled",
        /// Switched off by hand.
        Disabled = "disabled",
        /// Silent for `stalled_after` (C-02).
        CommunicationStalled = "communication_stalled",
        /// Silent for `no_communication_after` more (C-03).
        NoCommunication = "no_communication",
    }
);

word_enum!(
    /// What an operator wants of an agent (C-01).
    #[derive(Default)]
    AgentAdmin {
        /// It gets jobs.
        #[default]
        Enabled = "enabled",
        /// It gets none.
        Disabled = "disabled",
        /// It gets none, so that its host can be taken down when it is empty.
        Draining = "draining",
    }
);

word_enum!(
    /// How a pool chooses a media agent (F-02).
    SelectionMethod {
        /// The first usable one of the list.
        Prioritized = "prioritized",
        /// The first one; others only while it is down.
        Failover = "failover",
        /// Each in turn.
        RoundRobin = "round_robin",
        /// Fewest active attempts, then most free space.
        LoadBalanced = "load_balanced",
    }
);

word_enum!(
    /// How bad a line of job details is.
    Severity {
        /// For information.
        Info = "info",
        /// Worth a look.
        Warning = "warning",
        /// Something failed.
        Error = "error",
    }
);

word_enum!(
    /// How a job was stopped (S-01, section 8).
    Stopped {
        /// Items in progress were finished.
        Graceful = "graceful",
        /// Items in progress were given up.
        Immediate = "immediate",
    }
);

word_enum!(
    /// Why an attempt cannot go on where it is (F-09, F-18). What follows, the primary decides.
    Interruption {
        /// No stream of its client came for `reconnect_for`.
        ClientUnreachable = "client_unreachable",
        /// Another process of its client came.
        ClientCameBackNew = "client_came_back_new",
        /// Its client said that it is shut down.
        ClientShutDown = "client_shut_down",
        /// Its media agent cannot use the storage unit.
        StorageUnavailable = "storage_unavailable",
    }
);

word_enum!(
    /// How patient elections of the primary are (CLI.md `cluster set`).
    #[derive(Default)]
    Timing {
        /// 50 ms heartbeat, 150 to 300 ms election: nodes in one place.
        #[default]
        Lan = "lan",
        /// Ten times that: nodes with distance between them.
        Wan = "wan",
    }
);

/// What may happen to a job, as far as its state is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobEvent {
    /// An attempt was given to a media agent.
    Dispatched,
    /// The attempt ended and its status ends the job.
    AttemptEnded,
    /// The attempt ended and the job goes on in a further one (S-03, S-04, S-08).
    AttemptMovedOn,
    /// The job ended while none of its attempts was under way (S-12a).
    EndedUnstarted,
    /// An administrator wants the attempt to end.
    StopOrdered,
    /// The attempt ended; what it left is of use, and it is to be gone on from (F-09).
    LeftIncomplete,
    /// The attempt ended; a rule begins the job again (F-09, E-01).
    RetryAwaited,
    /// It is kept back, by a person or a rule (T-07, E-04).
    HeldBack,
    /// What was waited for is here: the next attempt may begin.
    Readied,
}

/// An event that the job's state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {state} cannot be {event:?}")]
pub struct IllegalTransition {
    /// The state the job was in.
    pub state: JobState,
    /// What was to happen.
    pub event: JobEvent,
}

impl JobState {
    /// The table of a job's life: the state after `event`.
    ///
    /// # Errors
    /// [`IllegalTransition`] where SPEC section 2 knows no such step.
    pub const fn next(self, event: JobEvent) -> Result<JobState, IllegalTransition> {
        match (self, event) {
            (JobState::Queued, JobEvent::Dispatched) => Ok(JobState::Active),
            (
                JobState::Queued | JobState::Incomplete | JobState::WaitingForRetry | JobState::Held,
                JobEvent::EndedUnstarted,
            )
            | (JobState::Active | JobState::Stopping, JobEvent::AttemptEnded) => Ok(JobState::Done),
            (JobState::Active, JobEvent::AttemptMovedOn)
            | (JobState::Incomplete | JobState::WaitingForRetry | JobState::Held, JobEvent::Readied) => {
                Ok(JobState::Queued)
            }
            (JobState::Active, JobEvent::StopOrdered) => Ok(JobState::Stopping),
            (JobState::Active | JobState::Held, JobEvent::LeftIncomplete) => Ok(JobState::Incomplete),
            (JobState::Active | JobState::Held, JobEvent::RetryAwaited) => Ok(JobState::WaitingForRetry),
            (
                JobState::Active | JobState::Queued | JobState::Incomplete | JobState::WaitingForRetry,
                JobEvent::HeldBack,
            ) => Ok(JobState::Held),
            (state, event) => Err(IllegalTransition { state, event }),
        }
    }

    /// Whether an attempt is under way.
    #[must_use]
    pub const fn is_running(self) -> bool {
        matches!(self, JobState::Active | JobState::Stopping)
    }
}
