//! how long an attempt that is not resilient, or not marked yet, still does without a primary.

use std::time::Duration;

/// What is left of the grace, with the contact lost at `lost_at` (monotonic; none: there is contact, and nothing runs out).
#[must_use]
pub fn left(lost_at: Option<Duration>, grace: Duration, now: Duration) -> Option<Duration> {
    lost_at.map(|at| (at + grace).saturating_sub(now))
}

/// The fault of an attempt whose grace is over.
#[must_use]
pub fn lost(grace: Duration) -> crate::Fault {
    crate::Fault::broken(format!(
        "no primary answered for {} s and the job is not resilient",
        grace.as_secs()
    ))
}
