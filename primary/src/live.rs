//! What only the leader's memory holds: progress of running attempts. Lost with it, and told again within seconds (DESIGN 2).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use outlast_core::contact::Unknown;
use outlast_proto::v1::{AttemptProgress, JobError};
use outlast_proto::words::{Attempt, Counters, JobId, Timestamp};
use tokio::sync::watch;

/// Progress of attempts, as their media agents last reported it, and what clients refused.
#[derive(Clone)]
pub(crate) struct Live {
    progress: Arc<Mutex<BTreeMap<JobId, (Attempt, AttemptProgress)>>>,
    refusals: Arc<Mutex<BTreeMap<JobId, (Attempt, JobError)>>>,
    unknown: Arc<Mutex<(Timestamp, BTreeMap<JobId, Unknown>)>>,
    changed: watch::Sender<u64>,
}

impl Live {
    pub(crate) fn new() -> Self {
        Self {
            progress: Arc::default(),
            refusals: Arc::default(),
            unknown: Arc::default(),
            changed: watch::Sender::new(0),
        }
    }

    /// Takes up a report; one of an older attempt is ignored.
    pub(crate) fn report(&self, job: JobId, attempt: Attempt, progress: AttemptProgress) {
        let mut all = lock(&self.progress);
        if all.get(&job).is_none_or(|(known, _)| *known <= attempt) {
            all.insert(job, (attempt, progress));
        }
        drop(all);
        self.changed.send_modify(|n| *n += 1);
    }

    /// The last report of this attempt.
    pub(crate) fn of(&self, job: JobId, attempt: Attempt) -> Option<AttemptProgress> {
        lock(&self.progress)
            .get(&job)
            .filter(|(known, _)| *known == attempt)
            .map(|(_, progress)| progress.clone())
    }

    /// The numbers of all attempts, as they were last reported.
    pub(crate) fn numbers(&self) -> BTreeMap<(JobId, Attempt), Counters> {
        let all = lock(&self.progress);
        let known = all.iter().filter_map(|(job, (attempt, report))| {
            let counters = Counters::from(report.counters.as_ref()?);
            Some(((*job, *attempt), counters))
        });
        known.collect()
    }

    /// What nobody knows of running attempts at `now` (C-08).
    pub(crate) fn set_unknown(&self, now: Timestamp, unknown: &BTreeMap<JobId, Unknown>) {
        let mut known = lock(&self.unknown);
        let is_same = known.1 == *unknown;
        *known = (now, unknown.clone());
        drop(known);
        if !is_same {
            self.changed.send_modify(|n| *n += 1);
        }
    }

    /// What nobody knows of the job's running attempt, and when that was found.
    pub(crate) fn unknown(&self, job: JobId) -> Option<(Timestamp, Unknown)> {
        let known = lock(&self.unknown);
        known.1.get(&job).map(|unknown| (known.0, unknown.clone()))
    }

    /// The client refuses this attempt.
    pub(crate) fn refuse(&self, job: JobId, attempt: Attempt, refusal: JobError) {
        lock(&self.refusals).insert(job, (attempt, refusal));
    }

    /// What the client refused this attempt with.
    pub(crate) fn refusal(&self, job: JobId, attempt: Attempt) -> Option<JobError> {
        lock(&self.refusals)
            .get(&job)
            .filter(|(refused, _)| *refused == attempt)
            .map(|(_, refusal)| refusal.clone())
    }

    /// Forgets jobs for which `running` is false.
    pub(crate) fn retain(&self, running: impl Fn(JobId) -> bool) {
        lock(&self.progress).retain(|job, _| running(*job));
        lock(&self.refusals).retain(|job, _| running(*job));
    }

    /// Forgets everything: this node no longer leads.
    pub(crate) fn clear(&self) {
        lock(&self.progress).clear();
        lock(&self.refusals).clear();
        lock(&self.unknown).1.clear();
    }

    /// Wakes with every report.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
