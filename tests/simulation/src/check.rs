//! What must never be: looked at after every step. The first contradiction is kept, with the rule it breaks.

use std::collections::{BTreeMap, BTreeSet};

use outlast_core::rows::{History, HistoryItem};
use outlast_core::{ClusterState, Command, Entry};
use outlast_media_core::{AttemptId, Halt};
use outlast_proto::words::{Attempt, CompletionStatus, ItemOutcome, JobId, JobNonce, SnapshotId, StatusCode};

use crate::storage::Unit;

mod drain;
mod failover;
mod media;

/// What the world has seen so far, from outside of all processes.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    /// Of the state after each entry that was applied anywhere.
    hashes: Vec<u64>,
    histories: BTreeMap<(JobId, Attempt), History>,
    points: BTreeSet<(JobId, u32)>,
    /// Jobs by the submission that was answered with them.
    answered: BTreeMap<String, Vec<JobId>>,
    /// By journal: the last event that is synced.
    synced: BTreeMap<String, u64>,
    /// By journal: the last event that a majority of primaries has.
    committed: BTreeMap<String, u64>,
    /// Ends that are durable in a journal.
    witnessed: BTreeMap<AttemptId, StatusCode>,
    /// Attempts of which a journal says durably that they were interrupted.
    interrupted: BTreeSet<AttemptId>,
    /// Attempts that a client has accepted, ever.
    accepted: BTreeSet<AttemptId>,
    /// Attempts whose journal was set back by a fault: what it had said may be lost.
    excused: BTreeSet<AttemptId>,
    /// By client and job: the highest attempt it has accepted.
    admitted: BTreeMap<(usize, JobId), Attempt>,
    /// What works on which client's host.
    working: BTreeSet<(usize, AttemptId)>,
    /// Attempts that were given up because nobody heard their media agent.
    superseded: BTreeSet<AttemptId>,
    /// Attempts that did not begin, because those before them had finished everything.
    unneeded: BTreeSet<AttemptId>,
    pub(crate) failovers: u64,
    /// Attempts that were told to make room for another.
    told_to_leave: BTreeSet<AttemptId>,
    /// Those of them that did.
    left: BTreeSet<AttemptId>,
    /// Jobs somebody wanted to cancel.
    canceled: BTreeSet<JobId>,
    /// Only primaries fail in this world.
    pub(crate) spares_agents: bool,
    /// By attempt and item: the exceptions its client has named.
    said: BTreeMap<(AttemptId, u32), BTreeSet<String>>,
    /// Exceptions of each attempt that the primaries have recorded.
    recorded: BTreeMap<AttemptId, BTreeSet<String>>,
    /// Checkpoints of which a journal says durably that they are there.
    checkpoints: BTreeSet<SnapshotId>,
    /// The first reason for which an attempt of a process was told to end.
    told: BTreeMap<AttemptId, Halt>,
    /// Attempts that have removed their checkpoints.
    given_up: BTreeSet<AttemptId>,
    /// Restore points in which damage was found.
    unsound: BTreeSet<SnapshotId>,
    /// Attempts whose they were: what was damaged is made again (S-14b).
    spoiled: BTreeSet<AttemptId>,
    /// Items of which a journal says durably how they ended.
    ended_items: BTreeSet<(AttemptId, u32)>,
    /// Attempts of which a journal says durably that they are marked, resilient or not.
    begun: BTreeSet<AttemptId>,
    /// Disks are set back in this world.
    pub(crate) sets_disks_back: bool,
    /// Attempts whose mark is durable.
    marked: BTreeSet<AttemptId>,
    pub(crate) events_applied: u64,
    pub(crate) checkpoints_seen: u64,
    pub(crate) contradiction: Option<String>,
}

impl Oracle {
    pub(crate) fn contradict(&mut self, rule: &str, text: String) {
        self.contradiction
            .get_or_insert_with(|| format!("{rule}: {text}"));
    }

