//! What the steward of the storage unit is asked (F-15): which snapshots lie there, and to remove what ended attempts left.
//!
//! Blocks; called by `orders` on a thread of its own. What is removed the leader says, and is looked at once more here.

use std::collections::BTreeSet;

use outlast_proto::v1::answer::Body;
use outlast_proto::v1::{AgentMessage, JobError, LyingSnapshot, SnapshotsAnswer, SweepAnswer, SweepQuestion};
use outlast_repository::{RepositoryError, SnapshotId};
use tokio::sync::mpsc;

use super::list_files::send;
use crate::storage::{StorageUnit, removable, written_by};

const BATCH: usize = 500;

/// All snapshots, in batches, the last marked.
pub(super) fn answer(unit: &StorageUnit, id: u64, cluster: &str, up: &mpsc::Sender<AgentMessage>) {
    match list(unit, cluster) {
        Ok(all) => {
            let mut batches = all.chunks(BATCH).peekable();
            if batches.peek().is_none() {
                send(id, Body::Snapshots(SnapshotsAnswer::default()), true, up);
            }
            while let Some(batch) = batches.next() {
                let snapshots = batch.to_vec();
                let body = Body::Snapshots(SnapshotsAnswer { snapshots });
                if !send(id, body, batches.peek().is_none(), up) {
                    return;
                }
            }
        }
        Err(error) => drop(send(id, Body::Error(told(unit, &error)), true, up)),
    }
}

fn told(unit: &StorageUnit, error: &RepositoryError) -> JobError {
    crate::fault::reading(&unit.name, error).told()
}

fn list(unit: &StorageUnit, cluster: &str) -> Result<Vec<LyingSnapshot>, RepositoryError> {
    let repository = unit.repository()?;
    let _hold = repository.hold()?;
    let list = repository.list_snapshots()?;
    // What is gone since then is not there; a unit that was taken away meanwhile is not empty.
    repository.prove()?;
    let bytes = |id: &SnapshotId| bytes::Bytes::copy_from_slice(id.as_bytes());
    let mut all = Vec::new();
    for (id, snapshot) in &list.readable {
        let Some(age_seconds) = repository.snapshot_age(id)? else {
            continue;
        };
        let of = written_by(snapshot, cluster);
        all.push(LyingSnapshot {
            id: bytes(id),
            original: snapshot.original.as_ref().map(bytes).unwrap_or_default(),
            attempt: of.map(|(attempt, _)| attempt.to_ref()),
            item: of.map_or(0, |(_, item)| item),
            age_seconds,
            unreadable: false,
        });
    }
    let damaged = list.damaged.iter().map(|(id, _)| LyingSnapshot {
        id: bytes(id),
        unreadable: true,
        ..LyingSnapshot::default()
    });
    all.extend(damaged);
    Ok(all)
}

/// Removes what is named, and locks that nobody holds any more.
pub(super) fn sweep(
    unit: &StorageUnit,
    id: u64,
    (cluster, asked): (&str, &SweepQuestion),
    up: &mpsc::Sender<AgentMessage>,
) {
    let named = asked.snapshots.iter();
    let named: Option<BTreeSet<SnapshotId>> = named
        .map(|bytes| Some(SnapshotId::from_bytes(bytes.as_ref().try_into().ok()?)))
        .collect();
    let done = removable(unit, cluster, &named.unwrap_or_default(), &asked.lock_hosts);
    let body = match done {
        Ok((snapshots, locks)) => Body::Sweep(SweepAnswer { snapshots, locks }),
        Err(error) => Body::Error(told(unit, &error)),
    };
    send(id, body, true, up);
}
