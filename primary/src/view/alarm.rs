//! Alarms as messages: what was found, what it means, what to do.

use outlast_core::ClusterState;
use outlast_core::rows::Alarm;
use outlast_proto::convert::rfc3339;
use outlast_proto::v1;
use outlast_proto::words::AgentName;

/// Those that stay until somebody has read them, and those of the agents that are here.
pub(crate) fn all(
    state: &ClusterState,
    without_nonces: &[AgentName],
    storage: &[(AgentName, String)],
    clocks: &[(AgentName, i64)],
) -> Vec<v1::Alarm> {
    let kept = state.open_alarms().map(|(number, alarm)| set_back(number, alarm));
    let old = without_nonces.iter().filter(|_| state.has_nonces());
    let units = storage
        .iter()
        .map(|(agent, problem)| storage_unit(agent, problem));
    let clocks = clocks.iter().map(|(agent, ahead)| wrong_clock(agent, *ahead));
    let of_agents = old.map(old_agent).chain(units).chain(clocks);
    kept.chain(of_agents).collect()
}

fn set_back(number: u32, alarm: &Alarm) -> v1::Alarm {
    let from = rfc3339(alarm.from);
    let until = alarm.until.map_or_else(|| "a later time".to_owned(), rfc3339);
    let mut missing = Vec::new();
    if alarm.entries > 0 {
        missing.push(format!("{} entries or more", alarm.entries));
    }
    match alarm.jobs {
        Some((first, last)) if first == last => missing.push(format!("job {first}")),
        Some((first, last)) => missing.push(format!("jobs {first} to {last}")),
        None => {}
    }
    let (names, more) = (names(&alarm.said_by), alarm.sayers as usize > alarm.said_by.len());
    let others = if more { " and others" } else { "" };
    let text = format!(
        "this group was set back to an older copy of itself: what it acknowledged between {from} and {until} is missing ({}), as \
         {names}{others} remember; policies, settings and jobs of that time are gone, and restore points made then lie in their storage \
         units but are not listed; numbers of jobs go on above those that were given out; if a primary still has the newer state, stop \
         the others before more is written and start from that one; when it is dealt with: `outlast cluster acknowledge {number}`",
        missing.join(", ")
    );
    v1::Alarm {
        number,
        kind: "set_back".to_owned(),
        since: Some(alarm.since.into()),
        text,
        said_by: alarm.said_by.iter().map(ToString::to_string).collect(),
    }
}

fn old_agent(agent: &AgentName) -> v1::Alarm {
    v1::Alarm {
        number: 0,
        kind: "old_agent".to_owned(),
        since: None,
        text: format!(
            "the program of agent {agent} is too old for this group: it does not say which job of a number it speaks of, so nothing it \
             reports of a job counts, and it gets no new one; install the primary's version on its host"
        ),
        said_by: vec![agent.to_string()],
    }
}

fn storage_unit(agent: &AgentName, problem: &str) -> v1::Alarm {
    v1::Alarm {
        number: 0,
        kind: "storage_unit".to_owned(),
        since: None,
        text: format!(
            "media agent {agent} cannot use its storage unit, and jobs that run there fail until it can: {problem}; `outlast help code 2106`"
        ),
        said_by: vec![agent.to_string()],
    }
}

fn wrong_clock(agent: &AgentName, ahead: i64) -> v1::Alarm {
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    v1::Alarm {
        number: 0,
        kind: "clock".to_owned(),
        since: None,
        text: format!(
            "the clock of agent {agent} is {} s {side} the leader's: set the one right that is wrong; what agents stamp is corrected here, but \
             snapshots in a storage unit keep the time of their media agent, and restic's `latest` goes by that",
            ahead.unsigned_abs() / 1_000_000
        ),
        said_by: vec![agent.to_string()],
    }
}

fn names(agents: &[AgentName]) -> String {
    let names: Vec<_> = agents.iter().map(AgentName::as_str).collect();
    names.join(", ")
}
