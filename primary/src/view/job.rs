//! Jobs as messages.

use outlast_core::actions::actions;
use outlast_core::dispatch::{Presence, is_too_old, why_waiting};
use outlast_core::rows::{Detail, ItemRow, Job, JobTask, OpenAttempt};
use outlast_core::{ClusterState, rows::RestorePoint};
use outlast_proto::v1;
use outlast_proto::words::{AgentName, JobState, SnapshotId, Timestamp};

use super::{follow_up, history};
use crate::live::Live;

/// The whole of a job: what is recorded, and what the leader knows of its progress.
pub(crate) fn message(
    state: &ClusterState,
    presence: &Presence,
    (live, now): (&Live, Timestamp),
    job: &Job,
) -> v1::Job {
    let mut attempts: Vec<_> = state
        .histories_of(job.id)
        .map(|(attempt, row)| history::message(state, job.id, attempt, row))
        .collect();
    attempts.extend(state.open_of(job.id).map(|open| history::open(state, job, open)));
    attempts.sort_by_key(|attempt| attempt.attempt);
    let items = state.items_of(job.id).map(|(_, item)| v1::Item {
        path: item.path.clone(),
        outcome: item.outcome.to_wire(),
        restore_point: item.restore_point.map(|id| id.to_string()).unwrap_or_default(),
    });
    v1::Job {
        id: job.id.to_string(),
        policy: job.policy.to_string(),
        client: job.client.to_string(),
        kind: job.kind().to_wire(),
        state: job.state.to_wire(),
        status: job.status.map_or(0, |(status, _)| status.to_wire()),
        status_code: job.status.map(|(_, code)| code.0.into()),
        resilient: job.resilient,
        priority: job.priority,
        created_at: Some(job.created_at.into()),
        started_at: job.started_at.map(Into::into),
        ended_at: job.ended_at.map(Into::into),
        waiting: waiting(state, presence, (live, now), job),
        actions: actions(job).iter().map(|action| (*action).to_owned()).collect(),
        progress: state
            .running_of(job)
            .map(|running| progress(state, live, job, running)),
        items: items.collect(),
        attempts,
        parent: String::new(),
        children: Vec::new(),
        by: by(job),
        restore: restore(state, live, job),
        unknown: None,
    }
}

/// What is not known of the running attempt, with what this leader last heard of both.
pub(crate) fn unknown(
    live: &Live,
    state: &ClusterState,
    job: &Job,
    last_seen: impl Fn(&AgentName) -> Option<Timestamp>,
) -> Option<v1::Unknown> {
    let running = state.running_of(job)?;
    let (now, unknown) = live.unknown(job.id)?;
    // What was said of the attempt before is over.
    if unknown.attempt != running.attempt {
        return None;
    }
    let after = |ticks: u64, sign: i64| {
        let micros = i64::try_from(ticks)
            .unwrap_or(i64::MAX)
            .saturating_mul(sign * 1_000_000);
        Timestamp(now.0.saturating_add(micros))
    };
    Some(v1::Unknown {
        since: Some(after(unknown.silent, -1).into()),
        media_agent_last_word: last_seen(&running.media_agent).map(Into::into),
        client_last_word: last_seen(&job.client).map(Into::into),
        client_says: unknown.client_says,
        rule: unknown.rule.to_owned(),
        next_step: unknown.next_step,
        at: unknown.left.map(|left| after(left, 1).into()),
    })
}

/// In words: why an active job may stand still.
pub(crate) fn waiting_for_unknown(media_agent: &AgentName, unknown: &v1::Unknown) -> v1::Waiting {
    v1::Waiting {
        reason: format!(
            "media agent {media_agent} is not heard; {}; {}",
            unknown.client_says, unknown.next_step
        ),
        r#for: media_agent.to_string(),
        until: unknown.at,
    }
}

/// Who submitted a job.
pub(crate) fn by(job: &Job) -> Option<v1::Submitter> {
    let by = job.by.as_ref()?;
    Some(v1::Submitter {
        kind: by.kind.clone(),
        name: by.name.clone(),
    })
}

/// What a restore was asked for, and what it has left alone: in its last attempt, or so far.
fn restore(state: &ClusterState, live: &Live, job: &Job) -> Option<v1::RestoreOfJob> {
    let left_alone = match state.running_of(job) {
        Some(running) => {
            let report = live.of(job.id, running.attempt);
            report.and_then(|report| report.counters)
        }
        None => state
            .history(job.id, job.last_attempt)
            .filter(|history| history.media_agent.is_some())
            .map(|history| history.counters.into()),
    };
    restore_of(job, left_alone.map(|counters: v1::Counters| counters.left_alone))
}

/// What a restore was asked for, with what an attempt left alone.
pub(crate) fn restore_of(job: &Job, left_alone: Option<u64>) -> Option<v1::RestoreOfJob> {
    let JobTask::Restore { request, .. } = &job.task else {
        return None;
    };
    Some(v1::RestoreOfJob {
        restore_point: request.restore_point.to_string(),
        paths: request.paths.clone(),
        to: request.to.clone(),
        overwrite: request.overwrite.to_wire(),
        left_alone,
    })
}

