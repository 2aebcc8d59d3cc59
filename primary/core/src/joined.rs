//! How a job was stored before cluster version 8: with its items and its running attempt in one row.
//!
//! A member of before has the same rows, so that is how they are written until all members speak version 8; the entry that puts it in force
//! writes them anew. Only here both layouts are known.

use std::collections::BTreeSet;

use outlast_proto::words::{
    AgentName, Attempt, CompletionStatus, Counters, Exception, ItemNumber, ItemOutcome, JobId, JobNonce,
    JobState, PolicyName, PoolName, SnapshotId, StatusCode, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::entry::Asker;
use crate::event::JobError;
use crate::rows::{Checkpoint, FollowUp, ItemRow, Job, JobTask, Made, OpenAttempt, Phase};
use crate::state::ClusterState;
use crate::table::{DamagedRow, ROW_FORMAT, RowChange, encode_row};

/// The layout of a job's row from version 8 on.
pub(crate) const SPLIT: u8 = 2;

/// A job with all that belongs to it.
#[derive(Serialize, Deserialize)]
struct Joined {
    id: JobId,
    #[serde(default, skip_serializing_if = "JobNonce::is_none")]
    nonce: JobNonce,
    policy: PolicyName,
    revision: u32,
    pool: PoolName,
    client: AgentName,
    task: JobTask,
    priority: u32,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    state: JobState,
    version: u64,
    status: Option<(CompletionStatus, StatusCode)>,
    items: Vec<JoinedItem>,
    last_attempt: Attempt,
    resilient: Option<bool>,
    running: Option<Running>,
    details: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<Asker>,
}

#[derive(Serialize, Deserialize)]
struct JoinedItem {
    path: String,
    outcome: ItemOutcome,
    restore_point: Option<SnapshotId>,
}

#[derive(Serialize, Deserialize)]
struct Running {
    attempt: Attempt,
    media_agent: AgentName,
    started_at: Timestamp,
    #[serde(default)]
    resilient: bool,
    #[serde(default)]
    primary_version: String,
    client_admitted: bool,
    marked: bool,
    items: Vec<RunningItem>,
    exceptions: Vec<Exception>,
    checkpoint: Option<(SnapshotId, Timestamp)>,
}

#[derive(Default, PartialEq, Serialize, Deserialize)]
struct RunningItem {
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    counters: Counters,
    error: Option<JobError>,
}

/// Takes up a row of before version 8; false: it is another.
pub(crate) fn load(state: &mut ClusterState, key: &[u8], row: &[u8]) -> Result<bool, DamagedRow> {
    let jobs = &state.jobs;
    let (Some((b'j', key)), Some((&ROW_FORMAT, row))) = (key.split_first(), row.split_first()) else {
        return Ok(false);
    };
    let id = jobs.read_key(key)?;
    let joined: Joined = rmp_serde::from_slice(row).map_err(|error| jobs.damaged(error))?;
    split(state, id, joined);
    Ok(true)
}

/// What changed, as rows of before version 8.
pub(crate) fn take_changes(state: &mut ClusterState, out: &mut Vec<RowChange>) {
    let mut changed: BTreeSet<JobId> = state.jobs.take_changed();
    changed.extend(state.items.take_changed().into_iter().map(|(job, _)| job));
    changed.extend(state.open.take_changed().into_iter().map(|(job, _)| job));
    changed.extend(state.exceptions.take_changed().into_iter().map(|(job, ..)| job));
    for id in changed {
        let row = state.job(id).map(|job| encode_row(ROW_FORMAT, &join(state, job)));
        out.push((state.jobs.store_key(&id), row));
    }
}

fn split(state: &mut ClusterState, id: JobId, joined: Joined) {
    let made = |number: usize| {
        let running = joined.running.as_ref()?;
        let item = running.items.get(number)?;
        (*item != RunningItem::default()).then(|| Made {
            by: running.attempt,
            started_at: item.started_at,
            ended_at: item.ended_at,
            counters: item.counters,
            error: item.error.clone(),
        })
    };
    for (number, item) in joined.items.iter().enumerate() {
        let row = ItemRow {
            path: item.path.clone(),
            outcome: item.outcome,
            restore_point: item.restore_point,
            made: made(number).unwrap_or_default(),
            checkpoint: None,
        };
        let number = ItemNumber(u32::try_from(number).unwrap_or(u32::MAX));
        state.items.load_row((id, number), row);
    }
    let running = joined.running.as_ref().map(|running| running.attempt);
    if let Some(running) = joined.running {
        for (number, exception) in (0..).zip(&running.exceptions) {
            let key = (id, running.attempt, number);
            state.exceptions.load_row(key, exception.clone());
        }
        state.open.load_row((id, running.attempt), opened(running));
    }
    let job = Job {
        id: joined.id,
        nonce: joined.nonce,
        policy: joined.policy,
        revision: joined.revision,
        pool: joined.pool,
        client: joined.client,
        task: joined.task,
        priority: joined.priority,
        created_at: joined.created_at,
        started_at: joined.started_at,
        ended_at: joined.ended_at,
        state: joined.state,
        version: joined.version,
        status: joined.status,
        last_attempt: joined.last_attempt,
        resilient: joined.resilient,
        running,
        details: joined.details,
        by: joined.by,
        follow_up: FollowUp::default(),
    };
    state.jobs.load_row(id, job);
}

fn opened(running: Running) -> OpenAttempt {
    OpenAttempt {
        attempt: running.attempt,
        media_agent: running.media_agent,
        started_at: running.started_at,
        resilient: running.resilient,
        primary_version: running.primary_version,
        client_admitted: running.client_admitted,
        marked: running.marked,
        checkpoint: running.checkpoint.map(|(snapshot, at)| Checkpoint {
            snapshot,
            at,
            counters: None,
        }),
        exceptions: u32::try_from(running.exceptions.len()).unwrap_or(u32::MAX),
        phase: Phase::Running,
        drained: None,
        client_start: None,
        loss: None,
    }
}

fn join(state: &ClusterState, job: &Job) -> Joined {
    let items = state.items_of(job.id).map(|(_, item)| JoinedItem {
        path: item.path.clone(),
        outcome: item.outcome,
        restore_point: item.restore_point,
    });
    let job = job.clone();
    let running = state
        .running_of(&job)
        .map(|running| join_running(state, job.id, running));
    Joined {
        id: job.id,
        nonce: job.nonce,
        policy: job.policy,
        revision: job.revision,
        pool: job.pool,
        client: job.client,
        task: job.task,
        priority: job.priority,
        created_at: job.created_at,
        started_at: job.started_at,
        ended_at: job.ended_at,
        state: job.state,
        version: job.version,
        status: job.status,
        items: items.collect(),
        last_attempt: job.last_attempt,
        resilient: job.resilient,
        running,
        details: job.details,
        by: job.by,
    }
}

fn join_running(state: &ClusterState, job: JobId, open: &OpenAttempt) -> Running {
    let items = state.items_of(job).map(|(_, item)| {
        let made = item.made_by(open.attempt);
        RunningItem {
            started_at: made.started_at,
            ended_at: made.ended_at,
            counters: made.counters,
            error: made.error,
        }
    });
    let open = open.clone();
    Running {
        items: items.collect(),
        exceptions: state.exceptions_of(job, open.attempt).cloned().collect(),
        attempt: open.attempt,
        media_agent: open.media_agent,
        started_at: open.started_at,
        resilient: open.resilient,
        primary_version: open.primary_version,
        client_admitted: open.client_admitted,
        marked: open.marked,
        checkpoint: open
            .checkpoint
            .map(|checkpoint| (checkpoint.snapshot, checkpoint.at)),
    }
}
