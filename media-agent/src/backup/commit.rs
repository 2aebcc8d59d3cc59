//! Makes an item final: everything stored, indexed and still there, then its snapshot, the lock checked before and after.
//!
//! Called by `engine` when the client has ended the item without error.

use outlast_proto::v1::ItemEnded;
use outlast_proto::words::{Counters, ItemOutcome, StatusCode};
use outlast_repository::{BlobId, Snapshot, SnapshotId};

use super::damage;
use super::engine::{Base, ItemResult};
use super::item::ItemRun;
use crate::attempts::{End, counters_message};
use crate::storage::{Lack, SnapshotTags};
use crate::tree_builder::Built;

/// An item that is in the repository.
pub(super) struct Committed {
    pub(super) snapshot: SnapshotId,
    pub(super) tree: BlobId,
    pub(super) time: outlast_repository::Timestamp,
    pub(super) outcome: ItemOutcome,
    pub(super) counters: Counters,
    pub(super) adopted: bool,
}

/// What a walk through an item came to.
pub(super) enum Walked {
    Over(ItemResult),
    /// This is missing by now of what it relies on: there is no snapshot.
    Suffers(Vec<Lack>),
}

/// Writes the item's snapshot. `exceptions` is how many the item had.
pub(super) fn commit(run: ItemRun<'_>, exceptions: u64) -> Result<Walked, End> {
    run.chunks.settle()?;
    let base = run.base;
    let outcome = if exceptions > 0 {
        ItemOutcome::DoneWithExceptions
    } else {
        ItemOutcome::Done
    };
    let (writer, item, number, parent) = (run.writer, run.item, run.number, run.parent);
    let (marks_young, damage_before) = (run.marks_young, run.damage_before);
    let mut counters = run.counters();
    counters.exceptions = exceptions;
    // The directories above the item are saved in `finish`; their few bytes are not worth another look.
    let tree = match run.builder.finish() {
        Ok(Built::Tree(tree)) => tree,
        Ok(Built::Nothing) => {
            return Ok(Walked::Over(ItemResult::Failed(outlast_proto::v1::JobError {
                code: u32::from(StatusCode::FILE_READ_FAILED.0),
                text: format!("\"{}\" could not be read", item.path),
            })));
        }
        Err(error) => return Err(fault_of(base, error).into()),
    };
    // The writer checks the lock before each index file.
    writer.flush().map_err(|error| base.storage_fault(&error))?;
    damage::look_again(base)?;
    let lacks = damage::taken_from(base, tree, damage_before)?;
    if !lacks.is_empty() {
        return Ok(Walked::Suffers(lacks));
    }
    let ticket = &base.ticket;
    let tags = SnapshotTags {
        cluster: ticket.cluster_id.clone(),
        id: ticket.id,
        policy: ticket.policy.clone(),
        client: ticket.client.to_string(),
        item: number,
        items: u32::try_from(ticket.items.len()).unwrap_or(u32::MAX),
        outcome,
        counters,
        marks_young,
        tree: Some(tree),
    };
    let time = time_now(base);
    let mut snapshot = Snapshot::new(time, tree, vec![item.path.clone()], ticket.client.to_string());
    snapshot.parent = parent;
    snapshot.tags = tags.to_tags();
    let snapshot = save_under_lock(base, &snapshot)?;
    run.chunks.committed(snapshot, parent);
    Ok(Walked::Over(ItemResult::Finished(Committed {
        snapshot,
        tree,
        time,
        outcome,
        counters,
        adopted: false,
    })))
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

/// Saves a snapshot; if the lock was lost meanwhile it is taken back, for a prune may have removed what it needs.
pub(super) fn save_under_lock(base: &Base, snapshot: &Snapshot) -> Result<SnapshotId, End> {
    let fault = |error| End::Fault(base.storage_fault(&error));
    base.lock.check().map_err(fault)?;
    let id = base.repository.save_snapshot(snapshot).map_err(fault)?;
    if let Err(error) = base.lock.check() {
        if let Err(error) = base.repository.take_back_snapshot(&id) {
            tracing::error!(
                snapshot = %id, %error,
                "a snapshot written without a valid lock could not be removed yet; that is tried again until this agent ends"
            );
        }
        return Err(fault(error));
    }
    Ok(id)
}

fn fault_of(base: &Base, error: crate::tree_builder::BuildError) -> crate::fault::Fault {
    match error {
        crate::tree_builder::BuildError::Storage(error) => base.storage_fault(&error),
        violation @ crate::tree_builder::BuildError::Violation(_) => {
            crate::fault::Fault::access(violation.to_string())
        }
    }
}

impl Committed {
    /// The event that says so.
    pub(super) fn ended(&self, number: u32) -> ItemEnded {
        use outlast_proto::v1::ItemOutcome as Message;
        let outcome = match self.outcome {
            ItemOutcome::DoneWithExceptions => Message::DoneWithExceptions,
            _ => Message::Done,
        };
        ItemEnded {
            item: number,
            outcome: outcome.into(),
            counters: Some(counters_message(&self.counters)),
            snapshot: bytes::Bytes::copy_from_slice(self.snapshot.as_bytes()),
            snapshot_time: Some(crate::stamps::to_message(crate::stamps::of_repository(self.time))),
            error: None,
            adopted: self.adopted,
            tree: bytes::Bytes::copy_from_slice(self.tree.as_bytes()),
        }
    }
}
