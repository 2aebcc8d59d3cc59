//! The tree an item comes to, and the snapshot that names it.
//!
//! Called by `engine`; that everything is stored, indexed and still there before the snapshot is written, the core's `Backup` says.

use outlast_proto::v1::JobError;
use outlast_proto::words::{Counters, ItemOutcome, StatusCode};
use outlast_repository::{BlobId, Snapshot, SnapshotId};

use super::engine::Base;
use super::item::ItemRun;
use crate::attempts::End;
use crate::storage::SnapshotTags;
use crate::tree_builder;

/// An item whose trees are stored.
pub(super) struct Built {
    pub(super) tree: BlobId,
    pub(super) path: String,
    pub(super) counters: Counters,
    /// The snapshot it was compared with.
    pub(super) parent: Option<SnapshotId>,
    marks_young: bool,
    /// How much damage was known before anything was relied on.
    pub(super) damage_before: u64,
}

impl Built {
    /// Stores the item's last trees; or why there is nothing.
    pub(super) fn finish(run: ItemRun<'_>) -> Result<Result<Self, JobError>, End> {
        let (base, item, parent) = (run.base, run.item, run.parent);
        let (marks_young, damage_before) = (run.marks_young, run.damage_before);
        // The directories above the item are saved in `finish`; their few bytes are not worth another look.
        let counters = run.counters();
        match run.builder.finish() {
            Ok(tree_builder::Built::Tree(tree)) => Ok(Ok(Self {
                tree,
                path: item.path.clone(),
                counters,
                parent,
                marks_young,
                damage_before,
            })),
            Ok(tree_builder::Built::Nothing) => Ok(Err(JobError {
                code: u32::from(StatusCode::FILE_READ_FAILED.0),
                text: format!("\"{}\" could not be read", item.path),
            })),
            Err(error) => Err(fault_of(base, error).into()),
        }
    }

    /// The item's restore point.
    pub(super) fn snapshot(
        &self,
        base: &Base,
        item: u32,
        outcome: ItemOutcome,
        counters: Counters,
    ) -> Snapshot {
        let ticket = &base.ticket;
        let tags = SnapshotTags {
            cluster: ticket.cluster_id.clone(),
            id: ticket.id,
            policy: ticket.policy.clone(),
            client: ticket.client.to_string(),
            item,
            items: u32::try_from(ticket.items.len()).unwrap_or(u32::MAX),
            outcome,
            counters,
            marks_young: self.marks_young,
            tree: Some(self.tree),
        };
        let host = ticket.client.to_string();
        let mut snapshot = Snapshot::new(time_now(base), self.tree, vec![self.path.clone()], host);
        snapshot.parent = self.parent;
        snapshot.tags = tags.to_tags();
        snapshot
    }
}

/// Of a snapshot: not before its attempt, if this host's clock is behind the primary's, so that restic takes none of before for the latest.
fn time_now(base: &Base) -> outlast_repository::Timestamp {
    let (now, begun) = (base.context.clock.now(), base.ticket.begun_at);
    if now < begun {
        let behind = (begun.0 - now.0) / 1_000_000;
        tracing::warn!(
            attempt = %base.ticket.id, behind,
            "this host's clock is behind the primary's by so many seconds or more: the snapshot gets the time at which its attempt was dispatched"
        );
    }
    crate::stamps::to_repository(now.max(begun))
}

fn fault_of(base: &Base, error: tree_builder::BuildError) -> crate::fault::Fault {
    match error {
        tree_builder::BuildError::Storage(error) => base.storage_fault(&error),
        violation @ tree_builder::BuildError::Violation(_) => {
            crate::fault::Fault::access(violation.to_string())
        }
    }
}
