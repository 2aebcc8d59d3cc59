//! Removes what superseded attempts left and nobody took over (F-04).
//!
//! The order names what must stay. Used by the session's fence orders, after the attempt itself has ended.

use std::collections::BTreeSet;

use outlast_repository::{Repository, RepositoryError, Snapshot, SnapshotId};

use super::tags::tags_of;
use super::unit::StorageUnit;
use outlast_proto::words::AttemptId;

/// Removes the snapshots of this and lower attempts of the job, but `keep` and what took the place of one of those. The number of those removed.
pub(crate) fn remove_snapshots(
    unit: &StorageUnit,
    cluster: &str,
    fenced: AttemptId,
    keep: &BTreeSet<SnapshotId>,
) -> Result<usize, RepositoryError> {
    let (repository, lock) = unit.lock()?;
    let there: BTreeSet<SnapshotId> = repository.snapshot_ids()?.into_iter().collect();
    let is_any_lost = is_any_lost(&repository, keep, &there)?;
    // Somebody gave it another id with restic. One that an attempt took over from an earlier one names that, too, which stays.
    let stands_for_kept = |snapshot: &Snapshot| {
        let was = snapshot.original.as_ref().filter(|was| !there.contains(was));
        was.is_some_and(|was| keep.contains(was) || is_any_lost)
    };
    lock.remove_snapshots(&repository, |id, snapshot| {
        let ours =
            tags_of(snapshot).is_some_and(|tags| tags.cluster == cluster && tags.id.is_through(fenced));
        ours && !keep.contains(id) && !stands_for_kept(snapshot)
    })
}

/// Whether nothing names one of those that are kept and gone: it may have been changed more than once, and what stands for it then names
/// one that nobody has heard of.
fn is_any_lost(
    repository: &Repository,
    keep: &BTreeSet<SnapshotId>,
    there: &BTreeSet<SnapshotId>,
) -> Result<bool, RepositoryError> {
    let mut gone: BTreeSet<&SnapshotId> = keep.difference(there).collect();
    if !gone.is_empty() {
        for (_, snapshot) in repository.snapshots()? {
            if let Some(was) = &snapshot.original {
                gone.remove(was);
            }
        }
    }
    Ok(!gone.is_empty())
}
