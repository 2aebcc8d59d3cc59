//! What an attempt's events do to its job. Events of an attempt that is not the running one change nothing (F-04, C-07).

use outlast_proto::words::{
    AgentName, Attempt, Counters, Exception, ItemNumber, ItemOutcome, JobId, MAX_EXCEPTIONS, Severity,
    SnapshotId, StartId, Timestamp, TreeId,
};

use crate::event::{EventKind, JournalEvent};
use crate::rows::{Checkpoint, ItemCheckpoint, Job, JobTask, RestorePoint};
use crate::state::ClusterState;

/// The snapshot that an item left.
pub(super) struct Left {
    pub(super) id: SnapshotId,
    pub(super) time: Timestamp,
    pub(super) tree: Option<TreeId>,
}

impl ClusterState {
    pub(super) fn apply_event(&mut self, agent: &AgentName, event: &JournalEvent, at: Timestamp) {
        let (job, host) = (event.job, agent.as_str());
        // Another job had this number, before the group was set back (S-12b).
        let is_same = |row: &Job| self.is_same(row, event.nonce);
        if !self.jobs.get(&job).is_some_and(is_same) {
            return;
        }
        let ours = |job: &Job| {
            let running = self.running_of(job).filter(|open| open.attempt == event.attempt);
            running.is_some_and(|open| open.media_agent == *agent)
        };
        if !self.jobs.get(&job).is_some_and(ours) {
            // One above the last found that there was nothing left to be done.
            let is_of_job = self
                .jobs
                .get(&job)
                .is_some_and(|job| event.attempt <= job.last_attempt || !self.splits_jobs());
            if let EventKind::Ended { code, .. } = &event.what
                && is_of_job
            {
                let text = format!(
                    "attempt {} reported its end ({code}) after it was closed",
                    event.attempt
                );
                self.say(job, at, Severity::Warning, host, text);
            }
            return;
        }
        if self.has_ended_there(event) {
            return;
        }
        let said = |counters: Counters| self.known_numbers(counters);
        match &event.what {
            EventKind::Marked {
                resilient,
                client_start_id,
            } => self.mark(job, *resilient, client_start_id, (host, at)),
            EventKind::MarkLost { from, to } => self.lose_mark(job, [from.as_str(), to.as_str()], host, at),
            EventKind::ItemStarted { item } => self.start_item(job, *item, host, at),
            EventKind::ItemEnded { .. } => self.end_item(event, host, at),
            EventKind::CheckpointMade { .. } => self.note_checkpoint(event, at),
            EventKind::ExceptionsFound { item, exceptions } => self.add_exceptions(job, *item, exceptions),
            EventKind::DetailSaid { severity, text } => self.say(job, at, *severity, host, text.clone()),
            EventKind::Surveyed {
                found, is_complete, ..
            } => self.take_survey(event, found, *is_complete, (host, at)),
            EventKind::Interrupted {
                counters,
                reason,
                cause,
            } => {
                let counters = said(*counters);
                self.interrupted(job, (counters, reason), *cause, (host, at));
            }
            EventKind::MadeRoom { counters, reason } => {
                self.made_room(job, said(*counters), reason, (host, at));
            }
            EventKind::Ended { .. } => self.take_end(event, host, at),
        }
    }

    /// Its media agent has ended the attempt: what it says of it after that, but another end, is nothing.
    fn has_ended_there(&self, event: &JournalEvent) -> bool {
        let is_end = matches!(
            event.what,
            EventKind::Ended { .. } | EventKind::Interrupted { .. } | EventKind::MadeRoom { .. }
        );
        let job = self.jobs.get(&event.job);
        let running = job.and_then(|job| self.running_of(job));
        !is_end && running.is_some_and(|open| open.loss.is_some())
    }

    fn mark(&mut self, job: JobId, resilient: bool, client: &StartId, (host, at): (&str, Timestamp)) {
        if resilient {
            self.say(job, at, Severity::Info, host, "job is resilient".into());
        }
        if !self.is_to_survey(job) {
            self.close_superseded(job);
        }
        let client = self.has_rules().then(|| client.clone());
        if let Some(running) = self.running_mut(job) {
            running.client_start = client;
            running.marked = true;
            // The ticket was shown: the client has it, whether or not its answer arrived.
            running.client_admitted = true;
        }
        self.change_job(job, |job| job.resilient = Some(resilient));
    }

    /// The attempt goes on, as one that was never resilient.
    fn lose_mark(&mut self, job: JobId, [from, to]: [&str; 2], host: &str, at: Timestamp) {
        if self.jobs.get(&job).is_none_or(|job| job.resilient != Some(true)) {
            return;
        }
        let text = format!("job is not resilient: the primary's version changed from {from} to {to}");
        self.say(job, at, Severity::Warning, host, text);
        if let Some(running) = self.running_mut(job) {
            running.resilient = false;
        }
        self.change_job(job, |job| job.resilient = Some(false));
    }

    fn start_item(&mut self, job: JobId, item: ItemNumber, host: &str, at: Timestamp) {
        let running = self.jobs.get(&job).and_then(|job| job.running);
        let row = self.items.get_mut(&(job, item)).zip(running);
        let path = row.map(|(row, running)| {
            row.outcome = ItemOutcome::InProgress;
            row.make(running).started_at = Some(at);
            row.path.clone()
        });
        self.touch_job(job);
        if let Some(path) = path {
            self.say(job, at, Severity::Info, host, format!("item {path}: started"));
        }
    }

