//! Journals of media agents: applied once, in order, without gaps (DESIGN 3).

use outlast_proto::words::{AgentName, JournalId, Timestamp};

use super::{Context, Outcome};
use crate::event::JournalEvent;
use crate::reply::{Refusal, Reply};
use crate::state::ClusterState;

impl ClusterState {
    pub(super) fn record_events(
        &mut self,
        agent: &AgentName,
        journal_id: &JournalId,
        events: &[JournalEvent],
        context: Context<'_>,
    ) -> Outcome {
        let cursor = self
            .agents
            .get(agent)
            .and_then(|row| row.media.as_ref())
            .map(|media| &media.journal);
        let Some(cursor) = cursor.filter(|cursor| cursor.id == *journal_id) else {
            return Err(Refusal::JournalGap { acknowledged: 0 });
        };
        let (mut acknowledged, mut writer) = (cursor.acknowledged, cursor.writer);
        for event in events {
            // A repeated event was applied before: it is only acknowledged again.
            if event.sequence <= acknowledged {
                continue;
            }
            if event.sequence != acknowledged + 1 {
                self.set_cursor(agent, acknowledged, writer);
                return Err(Refusal::JournalGap { acknowledged });
            }
            self.apply_event(agent, event, self.time_of(event, context.at));
            (acknowledged, writer) = (event.sequence, event.writer);
        }
        self.set_cursor(agent, acknowledged, writer);
        Ok(Reply::Recorded { acknowledged })
    }

    /// When an event happened, as its witness says, but not later than now, not before its attempt, and not before what the job's
    /// details have already. Only for people: nothing is decided by it (C-07).
    fn time_of(&self, event: &JournalEvent, now: Timestamp) -> Timestamp {
        let job = self.jobs.get(&event.job);
        let begun = job
            .and_then(|job| self.running_of(job))
            .map(|running| running.started_at);
        let said = job
            .and_then(|job| job.details.checked_sub(1))
            .and_then(|last| self.details.get(&(event.job, last)))
            .map(|detail| detail.time);
        event.at.max(begun.max(said).unwrap_or(now)).min(now)
    }

    fn set_cursor(&mut self, agent: &AgentName, acknowledged: u64, writer: u64) {
        let media = self.agents.get_mut(agent).and_then(|row| row.media.as_mut());
        if let Some(media) = media {
            media.journal.acknowledged = acknowledged;
            media.journal.writer = writer;
        }
    }
}
