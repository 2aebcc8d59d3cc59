//! What is finished in the storage unit but perhaps not in the journal (F-08, F-14), as the core's machines see it, and the snapshot
//! by which an attempt takes over an item of an earlier one, which a fence may yet remove.
//!
//! Used before an attempt's first chunk, and by the survey at start.

use std::collections::BTreeMap;

use outlast_media_core::{Finished, FoundItem};
use outlast_proto::words::{SnapshotId, TreeId};
use outlast_repository::{Repository, RepositoryError, Snapshot};

use super::damage;
use super::engine::Base;
use crate::attempts::End;
use crate::context::Context;
use crate::storage::{FinishedItem, finished_items};
use crate::tickets::Ticket;

/// Items of this job that were finished before this attempt, by number.
pub(super) fn left_by_earlier_attempts(base: &Base) -> Result<BTreeMap<u32, FinishedItem>, End> {
    let found = finished_items(&base.repository, &base.ticket).map_err(|error| base.storage_fault(&error))?;
    if !found.is_empty() {
        damage::look_again(base)?;
    }
    Ok(found)
}

/// The storage unit as a survey sees it.
pub(crate) struct Surveyed {
    repository: Repository,
    found: BTreeMap<u32, FinishedItem>,
}

impl Surveyed {
    /// Finds what an attempt and those before it finished.
    pub(crate) fn look(context: &Context, ticket: &Ticket) -> Result<Self, RepositoryError> {
        let repository = context.unit.repository()?;
        let found = finished_items(&repository, ticket)?;
        if !found.is_empty() {
            // What was found damaged before, by whomever.
            repository.reload_index()?;
            repository.look_for_packs()?;
        }
        Ok(Self { repository, found })
    }

    pub(crate) fn found(&self) -> Vec<FoundItem> {
        self.found.values().map(found).collect()
    }

    /// Whether it is whole, as far as is known.
    pub(crate) fn is_sound(&self, item: u32) -> Result<bool, RepositoryError> {
        let tree = self.found.get(&item).map(|item| item.snapshot.tree);
        tree.map_or(Ok(false), |tree| damage::is_sound(&self.repository, tree))
    }
}

/// As the machines see it.
pub(super) fn found(item: &FinishedItem) -> FoundItem {
    FoundItem {
        of: item.tags.id,
        finished: Finished {
            item: item.tags.item,
            snapshot: SnapshotId(*item.snapshot_id.as_bytes()),
            tree: TreeId(*item.snapshot.tree.as_bytes()),
            at: crate::stamps::of_repository(item.snapshot.time),
            outcome: item.tags.outcome,
            counters: item.tags.counters,
            adopted: false,
        },
    }
}

/// The same tree in a snapshot of this attempt.
pub(super) fn under_own_name(base: &Base, item: &FinishedItem) -> Snapshot {
    let mut snapshot = item.snapshot.clone();
    let mut tags = item.tags.clone();
    tags.id = base.ticket.id;
    tags.tree = Some(snapshot.tree);
    snapshot.tags = tags.to_tags();
    snapshot.original = Some(item.snapshot_id);
    snapshot
}
