//! What the steward of a storage unit finds there, and what is made of it (F-15): what ended attempts left is removed, restore points whose
//! snapshot is gone are lost, and what is not ours is left alone.
//!
//! Pure; `primary/src/leader/steward.rs` asks the steward's media agent and proposes what is missing.

use std::collections::{BTreeMap, BTreeSet};

use outlast_proto::words::{AgentName, AttemptId, ItemNumber, JobState, SnapshotId, StorageUnitName};

use crate::dispatch::Presence;
use crate::rows::RestorePoint;
use crate::state::ClusterState;

/// What is younger may be of an attempt whose end nobody has heard yet.
pub const OLD_ENOUGH_SECONDS: u64 = 3600;

/// A snapshot that lies in a storage unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lying {
    /// Which.
    pub id: SnapshotId,
    /// The one it says it was made from.
    pub original: Option<SnapshotId>,
    /// Which attempt of this cluster wrote it, of which item; none: somebody else's.
    pub of: Option<(AttemptId, ItemNumber)>,
    /// So long ago its file was written, by the media agent's clock.
    pub age_seconds: u64,
    /// It can be read.
    pub is_readable: bool,
}

/// What is to be done about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Of attempts that are closed, and no restore points.
    pub remove: Vec<SnapshotId>,
    /// Restore points whose snapshot is gone, and was there before.
    pub gone: Vec<SnapshotId>,
    /// Lost ones whose snapshot is there again.
    pub back: Vec<SnapshotId>,
    /// How many snapshots are somebody else's.
    pub foreign: usize,
}

/// The media agent that looks after a unit now: the first of it that is usable and here.
#[must_use]
pub fn steward<'a>(
    state: &'a ClusterState,
    presence: &Presence,
    unit: &StorageUnitName,
) -> Option<&'a AgentName> {
    let agents = state.storage_unit(unit)?.media_agents.iter();
    let mut able = agents.filter(|name| {
        state.agent(name).is_some_and(crate::rows::Agent::is_usable)
            && presence.connected.contains_key(name)
            && !presence.silent.contains(name)
            && !presence.problems.contains_key(name)
    });
    able.next()
}

/// Judges everything that lies in a unit; `asked` is how many entries were applied before the steward was asked.
#[must_use]
pub fn judge(state: &ClusterState, unit: &StorageUnitName, lying: &[Lying], asked: u64) -> Verdict {
    let there: BTreeSet<SnapshotId> = lying.iter().map(|lying| lying.id).collect();
    let stands_for: BTreeSet<SnapshotId> = lying.iter().filter_map(|lying| lying.original).collect();
    // Changed with restic more than once it names one that nobody knows: then its tags say whose it is.
    let changed: BTreeMap<_, _> = lying
        .iter()
        .filter(|lying| lying.original.is_some_and(|was| !there.contains(&was)))
        .filter_map(|lying| Some((lying.of?, lying.id)))
        .collect();
    let is_there = |id: &SnapshotId, point: &RestorePoint| {
        let written_by = |(of, item): &(AttemptId, ItemNumber)| {
            of.job == point.job && of.attempt == point.attempt && *item == point.item_number
        };
        there.contains(id) || stands_for.contains(id) || changed.keys().any(written_by)
    };
    let points = state.restore_points();
    let mut verdict = Verdict {
        foreign: lying
            .iter()
            .filter(|lying| lying.of.is_none() && lying.is_readable)
            .count(),
        ..Verdict::default()
    };
    for (id, point) in points.filter(|(_, point)| point.storage_unit == *unit && point.committed <= asked) {
        match (point.lost.is_some(), is_there(id, point)) {
            (false, false) => verdict.gone.push(*id),
            (true, true) => verdict.back.push(*id),
            _ => {}
        }
    }
    let leftovers = lying.iter().filter(|lying| {
        let is_original = lying.original.is_none_or(|was| there.contains(&was));
        let is_kept = state.restore_point(&lying.id).is_some();
        lying.is_readable
            && !is_kept
            && is_original
            && lying.age_seconds >= OLD_ENOUGH_SECONDS
            && lying.of.is_some_and(|(of, _)| is_closed(state, of))
    });
    verdict.remove = leftovers.map(|lying| lying.id).collect();
    verdict
}

/// Whether nobody can go on from what an attempt left, nor take it over: its job is over. One that this group does not know, or that has another nonce, is of
/// a time that was lost: it is left alone (S-12b).
fn is_closed(state: &ClusterState, of: AttemptId) -> bool {
    let job = state.job(of.job);
    job.is_some_and(|job| job.nonce == of.nonce && job.state == JobState::Done)
        && state.open_attempt(of.job, of.attempt).is_none()
        && state.history(of.job, of.attempt).is_some()
}
