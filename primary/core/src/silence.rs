//! How long agents have been silent (C-05), and what follows from it (C-02).
//!
//! Counted in ticks of the leader's watchdog, from the later of an agent's last message and the leader's election: a pause of the
//! leader is one late tick, and a new leader begins anew. Pure; `primary/src/leader/watchdog.rs` ticks once a second.

use std::collections::{BTreeMap, BTreeSet};

use outlast_proto::words::{AgentName, AgentState};

use crate::entry::Command;
use crate::rows::{Agent, Pool};
use crate::state::ClusterState;

/// Of one agent.
#[derive(Clone, Copy, Debug, Default)]
struct Quiet {
    /// Ticks since it was last heard, or since the count began.
    ticks: u64,
    /// This leader has heard it.
    was_heard: bool,
}

/// The silence of all agents, as one leader counts it.
#[derive(Clone, Debug, Default)]
pub struct Silence {
    agents: BTreeMap<AgentName, Quiet>,
}

impl Silence {
    /// A second has passed, in which these agents were heard. Which agents are in another state by that.
    pub fn tick(&mut self, state: &ClusterState, heard: &BTreeSet<AgentName>) -> Vec<Command> {
        self.agents.retain(|name, _| state.agent(name).is_some());
        let mut commands = Vec::new();
        for (name, agent) in state.agents() {
            let quiet = self.agents.entry(name.clone()).or_default();
            if heard.contains(name) {
                *quiet = Quiet {
                    ticks: 0,
                    was_heard: true,
                };
            } else {
                quiet.ticks += 1;
            }
            let is_silent = quiet.ticks >= stalled_after(state, agent);
            let to = match agent.state {
                AgentState::Enabled if is_silent => AgentState::CommunicationStalled,
                AgentState::CommunicationStalled if quiet.was_heard && !is_silent => AgentState::Enabled,
                _ => continue,
            };
            commands.push(Command::ChangeAgentState {
                agent: name.clone(),
                from: agent.state,
                to,
            });
        }
        commands
    }
}

/// C-02, in ticks: as the agent's pool says; clients have none.
fn stalled_after(state: &ClusterState, agent: &Agent) -> u64 {
    let pool = agent.media.as_ref().and_then(|media| state.pool(&media.pool));
    pool.map_or_else(|| Pool::default().stalled_after, |pool| pool.stalled_after)
        .0
}
