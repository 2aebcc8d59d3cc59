//! Which running attempts leave a media agent that is drained, and which finish there and why (C-08b).
//!
//! Pure: state and presence in, proposals out. The leader's reconciler `drain` calls it, and who shows an agent. What becomes of what is decided is
//! `apply`'s and `orders`'.

use outlast_proto::words::{AgentAdmin, JobState};

use crate::dispatch::{Presence, who_reaches};
use crate::entry::Command;
use crate::rows::{Drained, Job, OpenAttempt};
use crate::session::MOVES;
use crate::state::ClusterState;

/// What is to be decided now about attempts on media agents that are drained. One that was told to leave does; one that stays is looked at again, and
/// moves as soon as it can.
#[must_use]
pub fn plan(state: &ClusterState, presence: &Presence) -> Vec<Command> {
    if !state.has_rules() {
        return Vec::new();
    }
    let drained = state
        .agents()
        .filter(|(name, agent)| agent.admin == AgentAdmin::Draining && presence.connected.contains_key(name));
    let attempts = drained.flat_map(|(name, _)| {
        let jobs = state.running_on(name);
        let on_it = jobs.filter_map(|job| Some((job, state.running_of(job)?)));
        on_it.filter(move |(_, open)| open.media_agent == *name)
    });
    let decided = attempts.filter_map(|(job, open)| {
        let is_open = job.state != JobState::Stopping && !open.moves();
        let drained = is_open.then(|| decide(state, presence, job, open))?;
        (open.drained.as_ref() != Some(&drained)).then_some(Command::DecideDrained {
            job: job.id,
            attempt: open.attempt,
            drained,
        })
    });
    decided.collect()
}

/// What a drain makes of this attempt, as things are now.
#[must_use]
pub fn decide(state: &ClusterState, presence: &Presence, job: &Job, open: &OpenAttempt) -> Drained {
    match why_it_stays(state, presence, job, open) {
        Some(why) => Drained::Stays { why },
        None => Drained::Moves,
    }
}

fn why_it_stays(state: &ClusterState, presence: &Presence, job: &Job, open: &OpenAttempt) -> Option<String> {
    let here = &open.media_agent;
    let from_zero = |next| state.begins_from_zero(job.id, here, Some(next));
    // Whoever comes next: what is so here is so everywhere.
    if let Some(why) = from_zero(here) {
        return Some(why);
    }
    let agent = state.agent(here)?;
    if agent.speaks < MOVES {
        return Some(format!(
            "the program of media agent {here} is too old to end an attempt at a checkpoint"
        ));
    }
    if !presence.connected.contains_key(&job.client) {
        let client = &job.client;
        return Some(format!(
            "client {client} is not connected to the primary: the next attempt could not begin"
        ));
    }
    let unit = &agent.media.as_ref()?.storage_unit;
    let able = who_reaches(state, presence, job, unit);
    let others: Vec<_> = able.iter().filter(|name| *name != here).collect();
    if others.is_empty() {
        let pool = &job.pool;
        return Some(format!(
            "no other media agent of pool {pool} that reaches storage unit {unit} can take it now"
        ));
    }
    let whys: Option<Vec<String>> = others.into_iter().map(from_zero).collect();
    whys.and_then(|whys| whys.into_iter().next())
}
