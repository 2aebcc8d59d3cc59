//! A group that was set back to an older copy of itself notices by what its agents remember (S-12b): it never gives out a job's
//! number again that one of them knows, and raises an alarm.
//!
//! Every leader begins a reign with a random id. A mark says how far the group had come in whose reign. Only what is applied is
//! marked, and every later leader has that: a mark that is not in the leader's own history is of one that is gone.

use outlast_proto::words::{AgentName, JobId, Timestamp};

use super::{Context, Outcome};
use crate::reply::{Refusal, Reply};
use crate::rows::{Alarm, Mark, Recollection, Reign};
use crate::state::ClusterState;

/// An agent's word alone lifts the number of the next job by less than this: a broken or hostile one could use them up. It is more than
/// a large group gives out in weeks; marks are signed, and lift it without a limit.
pub const MAX_JUMP: u64 = 1_000_000;
/// Of more leaders nothing is kept: marks from before the oldest say nothing.
const MAX_REIGNS: u64 = 256;

/// What a history lacks that an agent remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    from: Timestamp,
    until: Option<Timestamp>,
    entries: u64,
    jobs: Option<(JobId, JobId)>,
}

impl ClusterState {
    /// How far the group has come; none before it counts.
    #[must_use]
    pub fn mark_of_now(&self) -> Option<Mark> {
        let cluster = self.cluster().filter(|_| self.knows_set_backs())?;
        let (_, reign) = self.reigns.iter().next_back()?;
        Some(Mark {
            reign: reign.id,
            entries: cluster.entries,
            highest_job: JobId(cluster.next_job.0 - 1),
            at: cluster.last_at,
        })
    }

    /// The alarms that nobody has acknowledged.
    pub fn open_alarms(&self) -> impl Iterator<Item = (u32, &Alarm)> {
        let open = self
            .alarms
            .iter()
            .filter(|(_, alarm)| alarm.acknowledged.is_none());
        open.map(|(number, alarm)| (*number, alarm))
    }

    /// Whether there is, or was, an alarm of this number.
    #[must_use]
    pub fn has_alarm(&self, number: u32) -> bool {
        self.alarms.get(&number).is_some()
    }

    /// Whether the number of a job that an agent says it knows is too far above those given out to be believed.
    #[must_use]
    pub fn is_too_far(&self, job: JobId) -> bool {
        let next = self.cluster().map_or(1, |cluster| cluster.next_job.0);
        job.0 >= next.saturating_add(MAX_JUMP)
    }

    /// What the group has lost by what this agent remembers, if that is news.
    #[must_use]
    pub fn lost_by(&self, agent: &AgentName, remembered: &Recollection) -> Option<Lost> {
        let next = self.cluster().filter(|_| self.knows_set_backs())?.next_job;
        let (_, reign) = self.reigns.iter().next_back()?;
        let said = Some(remembered.highest_job).filter(|job| !self.is_too_far(*job));
        let highest = said.max(remembered.mark.map(|mark| mark.highest_job));
        let jobs = highest
            .filter(|highest| *highest >= next)
            .map(|highest| (next, highest));
        let by_mark = remembered
            .mark
            .and_then(|mark| Some((mark, self.not_in_history(mark)?)))
            .filter(|(mark, _)| !self.is_told(agent, mark.at));
        if let Some((mark, (from, entries))) = by_mark {
            return Some(Lost {
                from,
                until: Some(mark.at),
                entries,
                jobs,
            });
        }
        jobs.is_some().then_some(Lost {
            from: reign.after_at,
            until: None,
            entries: 0,
            jobs,
        })
    }

    /// Since when the history has gone another way than the mark's, and how many entries the mark is ahead of that at least.
    fn not_in_history(&self, mark: Mark) -> Option<(Timestamp, u64)> {
        let cluster = self.cluster()?;
        let mut reigns = self.reigns.iter().map(|(_, reign)| reign);
        let oldest = reigns.next()?;
        let of_mark = self.reigns.iter().find(|(_, reign)| reign.id == mark.reign);
        let Some((number, _)) = of_mark else {
            let newest = reigns.next_back().unwrap_or(oldest);
            let is_forgotten = self.reigns.len() as u64 == MAX_REIGNS && mark.entries <= oldest.after;
            return (!is_forgotten).then_some((newest.after_at, mark.entries.saturating_sub(newest.after)));
        };
        let next = self.reigns.get(&(number + 1));
        let (end, at) = next.map_or((cluster.entries, cluster.last_at), |next| {
            (next.after, next.after_at)
        });
        (mark.entries > end).then(|| (at, mark.entries - end))
    }

