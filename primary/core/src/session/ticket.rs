//! Tickets: the right of one attempt to run without a primary (DESIGN 3), before it is signed. The key is the daemon's to use.
//!
//! Pure. Called for the orders of a session, and for questions about restore points.

use outlast_proto::v1::{self, Policy, RestoreOrder, Ticket, TicketItem};
use outlast_proto::words::{ItemOutcome, JobKind, SnapshotId, TreeId};

use crate::durations::TICKET_GOOD_FOR;
use crate::rows::{Job, JobTask, OpenAttempt, RestorePoint};
use crate::state::ClusterState;

/// The ticket of a job's running attempt.
#[must_use]
pub fn ticket(state: &ClusterState, job: &Job, running: &OpenAttempt) -> Option<Ticket> {
    let cluster = state.cluster()?;
    let media = state.agent(&running.media_agent)?.media.as_ref()?;
    let unit = &media.storage_unit;
    let full = matches!(job.task, JobTask::Backup { full: true });
    let items = state.items_of(job.id).map(|(_, item)| {
        let parent = state
            .parent_of(&job.client, &job.policy, &item.path, unit)
            .filter(|_| !full && job.kind() == JobKind::Backup);
        let point = parent.and_then(|id| state.restore_point(&id));
        TicketItem {
            path: item.path.clone(),
            finished: item.outcome.is_finished(),
            with_exceptions: item.outcome == ItemOutcome::DoneWithExceptions,
            parent_snapshot: parent.map(SnapshotId::to_wire).unwrap_or_default(),
            parent_attempt: point.and_then(|point| written_by(state, point)),
            parent_item: point.map(|point| point.item_number.0).unwrap_or_default(),
        }
    });
    let restore = match &job.task {
        JobTask::Backup { .. } => None,
        JobTask::Restore { request, .. } => Some(RestoreOrder {
            snapshot: request.restore_point.to_wire(),
            paths: request.paths.clone(),
            to: request.to.clone(),
            overwrite: request.overwrite.to_wire(),
            content: state
                .restore_point(&request.restore_point)
                .map(|point| content(state, point)),
        }),
    };
    Some(Ticket {
        cluster_id: cluster.id.clone(),
        attempt: Some(job.key().attempt(running.attempt).to_ref()),
        client: job.client.to_string(),
        media_agent: running.media_agent.to_string(),
        storage_unit: unit.to_string(),
        kind: job.kind().to_wire(),
        resilient: running.resilient,
        expires_at: Some(running.started_at.plus(TICKET_GOOD_FOR).into()),
        policy: state.policy_of(job).map(Policy::from),
        full,
        items: items.collect(),
        restore,
        primary_version: running.primary_version.clone(),
        // An attempt ends when its agent comes with another journal, so this is the one it was dispatched to.
        journal_id: media.journal.id.0.clone(),
        surveys: state.open_of(job.id).any(|open| open.superseded().is_some()),
        begun_at: Some(running.started_at.into()),
        decides_losses: state.has_rules(),
    })
}

/// What a restore point was when it was committed, and who wrote it.
#[must_use]
pub fn content(state: &ClusterState, point: &RestorePoint) -> v1::Content {
    let origin = state.cluster().zip(written_by(state, point));
    v1::Content {
        tree: point.tree.map(TreeId::to_wire).unwrap_or_default(),
        files: point.files,
        bytes: point.bytes,
        origin: origin.map(|(cluster, attempt)| v1::Origin {
            cluster_id: cluster.id.clone(),
            attempt: Some(attempt),
            item: point.item_number.0,
            client: point.client.to_string(),
            path: point.item.clone(),
        }),
    }
}

/// The attempt that wrote a restore point, as its tags say it.
fn written_by(state: &ClusterState, point: &RestorePoint) -> Option<v1::AttemptRef> {
    let job = state.job(point.job)?;
    Some(job.key().attempt(point.attempt).to_ref())
}
