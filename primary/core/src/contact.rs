//! How long agents have been silent (C-05), and what follows from it: no new jobs (C-02), attempts that are superseded (C-04, C-08).
//!
//! Counted in ticks of the leader's watchdog, from the later of an agent's last message and the leader's election: a pause of the
//! leader is one late tick, and a new leader begins anew. Pure; `primary/src/leader/watchdog.rs` ticks once a second.

use std::collections::{BTreeMap, BTreeSet};

use outlast_proto::words::{AgentName, AgentState, Attempt, AttemptId, Counters, JobId, JobState};

use crate::dispatch::{Presence, can_move};
use crate::entry::Command;
use crate::rows::{Agent, Job, OpenAttempt, Pool};
use crate::state::ClusterState;

mod witness;

pub use witness::Word;
use witness::{Facts, Superseded, Verdict};

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
            let is_silent = quiet.ticks >= stalled_after(state, agent);
            let to = match agent.state {
                AgentState::Enabled if is_silent => AgentState::CommunicationStalled,
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
            let pool = pool_of(state, name).filter(|pool| pool.fails_over());
            pool.is_some_and(|pool| self.quiet(name) >= pool.failover_after.0)
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
        let (mut unsaid, mut unknown) = (BTreeMap::new(), BTreeMap::new());
        let mut commands = Vec::new();
        let running = state.open_attempts().filter(|(_, open)| open.is_running());
        for (id, open) in running {
            let Some(job) = state.job(id) else { continue };
            let attempt = job.key().attempt(open.attempt);
            let agent = self.quiet(&open.media_agent);
            let word = heard.words.get(&attempt).copied();
            let client = self.quiet(&job.client);
            if word.is_none() && agent > 0 {
                let before = self.unsaid.get(&attempt).copied().unwrap_or_default();
                unsaid.insert(attempt, before + u64::from(client == 0));
            }
            let Some(pool) = pool_of(state, &open.media_agent) else {
                continue;
            };
            if agent < SHOWN_AFTER.min(pool.failover_after.0) {
                continue;
            }
            let facts = Facts {
                agent,
                client,
                word,
                unsaid: unsaid.get(&attempt).copied().unwrap_or_default(),
                failover_after: pool.failover_after.0,
            };
            let verdict = facts.judge();
            let has_place = job.state == JobState::Stopping || can_move(state, presence, job);
            if pool.fails_over() && verdict.superseded == Superseded::Now && has_place && state.splits_jobs()
            {
                commands.push(Command::SupersedeAttempt {
                    job: id,
                    version: job.version,
                    attempt: open.attempt,
                    why: format!(
                        "media agent {} is silent for {agent} s, and {}",
                        open.media_agent, verdict.client_says
                    ),
                    last_progress: heard.progress.get(&(id, open.attempt)).copied(),
                });
            }
            unknown.insert(id, unknown_of((job, open), pool, agent, verdict, has_place));
        }
        (self.unsaid, self.unknown) = (unsaid, unknown);
        commands
    }
}

/// For a person.
fn unknown_of(
    (job, open): (&Job, &OpenAttempt),
    pool: &Pool,
    silent: Ticks,
    verdict: Verdict,
    has_place: bool,
) -> Unknown {
    let (agent, client, next) = (&open.media_agent, &job.client, open.attempt.next());
    let heard_again = format!("the attempt goes on as soon as {agent} is heard again");
    let (rule, next_step, left) = if !pool.fails_over() {
        let text = format!("pool {} has no failover: {heard_again}", job.pool);
        ("F-01", text, None)
    } else if !has_place {
        let text = format!(
            "no other media agent of pool {} can take the job now: {heard_again}",
            job.pool
        );
        ("F-02", text, None)
    } else {
        match verdict.superseded {
            Superseded::Now => (
                "C-08",
                format!("it moves to attempt {next} on another media agent now"),
                Some(0),
            ),
            Superseded::In(left) => {
                let text = format!(
                    "it moves to attempt {next} on another media agent, unless {agent} is heard before"
                );
                ("C-08", text, Some(left))
            }
            Superseded::NotWhileHeard => {
                let text = format!(
                    "only the primary does not hear {agent}, client {client} does: the attempt goes on, and its result is recorded when {agent} is back"
                );
                ("C-08", text, None)
            }
            Superseded::NotWhileBlind => {
                let text = format!(
                    "neither {agent} nor client {client} is heard, so the attempt may be running: nothing is started; if the host of {agent} is gone, \
                     say so with outlast agent declare-dead {agent}"
                );
                ("C-08", text, None)
            }
        }
    };
    Unknown {
        attempt: open.attempt,
        silent,
        client_says: verdict.client_says,
        rule,
        next_step,
        left,
    }
}

fn pool_of<'a>(state: &'a ClusterState, agent: &AgentName) -> Option<&'a Pool> {
    state.pool(&state.agent(agent)?.media.as_ref()?.pool)
}

/// C-02, in ticks: as the agent's pool says; clients have none.
fn stalled_after(state: &ClusterState, agent: &Agent) -> Ticks {
    let pool = agent.media.as_ref().and_then(|media| state.pool(&media.pool));
    pool.map_or_else(|| Pool::default().stalled_after, |pool| pool.stalled_after)
        .0
}
