//! Removes what superseded attempts left and nobody took over (F-04).
//!
//! The order names what must stay. Used by the session's fence orders, after the attempt itself has ended.

use std::collections::BTreeSet;

use outlast_repository::{RepositoryError, SnapshotId};

use super::tags::tags_of;
use super::unit::StorageUnit;
use crate::attempt_id::AttemptId;

/// Removes the snapshots of this and lower attempts of the job, but `keep`. The number of those removed.
pub(crate) fn remove_snapshots(
    unit: &StorageUnit,
    cluster: &str,
    fenced: AttemptId,
    keep: &BTreeSet<SnapshotId>,
) -> Result<usize, RepositoryError> {
    let (repository, lock) = unit.lock()?;
    let mut removed = 0;
    for (id, snapshot) in repository.snapshots()? {
        let ours = tags_of(&snapshot).is_some_and(|tags| {
            tags.cluster == cluster && tags.id.job == fenced.job && tags.id.attempt <= fenced.attempt
        });
        if !ours || keep.contains(&id) {
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
