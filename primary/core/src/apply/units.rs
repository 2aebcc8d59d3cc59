//! What is known against storage units (F-02, F-19). When that is proposed, [`crate::units`] says.

use outlast_proto::words::{AgentName, SnapshotId, StorageFault, StorageUnitName, Timestamp, UnitState};

use super::{Context, Outcome};
use crate::reply::{Refusal, Reply};
use crate::state::ClusterState;
use crate::touched::Rows;

/// Of what was found, so much is kept.
const LONGEST_WHY: usize = 500;

impl ClusterState {
    pub(super) fn change_unit_state(
        &mut self,
        name: &StorageUnitName,
        (from, to): (UnitState, UnitState),
        why: &str,
        context: Context<'_>,
    ) -> Outcome {
        if !self.has_rules() {
            return Err(Refusal::TooOld);
        }
        let unit = self.storage_units.get(name).ok_or(Refusal::Outdated)?;
        if unit.state != from || from == to {
            return Err(Refusal::Outdated);
        }
        self.set_unit_state(name, to, why, context.at);
        Ok(Reply::Done)
    }

    /// An attempt ended by a fault of storage: the very entry that says so closes the unit, so that nothing is begun there in between.
    pub(super) fn note_fault(&mut self, agent: &AgentName, fault: StorageFault, text: &str, at: Timestamp) {
        let Some(name) = self.unit_of_agent(agent).cloned() else {
            return;
        };
        let state = self.storage_unit(&name).map(|unit| unit.state);
        let to = match (state, fault) {
            (Some(UnitState::Ok | UnitState::Unavailable), StorageFault::Full) => UnitState::Full,
            // Whatever else is known of it.
            (Some(UnitState::Ok | UnitState::Unavailable | UnitState::Full), StorageFault::OfTheUnit) => {
                UnitState::Suspect
            }
            _ => return,
        };
        self.set_unit_state(&name, to, &format!("{agent}: {text}"), at);
    }

    /// Never dropped: what was there and is not any more is told with the date (F-15).
    pub(super) fn mark_restore_points(
        &mut self,
        ids: &[SnapshotId],
        is_lost: bool,
        context: Context<'_>,
    ) -> Outcome {
        if !self.has_rules() {
            return Err(Refusal::TooOld);
        }
        for id in ids {
            let Some(point) = self.restore_points.get_mut(id) else {
                continue;
            };
            if point.lost.is_some() == is_lost {
                continue;
            }
            point.lost = is_lost.then_some(context.at);
            let unit = point.storage_unit.clone();
            let (_, lost) = self.indexes.by_unit.entry(unit).or_default();
            *lost = if is_lost {
                *lost + 1
            } else {
                lost.saturating_sub(1)
            };
        }
        Ok(Reply::Done)
    }

    fn set_unit_state(&mut self, name: &StorageUnitName, to: UnitState, why: &str, at: Timestamp) {
        let Some(unit) = self.storage_units.get_mut(name) else {
            return;
        };
        unit.state = to;
        unit.since = Some(at);
        unit.why = match to {
            UnitState::Ok => String::new(),
            _ => why[..why.floor_char_boundary(LONGEST_WHY)].to_owned(),
        };
        self.touch(Rows::Agents);
    }
}
