//! What the leader makes of what media agents say of their storage units: which are full, which nobody can use (F-02).
//!
//! Pure; `primary/src/leader/units.rs` looks every few seconds. That a unit is suspect an attempt's end says (`apply/units.rs`), and that it is clean
//! again a check.

use std::collections::BTreeMap;

use outlast_proto::words::{AgentName, Seconds, StorageUnitName, Timestamp, UnitState};

use crate::entry::Command;
use crate::rows::StorageUnit;
use crate::state::ClusterState;

/// Below this, or a hundredth of what there is, a unit is full: a few packs more, and an attempt would end in the middle.
const FULL_BELOW: u64 = 64 << 20;
/// Twice that makes it usable again.
const HYSTERESIS: u64 = 2;
/// What media agents say of room may be of before the attempt that found none, and of before it removed what it had half written.
const SETTLES_IN: Seconds = Seconds(5);

/// What one media agent that is here says of its unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Bytes that it may still write.
    pub free: Option<u64>,
    /// Of how many.
    pub total: Option<u64>,
    /// Why it cannot use it; empty: nothing is known against it.
    pub problem: String,
}

/// What is to be changed, by what is seen now.
#[must_use]
pub fn look(state: &ClusterState, seen: &BTreeMap<AgentName, Seen>, now: Timestamp) -> Vec<Command> {
    if !state.has_rules() {
        return Vec::new();
    }
    let units = state.storage_units();
    units
        .filter_map(|(name, unit)| change(name, unit, seen, now))
        .collect()
}

fn change(
    name: &StorageUnitName,
    unit: &StorageUnit,
    seen: &BTreeMap<AgentName, Seen>,
    now: Timestamp,
) -> Option<Command> {
    let here: Vec<_> = unit
        .media_agents
        .iter()
        .filter_map(|agent| Some((agent, seen.get(agent)?)))
        .collect();
    let problem = here.iter().find(|(_, seen)| !seen.problem.is_empty());
    let is_reached = here.iter().any(|(_, seen)| seen.problem.is_empty());
    let change = |to, why: String| {
        Some(Command::ChangeUnitState {
            unit: name.clone(),
            from: unit.state,
            to,
            why,
        })
    };
    let is_settled = unit.since.is_none_or(|since| since.plus(SETTLES_IN) <= now);
    match unit.state {
        UnitState::Ok => match (problem, is_reached) {
            (Some((agent, seen)), false) => {
                change(UnitState::Unavailable, format!("{agent}: {}", seen.problem))
            }
            _ => here.iter().find_map(|(agent, seen)| {
                let (free, floor) = (seen.free?, floor(seen));
                (seen.problem.is_empty() && free < floor).then(|| {
                    change(
                        UnitState::Full,
                        format!("{agent} sees {free} bytes free, and {floor} are the least"),
                    )
                })?
            }),
        },
        UnitState::Unavailable if is_reached => change(UnitState::Ok, String::new()),
        UnitState::Full if is_settled && has_room_again(&here) => change(UnitState::Ok, String::new()),
        UnitState::Unavailable | UnitState::Full | UnitState::Suspect => None,
    }
}

/// All that say how much room there is see enough, and somebody does.
fn has_room_again(here: &[(&AgentName, &Seen)]) -> bool {
    let usable = here.iter().filter(|(_, seen)| seen.problem.is_empty());
    let rooms: Vec<_> = usable
        .filter_map(|(_, seen)| Some(seen.free? >= floor(seen) * HYSTERESIS))
        .collect();
    !rooms.is_empty() && rooms.iter().all(|enough| *enough)
}

/// A small unit has a small one.
fn floor(seen: &Seen) -> u64 {
    seen.total.map_or(FULL_BELOW, |total| FULL_BELOW.min(total / 100))
}
