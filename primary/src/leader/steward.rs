//! The leader's look at what lies in the storage units (F-15), by the media agent that is the steward of each: soon after it began to lead, when a job
//! has ended, and once a day. What is made of it the core says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use outlast_core::steward::{Lying, judge, steward};
use outlast_core::touched::Rows;
use outlast_core::{Command, Reply};
use outlast_kit::tls::media_agent_server_name;
use outlast_proto::v1::{SnapshotsQuestion, SweepQuestion, answer, question};
use outlast_proto::words::{
    AgentName, AgentState, AttemptId, ItemNumber, JobId, SnapshotId, StorageUnitName,
};

use super::Leader;
use crate::reconcilers::{Reconciler, Trouble};
use crate::wakes::Cause;

/// Agents have to come first.
const FIRST: Duration = Duration::from_secs(10);
const DAILY: Duration = Duration::from_secs(24 * 3600);
/// At the end of a job, unless it was done just before: a unit of many restore points sends a long list.
const NOT_BEFORE: Duration = Duration::from_secs(600);
/// How long a media agent may take for the next part of its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Of restore points in one entry.
const MOST_IN_AN_ENTRY: usize = 1000;
/// Snapshots that are named in one question.
const MOST_NAMED: usize = 5000;

pub(super) struct Steward {
    leader: Leader,
    began: Instant,
    /// When a unit was looked at last.
    looked: BTreeMap<StorageUnitName, Instant>,
    /// Jobs with an attempt when this was last looked at, and the unit of it.
    open: BTreeMap<JobId, StorageUnitName>,
    /// Units in which a job has ended since they were looked at.
    due: BTreeSet<StorageUnitName>,
}

impl Steward {
    pub(super) fn new(leader: Leader) -> Self {
        Self {
            leader,
            began: Instant::now(),
            looked: BTreeMap::new(),
            open: BTreeMap::new(),
            due: BTreeSet::new(),
        }
    }

    /// Notes which jobs have ended; the units that are to be looked at now.
    fn units(&mut self) -> Vec<StorageUnitName> {
        let state = self.leader.brain.read();
        let open = state.open_attempts();
        let open =
            open.filter_map(|(job, open)| Some((job, state.unit_of_agent(&open.media_agent)?.clone())));
        let open: BTreeMap<_, _> = open.collect();
        let over = std::mem::replace(&mut self.open, open);
        let over = over.into_iter().filter(|(job, _)| !self.open.contains_key(job));
        self.due.extend(over.map(|(_, unit)| unit));
        if !state.has_rules() || self.began.elapsed() < FIRST {
            return Vec::new();
        }
        let is_due = |unit: &StorageUnitName| {
            self.looked.get(unit).is_none_or(|at| {
                let wait = if self.due.contains(unit) {
                    NOT_BEFORE
                } else {
                    DAILY
                };
                at.elapsed() >= wait
            })
        };
        let units = state.storage_units().map(|(name, _)| name.clone());
        units.filter(is_due).collect()
    }

    /// Everything that lies in a unit.
    async fn lying(&self, agent: &AgentName) -> Result<Vec<Lying>, Trouble> {
        let question = question::Body::Snapshots(SnapshotsQuestion {});
        let mut asked =
            (self.leader.registry.ask(agent, question).await).map_err(|error| Trouble::of(&error))?;
        let mut lying = Vec::new();
        loop {
            let answer = tokio::time::timeout(ANSWER_WITHIN, asked.next())
                .await
                .ok()
                .flatten();
            let Some(answer) = answer else {
                return Err(Trouble(format!(
                    "media agent {agent} did not say to its end what lies in its storage unit"
                )));
            };
            match answer.body {
                Some(answer::Body::Snapshots(part)) => {
                    lying.extend(part.snapshots.into_iter().filter_map(|snapshot| {
                        let of = AttemptId::of_message(snapshot.attempt.as_ref()).ok();
                        Some(Lying {
                            id: SnapshotId(snapshot.id.as_ref().try_into().ok()?),
                            original: snapshot.original.as_ref().try_into().ok().map(SnapshotId),
                            of: of.map(|of| (of, ItemNumber(snapshot.item))),
                            age_seconds: snapshot.age_seconds,
                            is_readable: !snapshot.unreadable,
                        })
                    }));
                }
                Some(answer::Body::Error(error)) => return Err(Trouble(error.text)),
                _ => return Err(Trouble(format!("media agent {agent} does not know the question"))),
            }
            if answer.last {
                return Ok(lying);
            }
        }
    }