    /// Whether an alarm covers what was there until then, and names the agent or is closed.
    fn is_told(&self, agent: &AgentName, until: Timestamp) -> bool {
        let Some((_, alarm)) = self.alarms.iter().next_back() else {
            return false;
        };
        let needs_no_name = alarm.acknowledged.is_some() || alarm.said_by.len() >= Alarm::MAX_NAMED;
        alarm.until >= Some(until) && (needs_no_name || alarm.said_by.contains(agent))
    }

    pub(super) fn begin_reign(&mut self, id: u64, context: Context<'_>) -> Outcome {
        self.must_know_set_backs()?;
        let entries = self.cluster().map_or(0, |cluster| cluster.entries);
        let number = self.reigns.iter().next_back().map_or(0, |(number, _)| number + 1);
        let reign = Reign {
            id,
            after: entries.saturating_sub(1),
            after_at: context.last_at,
        };
        self.reigns.insert(number, reign);
        if let Some(oldest) = number.checked_sub(MAX_REIGNS) {
            self.reigns.remove(&oldest);
        }
        Ok(Reply::Done)
    }

    pub(super) fn take_recollection(
        &mut self,
        agent: &AgentName,
        remembered: &Recollection,
        context: Context<'_>,
    ) -> Outcome {
        self.must_know_set_backs()?;
        let Some(lost) = self.lost_by(agent, remembered) else {
            return Ok(Reply::Done);
        };
        if let Some((_, highest)) = lost.jobs
            && let Some(cluster) = self.cluster.get_mut(&())
        {
            cluster.next_job = JobId(highest.0.saturating_add(1));
        }
        let newest = self.alarms.iter().next_back();
        let next = newest.map_or(1, |(number, _)| number + 1);
        let open = newest.filter(|(_, alarm)| alarm.acknowledged.is_none());
        let (number, mut alarm) = open.map_or_else(
            || (next, new_alarm(&lost, context.at)),
            |(number, alarm)| (*number, alarm.clone()),
        );
        add(&mut alarm, agent, &lost);
        self.alarms.insert(number, alarm);
        Ok(Reply::Done)
    }

    pub(super) fn acknowledge_alarm(&mut self, number: u32, by: &str, context: Context<'_>) -> Outcome {
        let no_such = Refusal::InvalidRequest {
            field: "number".to_owned(),
            reason: format!("there is no alarm {number}; `cluster status` shows those there are"),
        };
        let alarm = self.alarms.get_mut(&number).ok_or(no_such)?;
        alarm
            .acknowledged
            .get_or_insert_with(|| (by.to_owned(), context.at));
        Ok(Reply::Done)
    }

    fn must_know_set_backs(&self) -> Result<(), Refusal> {
        self.knows_set_backs()
            .then_some(())
            .ok_or(Refusal::InvalidRequest {
                field: "cluster_version".to_owned(),
                reason: "not all members know this command yet".to_owned(),
            })
    }
}

const fn new_alarm(lost: &Lost, since: Timestamp) -> Alarm {
    Alarm {
        since,
        from: lost.from,
        until: None,
        entries: 0,
        jobs: None,
        said_by: Vec::new(),
        sayers: 0,
        acknowledged: None,
    }
}

/// An alarm covers what every agent remembers.
fn add(alarm: &mut Alarm, agent: &AgentName, lost: &Lost) {
    alarm.from = alarm.from.min(lost.from);
    alarm.until = alarm.until.max(lost.until);
    alarm.entries = alarm.entries.max(lost.entries);
    alarm.jobs = match (alarm.jobs, lost.jobs) {
        (Some((first, last)), Some((_, higher))) => Some((first, last.max(higher))),
        (known, new) => known.or(new),
    };
    if alarm.said_by.contains(agent) {
        return;
    }
    alarm.sayers = alarm.sayers.saturating_add(1);
    if alarm.said_by.len() < Alarm::MAX_NAMED {
        alarm.said_by.push(agent.clone());
    }
}
