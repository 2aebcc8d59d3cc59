//! Storage units as messages.

use outlast_core::ClusterState;
use outlast_core::rows::StorageUnit;
use outlast_proto::v1;
use outlast_proto::words::StorageUnitName;

use crate::sessions::Registry;

/// A storage unit; `registry` is that of the leader, none when another node answers.
pub(crate) fn message(
    state: &ClusterState,
    registry: Option<&Registry>,
    (name, unit): (&StorageUnitName, &StorageUnit),
) -> v1::StorageUnit {
    let agents = unit.media_agents.iter();
    let seen: Vec<_> = agents
        .filter_map(|agent| Some((agent, registry?.storage_of(agent)?)))
        .collect();
    let problems = seen.iter().filter(|(_, seen)| !seen.problem.is_empty());
    let (restore_points, lost) = state.restore_points_in(name);
    v1::StorageUnit {
        name: name.to_string(),
        state: unit.state.to_wire(),
        since: unit.since.map(Into::into),
        why: unit.why.clone(),
        repository_id: unit.repository_id.clone().unwrap_or_default(),
        media_agents: unit.media_agents.iter().map(ToString::to_string).collect(),
        free_bytes: seen.iter().filter_map(|(_, seen)| seen.free).min(),
        total_bytes: seen.iter().filter_map(|(_, seen)| seen.total).min(),
        restore_points,
        lost,
        problems: problems
            .map(|(agent, seen)| v1::storage_unit::Problem {
                media_agent: agent.to_string(),
                text: seen.problem.clone(),
            })
            .collect(),
    }
}
