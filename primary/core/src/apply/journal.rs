//! Journals of media agents: applied once, in order, without gaps (DESIGN 3).

use outlast_proto::words::{AgentName, JournalId};

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
            self.apply_event(agent, event, context.at);
            (acknowledged, writer) = (event.sequence, event.writer);
        }
        self.set_cursor(agent, acknowledged, writer);
        Ok(Reply::Recorded { acknowledged })
    }

    fn set_cursor(&mut self, agent: &AgentName, acknowledged: u64, writer: u64) {
        let media = self.agents.get_mut(agent).and_then(|row| row.media.as_mut());
        if let Some(media) = media {
            media.journal.acknowledged = acknowledged;
            media.journal.writer = writer;
        }
    }
}