    /// Some node has applied an entry.
    pub(crate) fn applied(
        &mut self,
        index: usize,
        hash: u64,
        state: &ClusterState,
        entry: &Entry,
        unit: &Unit,
    ) {
        match self.hashes.get(index - 1) {
            Some(known) if *known == hash => return,
            Some(_) => {
                return self.contradict("DESIGN 3", format!("nodes differ after entry {index}: {entry:?}"));
            }
            None => {}
        }
        // Empty entries are not told: what is missing before this one had the same hash.
        let before = self.hashes.last().copied().unwrap_or(0);
        self.hashes.resize(index - 1, before);
        self.hashes.push(hash);
        if let Command::RecordEvents {
            journal_id, events, ..
        } = &entry.command
        {
            self.events_applied += events.len() as u64;
            let last = events.last().map_or(0, |event| event.sequence);
            let committed = self.committed.entry(journal_id.0.clone()).or_default();
            *committed = (*committed).max(last);
            let synced = self.synced.get(&journal_id.0).copied().unwrap_or(0);
            if last > synced {
                self.contradict("R-05", format!("event {last} of journal {journal_id} left its agent and only {synced} are on its disk"));
            }
        }
        self.look_at_failover(state, entry);
        self.look_at_drained(state, entry);
        for violation in outlast_core::invariants::violations(state) {
            self.contradict("invariants", violation.to_string());
        }
        self.look_at_histories(state, unit);
        self.look_at_points(state, unit);
        self.look_at_checkpoints(state, unit);
        self.look_at_details(state);
        self.look_at_follow_ups(state);
    }

    /// F-09: with tries left no job is over because its client was lost.
    fn look_at_follow_ups(&mut self, state: &ClusterState) {
        let is_lost = |code| {
            matches!(
                code,
                StatusCode::CLIENT_PROCESS_ABORTED | StatusCode::CANNOT_CONNECT_TO_CLIENT
            )
        };
        for job in state.jobs_before(None) {
            if let Some((status, code)) = job.status.filter(|(_, code)| is_lost(*code)) {
                let text = format!("job {} is over ({status}, {code}), and had tries left", job.id);
                self.contradict("F-09", text);
            }
        }
    }

    fn look_at_histories(&mut self, state: &ClusterState, unit: &Unit) {
        let mut found = 0;
        for (job, attempt, history) in state.histories() {
            found += 1;
            let is_new = !self.histories.contains_key(&(job, attempt));
            let known = self
                .histories
                .entry((job, attempt))
                .or_insert_with(|| history.clone());
            if known != history {
                let text = format!("the history of attempt {attempt} of job {job} was changed");
                return self.contradict("S-12", text);
            }
            let mut paths: Vec<_> = history
                .exceptions
                .iter()
                .map(|exception| &exception.path)
                .collect();
            let all = paths.len();
            paths.sort_unstable();
            paths.dedup();
            if paths.len() != all {
                return self.contradict(
                    "R-05",
                    format!("an event of attempt {attempt} of job {job} was applied twice"),
                );
            }
            let nonce = state.job(job).map_or(JobNonce::NONE, |job| job.nonce);
            self.look_at_status(AttemptId { job, nonce, attempt }, history);
            self.look_at_items((job, attempt), history);
            if is_new {
                let id = AttemptId { job, nonce, attempt };
                self.look_at_points_of(id, history, unit);
                self.look_at_recorded_of(id, history, state);
            }
        }
        if found < self.histories.len() {
            self.contradict("S-12", "a history is gone".to_owned());
        }
    }

    fn look_at_status(&mut self, id: AttemptId, history: &History) {
        let (status, code) = (history.status, history.code);
        let is_success = |code: StatusCode| matches!(code, StatusCode::SUCCESSFUL | StatusCode::EXCEPTIONS);
        let is_called_success = matches!(
            status,
            CompletionStatus::Successful | CompletionStatus::CompletedWithExceptions
        );
        if is_called_success != is_success(code) {
            self.contradict("S-01", format!("attempt {id} is {status} with code {code}"));
        }
        let wanted = self.canceled.contains(&id.job);
        if status == CompletionStatus::Canceled && !wanted {
            self.contradict(
                "S-05",
                format!("attempt {id} is canceled, and nobody wanted that"),
            );
        }
        let has_left = self.left.contains(&id);
        if self.spares_agents && self.marked.contains(&id) && !is_success(code) && !wanted && !has_left {
            self.contradict(
                "R-04",
                format!("attempt {id} was marked, only primaries failed, and it is {status}: {code}"),
            );
        }
        let witnessed = self.witnessed.get(&id).copied();
        let is_superseded = self.superseded.contains(&id);
        if is_success(code) && witnessed.is_none_or(|said| !is_success(said)) && !self.was_found(id) {
            self.contradict(
                "S-12",
                format!("attempt {id} is {status}, and no journal says so"),
            );
        }
        // One that ran nowhere (S-12a): no journal knows it.
        if self.excused.contains(&id)
            || (history.media_agent.is_none() && status == CompletionStatus::Canceled)
        {
            return;
        }
        // Whoever cancels a job that waits after a failover does not wait for what is found.
        let was_canceled = is_superseded && wanted;
        let is_made_again = is_superseded && self.spoiled.contains(&id);
        let said_otherwise = witnessed.is_some_and(|said| is_success(said) && said != code);
        if said_otherwise && !was_canceled && !is_made_again {
            self.contradict(
                "S-12",
                format!("attempt {id} ended successfully in its journal and is {status}"),
            );
        }
        // One whose client was lost ends as the primaries decide, and one that is to be canceled with 150.
        let is_its_own = match code {
            // One that had not begun under a journal that was left behind moves on without a word.
            StatusCode::FAILED_OVER | StatusCode::RESUMED => {
                self.sets_disks_back || self.interrupted.contains(&id) || is_superseded
            }
            StatusCode::CONNECTION_BROKEN
            | StatusCode::CANCELED
            | StatusCode::CLIENT_PROCESS_ABORTED
            | StatusCode::CANNOT_CONNECT_TO_CLIENT
                if self.interrupted.contains(&id) || is_superseded =>
            {
                true
            }
            _ if self.was_found(id) => true,
            StatusCode::CANCELED if self.sets_disks_back => true,
            code => witnessed == Some(code),
        };
        if !is_its_own {
            let text = format!("attempt {id} is {status} ({code}), and its journal says {witnessed:?}");
            self.contradict("S-12", text);
        }
    }

