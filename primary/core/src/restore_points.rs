//! The restore points of the state: which there are, of which job, in which storage unit, and which one a backup is compared with.

use outlast_proto::words::{AgentName, ItemNumber, JobId, PolicyName, SnapshotId, StorageUnitName};

use crate::rows::RestorePoint;
use crate::state::ClusterState;

impl ClusterState {
    /// A restore point.
    #[must_use]
    pub fn restore_point(&self, id: &SnapshotId) -> Option<&RestorePoint> {
        self.restore_points.get(id)
    }

    /// Those a job has left.
    pub fn restore_points_of(&self, job: JobId) -> impl Iterator<Item = SnapshotId> {
        let all = (job, ItemNumber(0))..=(job, ItemNumber(u32::MAX));
        self.indexes.by_job_item.range(all).map(|(_, id)| *id)
    }

    /// How many restore points lie in a storage unit, and how many of these are lost.
    #[must_use]
    pub fn restore_points_in(&self, unit: &StorageUnitName) -> (u64, u64) {
        self.indexes.by_unit.get(unit).copied().unwrap_or_default()
    }

    /// All restore points, by id.
    pub fn restore_points(&self) -> impl Iterator<Item = (&SnapshotId, &RestorePoint)> {
        self.restore_points.iter()
    }

    /// What the next backup of an item is compared with: its last restore point in the same storage unit.
    #[must_use]
    pub fn parent_of(
        &self,
        client: &AgentName,
        policy: &PolicyName,
        item: &str,
        unit: &StorageUnitName,
    ) -> Option<SnapshotId> {
        let points = self
            .indexes
            .by_item
            .get(&(client.clone(), policy.clone(), item.to_owned()))?;
        let in_unit = |id: &SnapshotId| {
            self.restore_points
                .get(id)
                .is_some_and(|p| p.storage_unit == *unit && p.lost.is_none())
        };
        points.iter().rev().map(|(.., id)| *id).find(in_unit)
    }

    pub(crate) fn add_restore_point(&mut self, id: SnapshotId, point: RestorePoint) {
        self.indexes.add_restore_point(id, &point);
        self.restore_points.insert(id, point);
    }
}
