//! Removes what superseded attempts left and nobody took over (F-04).
//!
//! The order names what must stay. Used by the session's fence orders, after the attempt itself has ended.

use std::collections::BTreeSet;

use outlast_repository::{RepositoryError, Snapshot, SnapshotId};

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
    // Somebody gave it another id with restic. One that an attempt took over from an earlier one names that, too, which stays.
    let stands_for_kept = |snapshot: &Snapshot| {
        let was = snapshot.original.as_ref();
        was.is_some_and(|was| keep.contains(was) && !there.contains(was))
    };
    lock.remove_snapshots(&repository, |id, snapshot| {
        let ours =
            tags_of(snapshot).is_some_and(|tags| tags.cluster == cluster && tags.id.is_through(fenced));
        ours && !keep.contains(id) && !stands_for_kept(snapshot)
    })
}
