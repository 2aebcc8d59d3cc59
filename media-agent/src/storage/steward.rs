//! What the steward of a storage unit removes (F-15): snapshots of ended attempts that are no restore points, and locks of agents that are gone.
//!
//! Which, the leader says; here it is made sure that they are ours. Used by the session's questions.

use std::collections::BTreeSet;

use outlast_proto::words::AttemptId;
use outlast_repository::{Repository, RepositoryError, Snapshot, SnapshotId};

use super::tags::{attempt_of, owner_of, value};
use super::unit::StorageUnit;

/// The attempt of this cluster that wrote a snapshot, a restore point or a checkpoint, and the number of its item.
pub(crate) fn written_by(snapshot: &Snapshot, cluster: &str) -> Option<(AttemptId, u32)> {
    owner_of(snapshot).filter(|owner| owner.cluster == cluster)?;
    let item = value(snapshot, "item")?.parse().ok()?;
    Some((attempt_of(snapshot)?, item))
}

/// Removes these snapshots, as far as they are this cluster's, and locks that nobody holds any more; how many of each.
pub(crate) fn removable(
    unit: &StorageUnit,
    cluster: &str,
    named: &BTreeSet<SnapshotId>,
    lock_hosts: &[String],
) -> Result<(u64, u64), RepositoryError> {
    let mut snapshots = 0;
    if !named.is_empty() {
        let (repository, lock) = unit.lock()?;
        snapshots = lock.remove_snapshots(&repository, |id, snapshot| {
            named.contains(id) && written_by(snapshot, cluster).is_some()
        })?;
    }
    let locks = remove_locks(&unit.repository()?, lock_hosts)?;
    Ok((snapshots as u64, locks))
}

/// Of processes of this host that have ended, and those of these hosts that nobody has refreshed for so long that they count for nothing.
fn remove_locks(repository: &Repository, hosts: &[String]) -> Result<u64, RepositoryError> {
    let mut removed = repository.remove_dead_locks()?.len() as u64;
    for holder in repository.lock_holders()? {
        let is_theirs = |host: &String| holder.info.as_ref().is_ok_and(|lock| lock.hostname == *host);
        if holder.is_stale() && hosts.iter().any(is_theirs) {
            match repository.remove_lock(&holder.id) {
                Ok(()) => {
                    tracing::info!(lock = %holder, "the lock of an agent that is gone was removed");
                    removed += 1;
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(removed)
}
