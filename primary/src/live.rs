//! What only the leader's memory holds: progress of running attempts. Lost with it, and told again within seconds (DESIGN 2).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use outlast_proto::v1::AttemptProgress;
use outlast_proto::words::{Attempt, JobId};
use tokio::sync::watch;

/// Progress of attempts, as their media agents last reported it.
#[derive(Clone)]
pub(crate) struct Live {
    progress: Arc<Mutex<BTreeMap<JobId, (Attempt, AttemptProgress)>>>,
    changed: watch::Sender<u64>,
}

impl Live {
    pub(crate) fn new() -> Self {
        Self {
            progress: Arc::default(),
            changed: watch::Sender::new(0),
        }
    }

    /// Takes up a report; one of an older attempt is ignored.
    pub(crate) fn report(&self, job: JobId, attempt: Attempt, progress: AttemptProgress) {
        let mut all = self.lock();
        if all.get(&job).is_none_or(|(known, _)| *known <= attempt) {
            all.insert(job, (attempt, progress));
        }
        drop(all);
        self.changed.send_modify(|n| *n += 1);
    }

    /// The last report of this attempt.
    pub(crate) fn of(&self, job: JobId, attempt: Attempt) -> Option<AttemptProgress> {
        self.lock()
            .get(&job)
            .filter(|(known, _)| *known == attempt)
            .map(|(_, progress)| progress.clone())
    }

    /// Forgets jobs for which `running` is false.
    pub(crate) fn retain(&self, running: impl Fn(JobId) -> bool) {
        self.lock().retain(|job, _| running(*job));
    }

    /// Forgets everything: this node no longer leads.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// Wakes with every report.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<JobId, (Attempt, AttemptProgress)>> {
        self.progress
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
