//! The survey: which items of a job attempts really finished, read from the storage unit itself (F-14).
//!
//! Reads only. Used before an attempt's first chunk and at start for attempts left open.

use std::collections::BTreeMap;

use outlast_repository::{Repository, RepositoryError, Snapshot, SnapshotId};

use super::committed::is_as_finished;
use super::tags::{SnapshotTags, tags_of};
use crate::tickets::Ticket;

/// A finished item as its snapshot tells it.
#[derive(Clone, Debug)]
pub(crate) struct FinishedItem {
    pub(crate) snapshot_id: SnapshotId,
    pub(crate) snapshot: Snapshot,
    pub(crate) tags: SnapshotTags,
}

/// By item: what this attempt, or else the newest one before it, finished.
pub(crate) fn finished_items(
    repository: &Repository,
    ticket: &Ticket,
) -> Result<BTreeMap<u32, FinishedItem>, RepositoryError> {
    let mut found = Vec::new();
    for (snapshot_id, snapshot) in repository.snapshots()? {
        let Some(tags) = tags_of(&snapshot) else {
            continue;
        };
        let ours = tags.cluster == ticket.cluster_id
            && tags.id.is_of_same_job(ticket.id)
            && tags.client == ticket.client.as_str();
        let fits = |item: &crate::tickets::Item| snapshot.paths == [item.path.clone()];
        if !ours || !ticket.items.get(tags.item as usize).is_some_and(fits) {
            continue;
        }
        if !is_as_finished(repository, &snapshot, &tags)? {
            tracing::warn!(snapshot = %snapshot_id, "a finished item was rewritten outside Outlast and is not taken over");
            continue;
        }
        let item = FinishedItem {
            snapshot_id,
            snapshot,
            tags,
        };
        found.push((item.tags.item, item.tags.id.attempt, item));
    }
    Ok(outlast_media_core::survey::newest(found, ticket.id.attempt))
}