fn waiting(
    state: &ClusterState,
    presence: &Presence,
    (live, now): (&Live, Timestamp),
    job: &Job,
) -> Option<v1::Waiting> {
    if let Some(waiting) = follow_up::waiting(state, presence, job, now) {
        return Some(waiting);
    }
    if let Some(waiting) = follow_up::undecided(state, job) {
        return Some(waiting);
    }
    if job.state == JobState::Stopping {
        return waiting_for_stop(state, presence, job).or_else(|| standing_still(state, live, job));
    }
    if job.state != JobState::Queued {
        return waiting_for_client(state, presence, job).or_else(|| standing_still(state, live, job));
    }
    let waiting = why_waiting(state, presence, job);
    Some(waiting.map_or_else(
        || v1::Waiting {
            reason: "about to start".into(),
            ..Default::default()
        },
        |waiting| v1::Waiting {
            reason: waiting.reason,
            r#for: waiting.waits_for.unwrap_or_default(),
            until: None,
        },
    ))
}

/// A job that is to end and whose media agent cannot be told.
fn waiting_for_stop(state: &ClusterState, presence: &Presence, job: &Job) -> Option<v1::Waiting> {
    let media_agent = &state.running_of(job)?.media_agent;
    (!presence.connected.contains_key(media_agent)).then(|| v1::Waiting {
        reason: format!("media agent {media_agent} is not connected; it ends the attempt when it is back"),
        r#for: media_agent.to_string(),
        until: None,
    })
}

/// An attempt that begins when its client has answered, and a client that cannot.
fn waiting_for_client(state: &ClusterState, presence: &Presence, job: &Job) -> Option<v1::Waiting> {
    let running = state.running_of(job).filter(|running| !running.client_admitted)?;
    let (client, attempt) = (&job.client, running.attempt);
    let reason = if !presence.connected.contains_key(client) {
        format!("client {client} is not connected; attempt {attempt} begins when it is back")
    } else if is_too_old(state, presence, client) {
        format!(
            "client {client} runs a program that is too old for this group, so that its answer does not count; attempt {attempt} begins \
             when the primary's version is installed on its host"
        )
    } else {
        return None;
    };
    Some(v1::Waiting {
        reason,
        r#for: client.to_string(),
        until: None,
    })
}

/// What the media agent says that it waits for while the attempt is active; before, its client.
fn standing_still(state: &ClusterState, live: &Live, job: &Job) -> Option<v1::Waiting> {
    let running = state.running_of(job)?;
    let report = live.of(job.id, running.attempt)?;
    (!report.waiting.is_empty()).then(|| v1::Waiting {
        reason: report.waiting,
        r#for: if running.client_admitted {
            running.media_agent.to_string()
        } else {
            job.client.to_string()
        },
        until: report.waiting_until,
    })
}

fn progress(state: &ClusterState, live: &Live, job: &Job, running: &OpenAttempt) -> v1::Progress {
    let report = live.of(job.id, running.attempt).unwrap_or_default();
    let counters = report.counters.unwrap_or_default();
    v1::Progress {
        files: counters.files,
        bytes: counters.bytes,
        bytes_new: counters.bytes_new,
        rate: report.rate,
        path: report.path,
        eta_seconds: report
            .eta_seconds
            .or_else(|| eta(expected_bytes(state, job, running)?, counters.bytes, report.rate)),
        checkpoint_at: report
            .checkpoint_at
            .or(running.checkpoint.as_ref().map(|checkpoint| checkpoint.at.into())),
    }
}

/// What the job will have processed when it is done, judged by what is known of it: for a backup the last restore points of
/// its items, for a restore the restore point it reads. None for a first backup and for single paths.
fn expected_bytes(state: &ClusterState, job: &Job, running: &OpenAttempt) -> Option<u64> {
    match &job.task {
        JobTask::Restore { request, .. } => {
            let point = state.restore_point(&request.restore_point)?;
            request.paths.is_empty().then_some(point.bytes)
        }
        JobTask::Backup { .. } => {
            let unit = &state.agent(&running.media_agent)?.media.as_ref()?.storage_unit;
            let bytes_of = |item: &ItemRow| {
                let id = state.parent_of(&job.client, &job.policy, &item.path, unit)?;
                Some(state.restore_point(&id)?.bytes)
            };
            state.items_of(job.id).map(|(_, item)| bytes_of(item)).sum()
        }
    }
}

/// Seconds to go at this rate; none where no end can be seen.
fn eta(expected: u64, done: u64, rate: u64) -> Option<u64> {
    expected
        .checked_sub(done)
        .filter(|_| rate > 0)
        .map(|left| left.div_ceil(rate))
}

/// A line of details.
pub(crate) fn detail(detail: &Detail) -> v1::Detail {
    v1::Detail {
        time: Some(detail.time.into()),
        severity: detail.severity.to_wire(),
        host: detail.host.clone(),
        text: detail.text.clone(),
    }
}

/// A restore point.
pub(crate) fn restore_point(id: &SnapshotId, point: &RestorePoint) -> v1::RestorePoint {
    v1::RestorePoint {
        id: id.to_string(),
        job: point.job.to_string(),
        attempt: point.attempt.0,
        policy: point.policy.to_string(),
        client: point.client.to_string(),
        item: point.item.clone(),
        time: Some(point.time.into()),
        files: point.files,
        bytes: point.bytes,
        snapshot: id.to_string(),
        storage_unit: point.storage_unit.to_string(),
        lost: point.lost.map(Into::into),
    }
}

#[cfg(test)]
mod tests {
    use super::eta;

    #[test]
    fn l02_an_eta_needs_a_rate_and_something_left() {
        for (expected, done, rate, seconds) in [
            (100, 0, 10, Some(10)),
            (101, 0, 10, Some(11)),
            (100, 100, 10, Some(0)),
            (100, 40, 0, None),
            (100, 101, 10, None),
        ] {
            assert_eq!(eta(expected, done, rate), seconds, "{expected} {done} {rate}");
        }
    }
}
