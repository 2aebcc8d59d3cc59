//! What a job that does not run waits for, in words (T-08, F-12, E-04).

use outlast_core::ClusterState;
use outlast_core::dispatch::Presence;
use outlast_core::recovery::why_not_yet;
use outlast_core::rows::Job;
use outlast_proto::v1;
use outlast_proto::words::{JobState, Timestamp};

/// Of a job that is incomplete, waits for a retry, or is held; none: it is none of them.
pub(crate) fn waiting(
    state: &ClusterState,
    presence: &Presence,
    job: &Job,
    now: Timestamp,
) -> Option<v1::Waiting> {
    match job.state {
        JobState::Held => held(job),
        JobState::Incomplete | JobState::WaitingForRetry => waits(state, presence, job, now),
        _ => None,
    }
}

fn held(job: &Job) -> Option<v1::Waiting> {
    let hold = job.follow_up.hold.as_ref()?;
    let why = match hold.why.as_str() {
        "" => String::new(),
        why => format!(": {why}"),
    };
    Some(v1::Waiting {
        reason: format!(
            "held by {}{why}; outlast job release {} lets it go on",
            hold.by, job.id
        ),
        r#for: "release".to_owned(),
        until: None,
    })
}

fn waits(state: &ClusterState, presence: &Presence, job: &Job, now: Timestamp) -> Option<v1::Waiting> {
    let waits = job.follow_up.waits.as_ref()?;
    // That of one which nobody could ask is written when the next one has looked what it left.
    let open = state.open_attempt(job.id, job.last_attempt);
    let last = open
        .and_then(|open| open.superseded())
        .or_else(|| state.history(job.id, job.last_attempt))?;
    let ended = format!(
        "attempt {} ended {} ({})",
        job.last_attempt,
        last.code,
        last.code.text()
    );
    let (number, all) = waits.number;
    let goes_on = match job.state {
        JobState::Incomplete => "goes on from what it has",
        _ => "begins again",
    };
    if let Some(why) = why_not_yet(state, presence, job, now) {
        let reason = format!(
            "{ended}; by {} it {goes_on} as soon as it can, try {number} of {all}: {}; it is over if it cannot in time",
            waits.rule, why.reason
        );
        return Some(v1::Waiting {
            reason,
            r#for: why.waits_for.unwrap_or_default(),
            until: Some(waits.until.into()),
        });
    }
    let (reason, until) = match waits.due {
        Some(due) => (
            format!(
                "{ended}; by {} it {goes_on} by itself, try {number} of {all}",
                waits.rule
            ),
            due,
        ),
        None => (
            format!(
                "{ended}; no try of {all} is left by {}: it {goes_on} with outlast job resume {}, or is over",
                waits.rule, job.id
            ),
            waits.until,
        ),
    };
    Some(v1::Waiting {
        reason,
        r#for: job.client.to_string(),
        until: Some(until.into()),
    })
}

/// While it is not decided what becomes of an attempt that its media agent has ended.
pub(crate) fn undecided(state: &ClusterState, job: &Job) -> Option<v1::Waiting> {
    let loss = state.running_of(job)?.loss.as_ref()?;
    Some(v1::Waiting {
        reason: format!(
            "{}; whether client {} is there is being looked at",
            loss.reason, job.client
        ),
        r#for: job.client.to_string(),
        until: None,
    })
}
