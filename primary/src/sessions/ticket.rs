//! Tickets: the signed right of one attempt to run without a primary (DESIGN 3).

use outlast_core::ClusterState;
use outlast_core::rows::{Cluster, Job, JobTask, Running};
use outlast_proto::v1::{Policy, RestoreOrder, SignedTicket, Ticket, TicketItem};
use outlast_proto::words::{ItemOutcome, JobKind, Seconds, SnapshotId};
use prost::Message as _;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use crate::view;

/// How long a ticket may be shown for the first time.
const GOOD_FOR: Seconds = Seconds(24 * 3600);

/// The public half of the cluster's ticket key; empty if there is none yet.
pub(crate) fn public_key(cluster: &Cluster) -> Vec<u8> {
    key_pair(cluster)
        .map(|pair| pair.public_key().as_ref().to_vec())
        .unwrap_or_default()
}

/// The ticket of a job's running attempt.
#[must_use]
pub fn issue(state: &ClusterState, job: &Job, running: &Running) -> Option<SignedTicket> {
    let cluster = state.cluster()?;
    let media = state.agent(&running.media_agent)?.media.as_ref()?;
    let unit = &media.storage_unit;
    let full = matches!(job.task, JobTask::Backup { full: true });
    let items = job.items.iter().map(|item| {
        let parent = state
            .parent_of(&job.client, &job.policy, &item.path, unit)
            .filter(|_| !full && job.kind() == JobKind::Backup);
        let point = parent.and_then(|id| state.restore_point(&id));
        TicketItem {
            path: item.path.clone(),
            finished: item.outcome.is_finished(),
            with_exceptions: item.outcome == ItemOutcome::DoneWithExceptions,
            parent_snapshot: parent.map(SnapshotId::to_wire).unwrap_or_default(),
            parent_attempt: point.and_then(|point| view::job::written_by(state, point)),
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
                .map(|point| view::job::content(state, point)),
        }),
    };
    let ticket = Ticket {
        cluster_id: cluster.id.clone(),
        attempt: Some(job.key().attempt(running.attempt).to_ref()),
        client: job.client.to_string(),
        media_agent: running.media_agent.to_string(),
        storage_unit: unit.to_string(),
        kind: job.kind().to_wire(),
        resilient: running.resilient,
        expires_at: Some(running.started_at.plus(GOOD_FOR).into()),
        policy: state.policy_of(job).map(Policy::from),
        full,
        items: items.collect(),
        restore,
        primary_version: running.primary_version.clone(),
        // An attempt ends when its agent comes with another journal, so this is the one it was dispatched to.
        journal_id: media.journal.id.0.clone(),
        begun_at: Some(running.started_at.into()),
    };
    let ticket = ticket.encode_to_vec();
    let signature = key_pair(cluster)?.sign(&ticket).as_ref().to_vec();
    Some(SignedTicket {
        ticket: ticket.into(),
        signature: signature.into(),
    })
}

pub(super) fn key_pair(cluster: &Cluster) -> Option<Ed25519KeyPair> {
    Ed25519KeyPair::from_pkcs8(&cluster.ticket_key)
        .inspect_err(
            |error| tracing::error!(%error, "the cluster's ticket key cannot be read; no attempt can start"),
        )
        .ok()
}