    /// S-01, S-02: a success has all items, and says whether something was left out.
    fn look_at_items(&mut self, (job, attempt): (JobId, Attempt), history: &History) {
        let is_success = matches!(history.code, StatusCode::SUCCESSFUL | StatusCode::EXCEPTIONS);
        let is_whole = |item: &HistoryItem| {
            item.restore_point.is_some()
                && matches!(item.outcome, ItemOutcome::Done | ItemOutcome::DoneWithExceptions)
        };
        if is_success && !history.items.iter().all(is_whole) {
            let text = format!(
                "attempt {attempt} of job {job} is {}, and an item is missing",
                history.code
            );
            self.contradict("S-01", text);
        }
        let is_unfounded = |item: &&HistoryItem| item.outcome.is_finished() && item.restore_point.is_none();
        if let Some(item) = history.items.iter().find(is_unfounded) {
            let text = format!(
                "{} of attempt {attempt} of job {job} is {} without a restore point",
                item.path, item.outcome
            );
            self.contradict("S-01", text);
        }
        // Whichever attempt finished the item.
        let with_exceptions = |item: &HistoryItem| item.outcome == ItemOutcome::DoneWithExceptions;
        if history.code == StatusCode::SUCCESSFUL && history.items.iter().any(with_exceptions) {
            let text = format!("attempt {attempt} of job {job} is successful, and an item has exceptions");
            self.contradict("S-02", text);
        }
        let exceptions: u64 = history.items.iter().map(|item| item.counters.exceptions).sum();
        if history.code == StatusCode::SUCCESSFUL && exceptions > 0 {
            let text = format!("attempt {attempt} of job {job} is successful with {exceptions} exceptions");
            self.contradict("S-02", text);
        }
    }

    fn look_at_points(&mut self, state: &ClusterState, unit: &Unit) {
        let mut found = BTreeSet::new();
        for (id, point) in state.restore_points() {
            if !found.insert((point.job, point.item_number.0)) {
                let text = format!(
                    "item {} of job {} has two restore points",
                    point.item_number.0, point.job
                );
                self.contradict("F-04", text);
            }
            let nonce = state.job(point.job).map_or(JobNonce::NONE, |job| job.nonce);
            let of = AttemptId {
                job: point.job,
                nonce,
                attempt: point.attempt,
            };
            let is_new = !self.points.contains(&(point.job, point.item_number.0));
            if is_new && self.superseded.contains(&of) && !self.was_found(of) {
                let text = format!("a restore point of {of}, which has no right any more");
                self.contradict("F-04", text);
            }
            if let Some(wrong) = unit.what_is_wrong_with(id, point.job.0, point.item_number.0) {
                self.contradict(
                    "DESIGN 4",
                    format!("restore point {id} of job {} {wrong}", point.job),
                );
            }
        }
        if !found.is_superset(&self.points) {
            self.contradict("F-04", "a restore point is gone".to_owned());
        }
        self.points = found;
    }

    /// F-05: what is recorded as a checkpoint is one of the running attempt, whole, unless its job has ended where it ran.
    fn look_at_checkpoints(&mut self, state: &ClusterState, unit: &Unit) {
        for job in state.jobs_before(None) {
            let Some(running) = state.running_of(job) else {
                continue;
            };
            let Some(checkpoint) = &running.checkpoint else {
                continue;
            };
            let snapshot = &checkpoint.snapshot;
            let of = job.key().attempt(running.attempt);
            if let Some(wrong) = unit.what_is_wrong_with_checkpoint(snapshot, of) {
                self.contradict("F-05", format!("checkpoint {snapshot} of {of} {wrong}"));
            }
            self.checkpoints_seen += 1;
        }
    }

