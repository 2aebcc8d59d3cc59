//! Snapshots that were read before: a name is the checksum of what is in it, so that only names that are new have to be read (B-08).
//!
//! Kept with the open repository; `snapshots` asks. A file of another length than it had is read again, and whoever wants to know whether the files are
//! sound reads them himself.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::id::SnapshotId;
use crate::snapshot::Snapshot;

/// Some 1 KiB each. Beyond these the rest is read each time.
const MOST: usize = 50_000;

#[derive(Debug, Default)]
pub(super) struct KnownSnapshots(Mutex<BTreeMap<SnapshotId, (u64, Arc<Snapshot>)>>);

impl KnownSnapshots {
    /// Forgets all that are not among these, files with their lengths; what is known of the others.
    pub(super) fn keep(&self, there: &BTreeMap<SnapshotId, u64>) -> BTreeMap<SnapshotId, Arc<Snapshot>> {
        let mut known = self.0.lock();
        known.retain(|id, (length, _)| there.get(id) == Some(length));
        let known = known.iter();
        known
            .map(|(id, (_, snapshot))| (*id, Arc::clone(snapshot)))
            .collect()
    }

    pub(super) fn learn(&self, id: SnapshotId, length: u64, snapshot: &Snapshot) {
        let mut known = self.0.lock();
        if known.len() < MOST {
            known.insert(id, (length, Arc::new(snapshot.clone())));
        }
    }
}