    /// Removes what ended attempts left, and locks of agents that are gone.
    async fn sweep(&self, agent: &AgentName, remove: &[SnapshotId]) -> Result<(), Trouble> {
        let lock_hosts: Vec<String> = {
            let state = self.leader.brain.read();
            let gone = state
                .agents()
                .filter(|(_, row)| row.state == AgentState::NoCommunication);
            gone.map(|(name, _)| media_agent_server_name(name.as_str()))
                .collect()
        };
        for part in remove
            .chunks(MOST_NAMED)
            .chain(remove.is_empty().then_some(&[][..]))
        {
            let question = question::Body::Sweep(SweepQuestion {
                snapshots: part.iter().map(|id| id.to_wire()).collect(),
                lock_hosts: lock_hosts.clone(),
            });
            let mut asked =
                (self.leader.registry.ask(agent, question).await).map_err(|error| Trouble::of(&error))?;
            let answer = tokio::time::timeout(ANSWER_WITHIN, asked.next())
                .await
                .ok()
                .flatten();
            match answer.and_then(|answer| answer.body) {
                Some(answer::Body::Sweep(done)) if done.snapshots + done.locks > 0 => tracing::info!(
                    %agent, snapshots = done.snapshots, locks = done.locks,
                    "the steward removed what ended attempts and agents that are gone had left"
                ),
                Some(answer::Body::Sweep(_)) => {}
                Some(answer::Body::Error(error)) => return Err(Trouble(error.text)),
                _ => return Err(Trouble(format!("media agent {agent} did not answer"))),
            }
        }
        Ok(())
    }
}

impl Reconciler for Steward {
    const NAME: &'static str = "steward";
    const WAKES: &'static [Cause] = &[Cause::Rows(Rows::Queue)];

    fn period(&self) -> Option<Duration> {
        Some(FIRST)
    }

    async fn look(&mut self) -> Result<Vec<Command>, Trouble> {
        let mut commands = Vec::new();
        let mut trouble = None;
        for unit in self.units() {
            let (agent, asked) = {
                let state = self.leader.brain.read();
                let agent = steward(&state, &self.leader.registry.presence(), &unit).cloned();
                (agent, state.entries_applied())
            };
            let Some(agent) = agent else { continue };
            // Also if it cannot: its next turn is not at once.
            self.looked.insert(unit.clone(), Instant::now());
            self.due.remove(&unit);
            let lying = match self.lying(&agent).await {
                Ok(lying) => lying,
                Err(error) => {
                    trouble = Some(error);
                    continue;
                }
            };
            let verdict = judge(&self.leader.brain.read(), &unit, &lying, asked);
            if let Err(error) = self.sweep(&agent, &verdict.remove).await {
                trouble = Some(error);
            }
            for (ids, is_lost) in [(&verdict.gone, true), (&verdict.back, false)] {
                commands.extend(
                    ids.chunks(MOST_IN_AN_ENTRY)
                        .map(|part| Command::MarkRestorePoints {
                            ids: part.to_vec(),
                            is_lost,
                        }),
                );
            }
        }
        match trouble {
            Some(trouble) if commands.is_empty() => Err(trouble),
            _ => Ok(commands),
        }
    }

    fn hear(&mut self, command: &Command, reply: &Reply) {
        if let (Command::MarkRestorePoints { ids, is_lost }, Reply::Done) = (command, reply) {
            match is_lost {
                true => tracing::error!(
                    count = ids.len(), first = ?ids.first().map(ToString::to_string),
                    "the snapshots of restore points are gone from their storage unit: they are lost; outlast restore-point list shows which"
                ),
                false => tracing::info!(count = ids.len(), "snapshots of lost restore points are back"),
            }
        }
    }
}
