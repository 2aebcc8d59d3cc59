//! Checkpoints in the storage unit: how their snapshots are told from restore points, and their end (F-05).
//!
//! What is in one is `backup::checkpoint`'s. Their names, tags and times are a format (docs/protocol.md).

use outlast_repository::{Repository, RepositoryError, Snapshot};

use super::lock::AttemptLock;
use super::tags::{is_checkpoint, value};
use crate::attempt_id::AttemptId;
use crate::tickets::Ticket;

/// Seconds of 2000-01-01T00:00:00Z. Checkpoints lie in this year, so that `restic restore latest` and `restic forget` never meet one.
pub(crate) const CHECKPOINT_TIME: i64 = 946_684_800;

/// What tells a checkpoint from a restore point.
pub(super) const CHECKPOINT: &str = "checkpoint";

/// The host that checkpoints of a client are of.
pub(crate) fn checkpoint_host(client: &str) -> String {
    format!("{client}.outlast-checkpoint")
}

pub(crate) fn checkpoint_tags(ticket: &Ticket, item: u32) -> Vec<String> {
    vec![
        "outlast".to_owned(),
        CHECKPOINT.to_owned(),
        format!("job:{}", ticket.id.job),
        format!("attempt:{}", ticket.id.attempt),
        format!("policy:{}", ticket.policy),
        format!("client:{}", ticket.client),
        format!("item:{item}"),
        format!("items:{}", ticket.items.len()),
        format!("cluster:{}", ticket.cluster_id),
    ]
}

/// Of which cluster and attempt a snapshot is a checkpoint, if it is one.
fn attempt_of(snapshot: &Snapshot) -> Option<(&str, AttemptId)> {
    let attempt = outlast_proto::v1::AttemptRef {
        job: value(snapshot, "job")?.to_owned(),
        attempt: value(snapshot, "attempt")?.parse().ok()?,
    };
    let id = AttemptId::of_message(Some(&attempt)).ok()?;
    let cluster = value(snapshot, "cluster")?;
    let is_ours = snapshot.tags.iter().any(|tag| tag == "outlast") && is_checkpoint(snapshot);
    is_ours.then_some((cluster, id))
}

/// Removes the checkpoints of this attempt and those of its job before it. The number of those removed.
pub(crate) fn remove_checkpoints(
    repository: &Repository,
    lock: &AttemptLock,
    ticket: &Ticket,
) -> Result<usize, RepositoryError> {
    let mut removed = 0;
    for (id, snapshot) in repository.snapshots()? {
        let ours = attempt_of(&snapshot).is_some_and(|(cluster, of)| {
            cluster == ticket.cluster_id && of.job == ticket.id.job && of.attempt <= ticket.id.attempt
        });
        if !ours {
            continue;
        }
        lock.check()?;
        match repository.remove_snapshot(&id) {
            Ok(()) => removed += 1,
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}
