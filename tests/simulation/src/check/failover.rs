//! Attempts that lose their right, what is recorded of those that have it, and what is left of them (F-04, F-14, S-12).

use outlast_core::rows::{History, JournalCursor};
use outlast_core::{ClusterState, Command, Entry, EventKind, JournalEvent};
use outlast_media_core::AttemptId;
use outlast_proto::words::{AgentName, Attempt, ItemOutcome, JournalId};

use super::Oracle;
use crate::storage::{Kind, Snap, Unit};

impl Oracle {
    /// Which attempts have lost their right, and which ended as they were found.
    pub(super) fn look_at_failover(&mut self, state: &ClusterState, entry: &Entry) {
        match &entry.command {
            Command::SupersedeAttempt { job, attempt, .. } | Command::RecoverAttempt { job, attempt, .. } => {
                let Some(row) = state.job(*job).filter(|row| row.running != Some(*attempt)) else {
                    return;
                };
                if self.superseded.insert(row.key().attempt(*attempt)) {
                    self.failovers += 1;
                }
            }
            Command::RecordEvents {
                agent,
                journal_id,
                events,
            } => {
                for event in events {
                    let is_complete =
                        matches!(event.what, EventKind::Surveyed { is_complete, .. } if is_complete);
                    let row = state.job(event.job).filter(|row| row.nonce == event.nonce);
                    let Some(row) = row.filter(|_| is_complete) else {
                        continue;
                    };
                    let unneeded = row.last_attempt.0 + 1..=event.attempt.0;
                    self.unneeded
                        .extend(unneeded.map(|number| row.key().attempt(Attempt(number))));
                }
                self.look_at_recorded(state, (agent, journal_id), events);
            }
            _ => {}
        }
        self.look_at_open(state);
    }

    /// Nobody loses its right without an order that names it, nothing is in progress where nothing runs, and what is multiplexed is not resilient.
    fn look_at_open(&mut self, state: &ClusterState) {
        for job in state.jobs_before(None) {
            let superseded = state.open_of(job.id).filter(|open| open.superseded().is_some());
            for id in superseded.map(|open| job.key().attempt(open.attempt)) {
                if !self.superseded.contains(&id) {
                    self.contradict("F-04", format!("{id} is superseded, and nobody ordered that"));
                }
            }
            let is_multiplexed = state
                .policy_of(job)
                .is_some_and(|policy| policy.shape.multiplex > 1);
            if is_multiplexed && state.open_of(job.id).any(|open| open.resilient) {
                self.contradict("R-07", format!("job {} is multiplexed and resilient", job.id));
            }
            let in_progress = |outcome| outcome == ItemOutcome::InProgress;
            if job.running.is_none() && state.items_of(job.id).any(|(_, item)| in_progress(item.outcome)) {
                let text = format!(
                    "job {} is {}, and an item of it is in progress",
                    job.id, job.state
                );
                self.contradict("X-05", text);
            }
        }
    }

    /// What was recorded of the running attempt is known of it.
    fn look_at_recorded(
        &mut self,
        state: &ClusterState,
        (agent, journal): (&AgentName, &JournalId),
        events: &[JournalEvent],
    ) {
        let media = state.agent(agent).and_then(|row| row.media.as_ref());
        let is_it = |cursor: &&JournalCursor| cursor.id == *journal;
        let Some(cursor) = media.map(|media| &media.journal).filter(is_it) else {
            return;
        };
        for event in events
            .iter()
            .filter(|event| event.sequence <= cursor.acknowledged)
        {
            let row = state.job(event.job).filter(|row| row.nonce == event.nonce);
            let running = row.and_then(|row| state.running_of(row).zip(Some(row)));
            let Some((running, row)) = running.filter(|(open, _)| open.attempt == event.attempt) else {
                continue;
            };
            let id = row.key().attempt(running.attempt);
            match &event.what {
                EventKind::Marked { .. } if !running.marked => {
                    self.contradict(
                        "F-09",
                        format!("{id} is marked, and the primaries do not know it"),
                    );
                }
                EventKind::Surveyed { .. }
                    if state.open_of(row.id).any(|open| open.superseded().is_some()) =>
                {
                    let text =
                        format!("{id} has looked what was left, and attempts before it are still open");
                    self.contradict("F-14", text);
                }
                EventKind::ExceptionsFound { exceptions, .. } => {
                    let paths = exceptions.iter().map(|exception| exception.path.clone());
                    self.recorded.entry(id).or_default().extend(paths);
                }
                _ => {}
            }
        }
    }

    /// A history is of an attempt that there was, and names all exceptions that were recorded.
    pub(super) fn look_at_recorded_of(&mut self, id: AttemptId, history: &History, state: &ClusterState) {
        if state.job(id.job).is_some_and(|row| row.last_attempt < id.attempt) {
            self.contradict("S-12", format!("{id} did nothing that counts, and has a history"));
        }
        let named = |path: &&String| history.exceptions.iter().any(|named| named.path == **path);
        let recorded = self.recorded.remove(&id).unwrap_or_default();
        if let Some(path) = recorded.iter().find(|path| !named(path)) {
            let text = format!("the history of {id} does not name {path}, which was recorded");
            self.contradict("S-02", text);
        }
    }

    /// When all is done, nothing of an attempt that lost its right is left but what is official.
    pub(crate) fn look_at_what_is_left(&mut self, state: &ClusterState, unit: &Unit) {
        if self.sets_disks_back {
            return;
        }
        let is_left = |snapshot, snap: &Snap| {
            snap.kind == Kind::Item
                && state.restore_point(&snapshot).is_none()
                && self.superseded.iter().any(|id| snap.id.is_through(*id))
        };
        let left = unit.snapshots().find(|(snapshot, snap)| is_left(*snapshot, snap));
        if let Some((snapshot, snap)) = left {
            let text = format!(
                "{} was superseded, and snapshot {snapshot} of it is left",
                snap.id
            );
            self.contradict("F-04", text);
        }
    }

    /// The attempt found that there was nothing left to be done.
    pub(crate) fn never_began(&self, id: AttemptId) -> bool {
        self.unneeded.contains(&id)
    }

    /// The attempt's end was found in the storage unit by the one after it.
    pub(super) fn was_found(&self, id: AttemptId) -> bool {
        let of_job = |unneeded: &AttemptId| unneeded.is_of_same_job(id) && unneeded.attempt > id.attempt;
        self.superseded.contains(&id) && self.unneeded.iter().any(of_job)
    }
}
