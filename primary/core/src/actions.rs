//! What a person can do to a job now (L-03): one table, for what is shown and for what is refused.

use outlast_proto::words::JobState;

use crate::rows::Job;

/// In the words of the command line.
#[must_use]
pub const fn actions(job: &Job) -> &'static [&'static str] {
    match job.state {
        JobState::Queued => &["cancel", "hold"],
        JobState::Active => &["cancel"],
        JobState::Incomplete => &["cancel", "hold", "resume", "restart"],
        JobState::WaitingForRetry => &["cancel", "hold", "resume"],
        JobState::Held => &["cancel", "release", "resume", "restart"],
        JobState::Done => &["restart"],
        JobState::Stopping | JobState::Suspended => &[],
    }
}