    fn look_at_details(&mut self, state: &ClusterState) {
        for job in state.jobs_before(None) {
            let mut seen = BTreeSet::new();
            for detail in state.details_of(job.id) {
                if detail.text.starts_with("token") && !seen.insert(&detail.text) {
                    return self.contradict(
                        "R-05",
                        format!("an event of job {} was applied twice: {}", job.id, detail.text),
                    );
                }
            }
        }
    }

    /// A leader acknowledges events to their agent.
    pub(crate) fn acknowledged(&mut self, journal: &str, sequence: u64) {
        let committed = self.committed.get(journal).copied().unwrap_or(0);
        if sequence > committed {
            self.contradict(
                "DESIGN 3",
                format!(
                    "event {sequence} of journal {journal} is acknowledged and only {committed} are committed"
                ),
            );
        }
    }

    /// A submission was answered.
    pub(crate) fn submitted(&mut self, request: &str, jobs: &[JobId]) {
        let known = self
            .answered
            .entry(request.to_owned())
            .or_insert_with(|| jobs.to_vec())
            .clone();
        if known != jobs {
            let text = format!("submission {request} was answered with {known:?} and with {jobs:?}");
            self.contradict("R-16", text);
        }
    }

    /// Somebody cancels a job.
    pub(crate) fn cancel(&mut self, job: JobId) {
        self.canceled.insert(job);
    }

    /// These events of a journal are on its disk.
    pub(crate) fn synced(&mut self, journal: &str, last: u64) {
        let synced = self.synced.entry(journal.to_owned()).or_default();
        *synced = (*synced).max(last);
    }

    /// A disk was set back: what it said of these attempts may be lost.
    pub(crate) fn excuse(&mut self, ids: impl IntoIterator<Item = AttemptId>) {
        self.excused.extend(ids);
    }

    /// What a disk that was set back said of this attempt may be lost.
    pub(crate) fn is_excused(&self, id: AttemptId) -> bool {
        self.excused.contains(&id)
    }

    /// The attempts that a journal has said the end of.
    pub(crate) fn witnessed(&self) -> impl Iterator<Item = (AttemptId, StatusCode)> {
        self.witnessed.iter().map(|(id, code)| (*id, *code))
    }

    /// At the end: every answered job is there, and there are no others.
    pub(crate) fn look_at_jobs(&mut self, jobs: &BTreeSet<u64>) {
        let answered: Vec<u64> = self.answered.values().flatten().map(|job| job.0).collect();
        let unique: BTreeSet<u64> = answered.iter().copied().collect();
        if unique.len() != answered.len() || unique != *jobs {
            let text = format!("submissions were answered with jobs {answered:?}, and there are {jobs:?}");
            self.contradict("R-16", text);
        }
    }
}

/// What clients do (F-04a).
impl Oracle {
    /// A client answers that it has accepted an attempt.
    pub(crate) fn admitted(&mut self, client: usize, id: AttemptId, on_disk: Attempt) {
        if on_disk < id.attempt {
            self.contradict(
                "F-04a",
                format!("client {client} answers for {id}, and its disk knows attempt {on_disk}"),
            );
        }
        self.accepted.insert(id);
        let highest = self.admitted.entry((client, id.job)).or_default();
        *highest = (*highest).max(id.attempt);
    }

    /// A media agent follows its first order of an attempt.
    pub(crate) fn ordered(&mut self, id: AttemptId) {
        if !self.accepted.contains(&id) {
            self.contradict("F-04a", format!("{id} is ordered, and no client has accepted it"));
        }
    }

    /// An attempt works on a client's host.
    pub(crate) fn works(&mut self, client: usize, id: AttemptId) {
        let highest = self.admitted.get(&(client, id.job)).copied().unwrap_or_default();
        if highest > id.attempt {
            self.contradict(
                "F-04a",
                format!("client {client} runs {id} and has accepted attempt {highest}"),
            );
        }
        let others = self
            .working
            .iter()
            .find(|(at, other)| *at == client && other.job == id.job && *other != id);
        if let Some((_, other)) = others {
            self.contradict(
                "F-04a",
                format!("{id} and {other} work on client {client} at once"),
            );
        }
        self.working.insert((client, id));
    }

    pub(crate) fn works_no_more(&mut self, client: usize, id: AttemptId) {
        self.working.remove(&(client, id));
    }

    pub(crate) fn nothing_works_on(&mut self, client: usize) {
        self.working.retain(|(at, _)| *at != client);
    }

    /// A job is over, says the leader, and its ticket goes.
    pub(crate) fn forgotten(&mut self, client: usize, job: JobId) {
        self.admitted.remove(&(client, job));
    }
}
