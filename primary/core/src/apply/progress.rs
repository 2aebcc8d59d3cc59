//! What an attempt's events do to its job. Events of an attempt that is not the running one change nothing (F-04, C-07).

use outlast_proto::words::{
    AgentName, Attempt, CompletionStatus, Counters, Exception, ItemNumber, ItemOutcome, JobEvent, JobId,
    JobKind, JobState, MAX_EXCEPTIONS, Severity, SnapshotId, StatusCode, Stopped, Timestamp, TreeId,
};

use crate::event::{EventKind, JobError, JournalEvent};
use crate::rows::{History, HistoryItem, ItemRow, Job, JobTask, RestorePoint};
use crate::state::ClusterState;

/// After so many interrupted attempts a job is given up: something about it takes its media agents down (E-05).
const MAX_INTERRUPTIONS: usize = 5;

/// How an attempt ended.
struct End {
    status: CompletionStatus,
    code: StatusCode,
    error: Option<JobError>,
    counters: Counters,
    stopped: Option<Stopped>,
}

/// The snapshot that an item left.
struct Left {
    id: SnapshotId,
    time: Timestamp,
    tree: Option<TreeId>,
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
            job.running_attempt(event.attempt)
                .is_some_and(|r| r.media_agent == *agent)
        };
        if !self.jobs.get(&job).is_some_and(ours) {
            if let EventKind::Ended { code, .. } = &event.what {
                let text = format!(
                    "attempt {} reported its end ({code}) after it was closed",
                    event.attempt
                );
                self.say(job, at, Severity::Warning, host, text);
            }
            return;
        }
        let said = |counters: Counters| self.known_numbers(counters);
        match &event.what {
            EventKind::Marked { resilient, .. } => self.mark(job, *resilient, host, at),
            EventKind::MarkLost { from, to } => self.lose_mark(job, [from.as_str(), to.as_str()], host, at),
            EventKind::ItemStarted { item } => self.start_item(job, *item, host, at),
            EventKind::ItemEnded { .. } => self.end_item(event, host, at),
            EventKind::CheckpointMade { snapshot, .. } => self.note_checkpoint(job, *snapshot, at),
            EventKind::ExceptionsFound { item, exceptions } => self.add_exceptions(job, *item, exceptions),
            EventKind::DetailSaid { severity, text } => self.say(job, at, *severity, host, text.clone()),
            EventKind::Interrupted { counters, reason } => {
                let counters = said(*counters);
                self.say(job, at, Severity::Warning, host, format!("interrupted: {reason}"));
                self.interrupt_attempt(job, Some(counters), reason.clone(), at);
            }
            EventKind::Ended {
                code,
                text,
                counters,
                stopped,
            } => {
                let end = end_of(self.over_all_items(job, *code), text, said(*counters), *stopped);
                self.say_end(event, &end, host, at);
                self.close_attempt(job, end, at);
            }
        }
    }

    fn mark(&mut self, job: JobId, resilient: bool, host: &str, at: Timestamp) {
        if resilient {
            self.say(job, at, Severity::Info, host, "job is resilient".into());
        }
        self.change_job(job, |job| {
            job.resilient = Some(resilient);
            if let Some(running) = &mut job.running {
                running.marked = true;
                // The ticket was shown: the client has it, whether or not its answer arrived.
                running.client_admitted = true;
            }
        });
    }

    /// The attempt goes on, as one that was never resilient.
    fn lose_mark(&mut self, job: JobId, [from, to]: [&str; 2], host: &str, at: Timestamp) {
        if self.jobs.get(&job).is_none_or(|job| job.resilient != Some(true)) {
            return;
        }
        let text = format!("job is not resilient: the primary's version changed from {from} to {to}");
        self.say(job, at, Severity::Warning, host, text);
        self.change_job(job, |job| {
            job.resilient = Some(false);
            if let Some(running) = &mut job.running {
                running.resilient = false;
            }
        });
    }

    fn start_item(&mut self, job: JobId, item: ItemNumber, host: &str, at: Timestamp) {
        let path = self.change_job(job, |job| {
            let row = job.items.get_mut(item.0 as usize)?;
            row.outcome = ItemOutcome::InProgress;
            if let Some(running) = job
                .running
                .as_mut()
                .and_then(|r| r.items.get_mut(item.0 as usize))
            {
                running.started_at = Some(at);
            }
            Some(row.path.clone())
        });
        if let Some(path) = path.flatten() {
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
        let Some(job) = self.jobs.get(&event.job) else {
            return;
        };
        let Some(row) = job.items.get(item.0 as usize) else {
            return;
        };
        let path = row.path.clone();
        let of_item = self.known_numbers(*counters);
        let left = snapshot.as_ref().map(|(id, time)| Left {
            id: *id,
            time: self.time_of_snapshot(event, *time, at),
            tree: tree.filter(|_| self.names_trees()),
        });
        let committed = left.and_then(|left| self.commit_restore_point(event, *item, left, counters));
        self.change_job(event.job, |job| {
            if let Some(row) = job.items.get_mut(item.0 as usize) {
                row.outcome = *outcome;
                row.restore_point = committed.or(row.restore_point);
            }
            if let Some(running) = job
                .running
                .as_mut()
                .and_then(|r| r.items.get_mut(item.0 as usize))
            {
                running.ended_at = Some(at);
                running.counters = of_item;
                running.error = error.clone();
            }
        });
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
        let running = job.running.as_ref().filter(|_| !is_found);
        let begun = running.map_or(job.created_at, |running| running.started_at);
        said.max(begun).min(at)
    }

    /// Makes a snapshot official. A second one for the same item of a job is refused: the first stays.
    fn commit_restore_point(
        &mut self,
        event: &JournalEvent,
        item: ItemNumber,
        left: Left,
        counters: &Counters,
    ) -> Option<SnapshotId> {
        let id = left.id;
        if let Some(first) = self.indexes.by_job_item.get(&(event.job, item)) {
            return Some(*first);
        }
        let job = self.jobs.get(&event.job)?;
        let running = job.running_attempt(event.attempt)?;
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
            job: event.job,
            attempt: event.attempt,
            policy: job.policy.clone(),
            client: job.client.clone(),
            item_number: item,
            item: job.items.get(item.0 as usize)?.path.clone(),
            time: left.time,
            files: counters.files,
            bytes: counters.bytes,
            storage_unit: unit,
            tree: left.tree,
            committed: match self.orders_restore_points() {
                true => self.cluster().map_or(0, |cluster| cluster.entries),
                false => 0,
            },
        };
        self.add_restore_point(id, point);
        Some(id)
    }

    fn note_checkpoint(&mut self, job: JobId, snapshot: SnapshotId, at: Timestamp) {
        self.change_job(job, |job| {
            if let Some(running) = &mut job.running {
                running.checkpoint = Some((snapshot, at));
            }
        });
    }

    /// The attempt that ends a job earns its status over all items, whichever attempt finished them (S-02). A restore leaves alone what an
    /// earlier attempt of it has made: what that one met it does not meet again.
    fn over_all_items(&self, job: JobId, code: StatusCode) -> StatusCode {
        let has_exceptions = |row: &ItemRow| row.outcome == ItemOutcome::DoneWithExceptions;
        let any = self.jobs.get(&job).is_some_and(|row| {
            let goes_on = row.kind() == JobKind::Restore && self.keeps_exceptions_of_restores();
            let mut histories = self.histories_of(job);
            row.items.iter().any(has_exceptions)
                || goes_on && histories.any(|(_, history)| !history.exceptions.is_empty())
        });
        if code == StatusCode::SUCCESSFUL && any && self.keeps_exceptions() {
            return StatusCode::EXCEPTIONS;
        }
        code
    }

    fn add_exceptions(&mut self, job: JobId, item: ItemNumber, exceptions: &[Exception]) {
        let item = self.keeps_exceptions().then_some(item);
        self.change_job(job, |job| {
            if let Some(running) = &mut job.running {
                let room = MAX_EXCEPTIONS.saturating_sub(running.exceptions.len());
                let found = exceptions.iter().take(room).cloned();
                let found = found.map(|exception| Exception { item, ..exception });
                running.exceptions.extend(found);
            }
        });
    }

    fn say_end(&mut self, event: &JournalEvent, end: &End, host: &str, at: Timestamp) {
        let (severity, text) = match &end.error {
            Some(error) => (
                Severity::Error,
                format!(
                    "attempt {} ended: {} ({}), {}",
                    event.attempt, end.status, error.code, error.text
                ),
            ),
            None => (
                Severity::Info,
                format!("attempt {} ended: {}", event.attempt, end.status),
            ),
        };
        self.say(event.job, at, severity, host, text);
    }

    /// Ends the running attempt as one that goes on in another (S-03), or for good if that happened too often.
    pub(super) fn interrupt_attempt(
        &mut self,
        job: JobId,
        counters: Option<Counters>,
        reason: String,
        at: Timestamp,
    ) {
        if self
            .jobs
            .get(&job)
            .is_some_and(|job| job.state == JobState::Stopping)
        {
            let text = "the attempt ended: canceled; the job does not go on in another".to_owned();
            self.say(job, at, Severity::Info, "primary", text);
            let end = end_of(StatusCode::CANCELED, "", counters.unwrap_or_default(), None);
            return self.close_attempt(job, end, at);
        }
        let before = self
            .histories_of(job)
            .filter(|(_, history)| history.status.goes_on())
            .count();
        let end = if before + 1 < MAX_INTERRUPTIONS {
            End {
                status: CompletionStatus::FailedOver,
                code: StatusCode::FAILED_OVER,
                error: Some(JobError {
                    code: StatusCode::FAILED_OVER,
                    text: reason,
                }),
                counters: counters.unwrap_or_default(),
                stopped: None,
            }
        } else {
            let text = format!("given up after {MAX_INTERRUPTIONS} interrupted attempts; the last: {reason}");
            self.say(job, at, Severity::Error, "primary", text.clone());
            end_of(
                StatusCode::CONNECTION_BROKEN,
                &text,
                counters.unwrap_or_default(),
                None,
            )
        };
        self.close_attempt(job, end, at);
    }

    /// Writes the one history of the running attempt (S-12) and moves the job on.
    fn close_attempt(&mut self, id: JobId, end: End, at: Timestamp) {
        let event = if end.status.goes_on() {
            JobEvent::AttemptMovedOn
        } else {
            JobEvent::AttemptEnded
        };
        let closed = self.change_job(id, |job| {
            let next = job.state.next(event).ok()?;
            let running = job.running.take()?;
            // What the item in progress was in this attempt, and what it is for the job from now on.
            let cut_short = if end.status == CompletionStatus::Failed && end.stopped.is_none() {
                ItemOutcome::Failed
            } else {
                ItemOutcome::Stopped
            };
            let unfinished = match next {
                JobState::Done => cut_short,
                _ => ItemOutcome::NotStarted,
            };
            job.state = next;
            if next == JobState::Done {
                job.status = Some((end.status, end.code));
                job.ended_at = Some(at);
            }
            let items = job.items.iter().zip(running.items).map(|(row, run)| HistoryItem {
                path: row.path.clone(),
                outcome: match row.outcome {
                    ItemOutcome::InProgress => cut_short,
                    outcome => outcome,
                },
                restore_point: row.restore_point,
                started_at: run.started_at,
                ended_at: run.ended_at,
                counters: run.counters,
                error: run.error,
            });
            let history = History {
                media_agent: Some(running.media_agent),
                client: job.client.clone(),
                status: end.status,
                code: end.code,
                stopped: end.stopped,
                error: end.error,
                started_at: Some(running.started_at),
                ended_at: at,
                counters: end.counters,
                items: items.collect(),
                exceptions: running.exceptions,
            };
            let in_progress = |row: &&mut ItemRow| row.outcome == ItemOutcome::InProgress;
            for row in job.items.iter_mut().filter(in_progress) {
                row.outcome = unfinished;
            }
            Some((running.attempt, history))
        });
        if let Some((attempt, history)) = closed.flatten() {
            self.add_history(id, attempt, history);
        }
    }

    fn add_history(&mut self, job: JobId, attempt: Attempt, history: History) {
        self.histories.insert((job, attempt), history);
    }
}

/// The status a code stands for (S-01, S-02, S-05, S-06, S-07).
fn end_of(code: StatusCode, text: &str, counters: Counters, stopped: Option<Stopped>) -> End {
    let status = match code {
        StatusCode::SUCCESSFUL => CompletionStatus::Successful,
        StatusCode::EXCEPTIONS => CompletionStatus::CompletedWithExceptions,
        StatusCode::CANCELED => CompletionStatus::Canceled,
        StatusCode::CANCELED_TIMED_OUT => CompletionStatus::CanceledTimedOut,
        _ => CompletionStatus::Failed,
    };
    let error = (status == CompletionStatus::Failed).then(|| JobError {
        code,
        text: if text.is_empty() {
            code.text().to_owned()
        } else {
            text.to_owned()
        },
    });
    End {
        status,
        code,
        error,
        counters,
        stopped,
    }
}