    fn end_item(&mut self, event: &JournalEvent, host: &str, at: Timestamp) {
        let EventKind::ItemEnded {
            item,
            outcome,
            counters,
            snapshot,
            error,
            adopted,
            tree,
        } = &event.what
        else {
            return;
        };
        let Some(row) = self.item(event.job, *item) else {
            return;
        };
        let path = row.path.clone();
        let of_item = self.known_numbers(*counters);
        let left = snapshot.as_ref().map(|(id, time)| Left {
            id: *id,
            time: self.time_of_snapshot(event, *time, at),
            tree: tree.filter(|_| self.names_trees()),
        });
        let by = (event.job, event.attempt);
        let committed = left.and_then(|left| self.commit_restore_point(by, *item, left, counters));
        if let Some(row) = self.items.get_mut(&(event.job, *item)) {
            row.outcome = *outcome;
            row.restore_point = committed.or(row.restore_point);
            row.checkpoint = None;
            let made = row.make(event.attempt);
            made.ended_at = Some(at);
            made.counters = of_item;
            made.error = error.clone();
        }
        self.touch_job(event.job);
        let (severity, mut text) = match error {
            Some(error) => (
                Severity::Error,
                format!("item {path}: {outcome}, {} ({})", error.text, error.code),
            ),
            None => (
                Severity::Info,
                format!(
                    "item {path}: {outcome}, {} files, {} bytes",
                    counters.files, counters.bytes
                ),
            ),
        };
        if *adopted {
            text.push_str(", found finished in the storage unit");
        }
        self.say(event.job, at, severity, host, text);
    }

    /// When a snapshot was made, by the clock of its agent: not before its attempt, or its job if it was found, and not later than it was
    /// told (B-09).
    fn time_of_snapshot(&self, event: &JournalEvent, said: Timestamp, at: Timestamp) -> Timestamp {
        let job = self.jobs.get(&event.job).filter(|_| self.orders_restore_points());
        let Some(job) = job else { return said };
        let is_found = matches!(event.what, EventKind::ItemEnded { adopted: true, .. });
        let running = self.running_of(job).filter(|_| !is_found);
        let begun = running.map_or(job.created_at, |running| running.started_at);
        said.max(begun).min(at)
    }

    /// Makes a snapshot official. A second one for the same item of a job is refused: the first stays.
    pub(super) fn commit_restore_point(
        &mut self,
        (job_id, attempt): (JobId, Attempt),
        item: ItemNumber,
        left: Left,
        counters: &Counters,
    ) -> Option<SnapshotId> {
        let id = left.id;
        if let Some(first) = self.indexes.by_job_item.get(&(job_id, item)) {
            return Some(*first);
        }
        let job = self.jobs.get(&job_id)?;
        let running = self.running_of(job)?;
        let unit = self
            .agents
            .get(&running.media_agent)?
            .media
            .as_ref()?
            .storage_unit
            .clone();
        if !matches!(job.task, JobTask::Backup { .. }) || self.restore_points.get(&id).is_some() {
            return None;
        }
        let point = RestorePoint {
            job: job_id,
            attempt,
            policy: job.policy.clone(),
            client: job.client.clone(),
            item_number: item,
            item: self.item(job_id, item)?.path.clone(),
            time: left.time,
            files: counters.files,
            bytes: counters.bytes,
            storage_unit: unit,
            tree: left.tree,
            committed: match self.orders_restore_points() {
                true => self.cluster().map_or(0, |cluster| cluster.entries),
                false => 0,
            },
            lost: None,
        };
        self.add_restore_point(id, point);
        Some(id)
    }

    fn note_checkpoint(&mut self, event: &JournalEvent, at: Timestamp) {
        let EventKind::CheckpointMade {
            snapshot,
            item,
            counters,
        } = &event.what
        else {
            return;
        };
        let is_kept = self.splits_jobs();
        if let Some(running) = self.running_mut(event.job) {
            running.checkpoint = Some(Checkpoint {
                snapshot: *snapshot,
                at,
                counters: is_kept.then_some(*counters),
            });
        }
        if is_kept && let Some(row) = self.items.get_mut(&(event.job, *item)) {
            row.checkpoint = Some(ItemCheckpoint {
                snapshot: *snapshot,
                by: event.attempt,
                counters: *counters,
            });
        }
        self.touch_job(event.job);
    }

    fn add_exceptions(&mut self, job: JobId, item: ItemNumber, found: &[Exception]) {
        let item = self.keeps_exceptions().then_some(item);
        self.touch_job(job);
        let Some(running) = self.running_mut(job) else {
            return;
        };
        let (attempt, kept) = (running.attempt, running.exceptions);
        let room = MAX_EXCEPTIONS.saturating_sub(kept as usize);
        let found = &found[..found.len().min(room)];
        running.exceptions += u32::try_from(found.len()).unwrap_or_default();
        for (number, exception) in (kept..).zip(found.iter().cloned()) {
            let exception = Exception { item, ..exception };
            self.exceptions.insert((job, attempt, number), exception);
        }
    }
}
