//! How long agents have been silent (C-05), and what follows from it: no new jobs (C-02), attempts that are superseded (C-04, C-08), or end
//! `recovered` (C-03).
//!
//! Counted in ticks of the leader's watchdog, from the later of an agent's last message and the leader's election: a pause of the
//! leader is one late tick, and a new leader begins anew. Pure; `primary/src/leader/watchdog.rs` ticks once a second.

use std::collections::{BTreeMap, BTreeSet};

use outlast_proto::words::{
    AgentName, AgentState, Attempt, AttemptId, Counters, JobId, JobKind, JobState, PoolName,
};

use crate::dispatch::{Presence, can_move};
use crate::entry::Command;
use crate::rows::{Job, OpenAttempt};
use crate::state::ClusterState;
use crate::thresholds::Threshold;

mod told;
mod witness;

use told::{Outlook, unknown_of};
pub use witness::Word;
use witness::{Facts, Superseded};

/// Seconds of the watchdog.
pub type Ticks = u64;

/// From here on a silence is worth to be shown.
const SHOWN_AFTER: Ticks = 5;

/// Of one agent.
#[derive(Clone, Copy, Debug, Default)]
struct Quiet {
    /// Ticks since it was last heard, or since the count began.
    ticks: Ticks,
    /// This leader has heard it.
    was_heard: bool,
}

/// What the watchdog heard in a tick.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Agents that said something.
    pub agents: BTreeSet<AgentName>,
    /// What clients last said of their attempts.
    pub words: BTreeMap<AttemptId, Word>,
    /// What is known of the progress of attempts.
    pub progress: BTreeMap<(JobId, Attempt), Counters>,
}

/// What nobody knows about a running attempt, and what will be done about it (C-08).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Of which attempt.
    pub attempt: Attempt,
    /// How long its media agent is silent.
    pub silent: Ticks,
    /// What the client says, for a person.
    pub client_says: String,
    /// The row by which it is decided.
    pub rule: &'static str,
    /// What happens then.
    pub next_step: String,
    /// In how many ticks, if nothing is heard meanwhile; none: not by time alone.
    pub left: Option<Ticks>,
}

/// The silence of all agents, as one leader counts it.
#[derive(Clone, Debug, Default)]
pub struct Silence {
    agents: BTreeMap<AgentName, Quiet>,
    /// For how long a client that is heard has said nothing of an attempt.
    unsaid: BTreeMap<AttemptId, Ticks>,
    /// For how long nobody has vouched for an attempt: neither was its media agent heard, nor did its client hear it.
    unvouched: BTreeMap<AttemptId, Ticks>,
    unknown: BTreeMap<JobId, Unknown>,
}

impl Silence {
    /// A second has passed, in which this was heard. What is to be done by that.
    pub fn tick(&mut self, state: &ClusterState, presence: &Presence, heard: &Heard) -> Vec<Command> {
        self.agents.retain(|name, _| state.agent(name).is_some());
        let mut commands = Vec::new();
        for (name, agent) in state.agents() {
            let quiet = self.agents.entry(name.clone()).or_default();
            if heard.agents.contains(name) {
                *quiet = Quiet {
                    ticks: 0,
                    was_heard: true,
                };
            } else {
                quiet.ticks += 1;
            }
            let is_silent = quiet.ticks >= state.threshold(Threshold::StalledAfter, name).value.0;
            let is_lost = quiet.ticks >= no_communication_after(state, name);
            let to = match agent.state {
                AgentState::Enabled if is_silent => AgentState::CommunicationStalled,
                AgentState::CommunicationStalled if is_lost => AgentState::NoCommunication,
                AgentState::CommunicationStalled | AgentState::NoCommunication
                    if quiet.was_heard && !is_silent =>
                {
                    AgentState::Enabled
                }
                _ => continue,
            };
            commands.push(Command::ChangeAgentState {
                agent: name.clone(),
                from: agent.state,
                to,
            });
        }
        commands.extend(self.look_at_attempts(state, presence, heard));
        commands
    }

    /// What is not known of the attempts of these jobs.
    #[must_use]
    pub const fn unknown(&self) -> &BTreeMap<JobId, Unknown> {
        &self.unknown
    }

