//! Removes what superseded attempts left and nobody took over (F-04).
//!
//! The order names what must stay. Used by the session's fence orders, after the attempt itself has ended.

use std::collections::BTreeSet;

use outlast_repository::{RepositoryError, SnapshotId};

use super::tags::tags_of;
use super::unit::StorageUnit;
use outlast_proto::words::AttemptId;

/// Removes the snapshots of this and lower attempts of the job, but `keep`. The number of those removed.
pub(crate) fn remove_snapshots(
    unit: &StorageUnit,
    cluster: &str,
    fenced: AttemptId,
    keep: &BTreeSet<SnapshotId>,
) -> Result<usize, RepositoryError> {
    let (repository, lock) = unit.lock()?;
    lock.remove_snapshots(&repository, |id, snapshot| {
        let ours =
            tags_of(snapshot).is_some_and(|tags| tags.cluster == cluster && tags.id.is_through(fenced));
        ours && !keep.contains(id)
    })
}