    /// Media agents that are silent for so long that no job goes to them, connected or not.
    #[must_use]
    pub fn silent(&self, state: &ClusterState) -> BTreeSet<AgentName> {
        let is_silent = |name: &AgentName| {
            let fails_over = pool_of(state, name).is_some_and(|pool| state.fails_over(pool));
            fails_over && self.quiet(name) >= state.threshold(Threshold::FailoverAfter, name).value.0
        };
        self.agents
            .keys()
            .filter(|name| is_silent(name))
            .cloned()
            .collect()
    }

    fn quiet(&self, agent: &AgentName) -> Ticks {
        self.agents.get(agent).map_or(0, |quiet| quiet.ticks)
    }

    fn look_at_attempts(&mut self, state: &ClusterState, presence: &Presence, heard: &Heard) -> Vec<Command> {
        let (mut unsaid, mut unvouched, mut unknown) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut commands = Vec::new();
        let running = state.open_attempts().filter(|(_, open)| open.is_running());
        for (id, open) in running {
            let Some(job) = state.job(id) else { continue };
            let attempt = job.key().attempt(open.attempt);
            let agent = self.quiet(&open.media_agent);
            let Some(pool) = pool_of(state, &open.media_agent).filter(|_| agent > 0) else {
                continue;
            };
            let word = heard.words.get(&attempt).copied();
            let client = self.quiet(&job.client);
            if word.is_none() {
                let before = self.unsaid.get(&attempt).copied().unwrap_or_default();
                unsaid.insert(attempt, before + u64::from(client == 0));
            }
            let failover_after = state
                .threshold(Threshold::FailoverAfter, &open.media_agent)
                .value
                .0;
            let facts = Facts {
                agent,
                client,
                word,
                unsaid: unsaid.get(&attempt).copied().unwrap_or_default(),
                failover_after,
                can_be_surveyed: job.kind() == JobKind::Backup,
            };
            let verdict = facts.judge();
            let silent = match verdict.superseded {
                Superseded::NotWhileHeard => 0,
                _ => self.unvouched.get(&attempt).copied().unwrap_or_default() + 1,
            };
            unvouched.insert(attempt, silent);
            let lost_after = no_communication_after(state, &open.media_agent);
            let outlook = Outlook {
                fails_over: state.fails_over(pool),
                has_place: job.state == JobState::Stopping || can_move(state, presence, job),
                recovered_in: state.has_rules().then(|| lost_after.saturating_sub(silent)),
                superseded: verdict.superseded,
            };
            commands.extend(command(
                outlook,
                (job, open),
                (agent, &verdict.client_says),
                heard,
            ));
            if agent >= SHOWN_AFTER.min(failover_after) {
                unknown.insert(id, unknown_of((job, open), agent, verdict, outlook));
            }
        }
        (self.unsaid, self.unvouched, self.unknown) = (unsaid, unvouched, unknown);
        commands
    }
}

/// What is to be done about an attempt whose media agent is silent for so long.
fn command(
    outlook: Outlook,
    (job, open): (&Job, &OpenAttempt),
    (silent, client_says): (Ticks, &str),
    heard: &Heard,
) -> Option<Command> {
    let (id, version, attempt) = (job.id, job.version, open.attempt);
    let last_progress = heard.progress.get(&(id, attempt)).copied();
    let why = format!(
        "media agent {} is silent for {silent} s, and {client_says}",
        open.media_agent
    );
    if outlook.moves_now() {
        return Some(Command::SupersedeAttempt {
            job: id,
            version,
            attempt,
            why,
            last_progress,
        });
    }
    outlook.is_recovered_now().then_some(Command::RecoverAttempt {
        job: id,
        version,
        attempt,
        why,
        last_progress,
    })
}

fn pool_of<'a>(state: &'a ClusterState, agent: &AgentName) -> Option<&'a PoolName> {
    Some(&state.agent(agent)?.media.as_ref()?.pool)
}

/// C-03, in ticks of silence: so long after the agent is stalled.
fn no_communication_after(state: &ClusterState, agent: &AgentName) -> Ticks {
    let of = |which| state.threshold(which, agent).value.0;
    of(Threshold::StalledAfter).saturating_add(of(Threshold::NoCommunicationAfter))
}
