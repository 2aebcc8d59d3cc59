//! The attempts this process has run or is running, one for each job: started once, stopped, fenced, reported on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use outlast_kit::clock::SharedClock;
use outlast_kit::tasks::Tasks;
use outlast_kit::tls::Credentials;
use outlast_proto::v1::streams_seen::Stream;
use outlast_proto::v1::{AttemptProgress, AttemptRef};
use outlast_proto::words::{AgentName, Attempt, JobId, StartId};
use parking_lot::Mutex;

use crate::admission::Admission;
use crate::attempt::{AttemptError, Ends, MadeFolders, Outcome, Surroundings, run};
use crate::connect::{Addresses, Road};
use crate::progress::Progress;

/// If the leader does not say (F-10).
const RECONNECT_FOR: Duration = Duration::from_secs(300);

/// All attempts of this process.
#[derive(Clone)]
pub(crate) struct Attempts {
    known: Arc<Mutex<HashMap<JobId, Known>>>,
    credentials: Arc<Credentials>,
    start_id: StartId,
    reconnect_for: Arc<Mutex<Duration>>,
    clock: SharedClock,
    tasks: Tasks,
    made: MadeFolders,
}

/// The highest attempt of a job that this process has run.
struct Known {
    attempt: Attempt,
    media_agent: AgentName,
    addresses: Arc<Mutex<Vec<String>>>,
    progress: Arc<Progress>,
    ends: Ends,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// The media agent has spoken the last word, or we were told to stop.
    Ended,
    /// Nobody told us how it ended: the leader wants to know (C-08).
    Broken,
    /// The media agent never took it up. When it is back the leader asks again.
    Unwelcomed,
}

impl Known {
    fn gives_way_to(&self, attempt: Attempt) -> bool {
        self.attempt < attempt || self.attempt == attempt && self.state == State::Unwelcomed
    }
}

impl Attempts {
    pub(crate) fn new(
        credentials: Arc<Credentials>,
        start_id: StartId,
        clock: SharedClock,
        tasks: Tasks,
        made: MadeFolders,
    ) -> Self {
        Self {
            known: Arc::default(),
            credentials,
            start_id,
            reconnect_for: Arc::new(Mutex::new(RECONNECT_FOR)),
            clock,
            tasks,
            made,
        }
    }

    /// How long streams of attempts that start from now on may be broken.
    pub(crate) fn set_reconnect_for(&self, reconnect_for: Duration) {
        *self.reconnect_for.lock() = reconnect_for;
    }

    /// Starts an attempt, unless this process has run it before; then it learns where its media agent is now. An earlier attempt
    /// of the job ends.
    pub(crate) fn start(&self, admission: Admission, addresses: Vec<String>) {
        let (job, attempt) = (admission.job, admission.attempt);
        let progress = Arc::new(Progress::new(Arc::clone(&self.clock)));
        let ends = Ends::default();
        let addresses = Arc::new(Mutex::new(addresses));
        let now = Known {
            attempt,
            media_agent: admission.media_agent.clone(),
            addresses: Arc::clone(&addresses),
            progress: Arc::clone(&progress),
            ends: ends.clone(),
            state: State::Running,
        };
        {
            let mut known = self.known.lock();
            if let Some(before) = known.get(&job) {
                if !before.gives_way_to(attempt) {
                    if before.attempt == attempt {
                        before.addresses.lock().clone_from(&addresses.lock());
                    }
                    return;
                }
                before.ends.now.begin();
            }
            known.insert(job, now);
        }
        let around = Surroundings {
            start_id: self.start_id.clone(),
            progress,
            ends,
            made: self.made.clone(),
            reconnect_for: *self.reconnect_for.lock(),
        };
        let road = Road::Addresses(Addresses {
            credentials: Arc::clone(&self.credentials),
            media_agent: admission.media_agent.clone(),
            addresses,
        });
        let this = self.clone();
        self.tasks
            .spawn(format!("attempt {attempt} of job {job}"), async move {
                let state = conduct(road, &admission, around).await;
                if let Some(known) = this
                    .known
                    .lock()
                    .get_mut(&job)
                    .filter(|known| known.attempt == attempt)
                {
                    known.state = state;
                }
            });
    }

    /// Stops the work of an attempt; the media agent says how it ends.
    pub(crate) fn stop(&self, job: JobId, attempt: Attempt) {
        if let Some(known) = self
            .known
            .lock()
            .get(&job)
            .filter(|known| known.attempt == attempt)
        {
            known.ends.work.begin();
        }
    }

    /// Ends this attempt and lower ones at once.
    pub(crate) fn fence(&self, job: JobId, attempt: Attempt) {
        if let Some(known) = self
            .known
            .lock()
            .get_mut(&job)
            .filter(|known| known.attempt <= attempt)
        {
            known.ends.now.begin();
            if known.state != State::Running {
                known.state = State::Ended;
            }
        }
    }

    /// Ends everything at once: the process is going down.
    pub(crate) fn end_all(&self) {
        for known in self.known.lock().values() {
            known.ends.now.begin();
        }
    }

    /// Forgets ended attempts of jobs that are not in `open`.
    pub(crate) fn retain(&self, open: &BTreeMap<JobId, Attempt>) {
        self.known
            .lock()
            .retain(|job, known| known.state == State::Running || open.contains_key(job));
    }

    /// The jobs of running attempts.
    pub(crate) fn running_jobs(&self) -> BTreeSet<JobId> {
        self.of_running(|job, _| job).into_iter().collect()
    }

    /// The running attempts, as the leader is told.
    pub(crate) fn running(&self) -> Vec<AttemptRef> {
        self.of_running(|job, known| reference(job, known.attempt))
    }

    /// How far the running attempts are (L-02).
    pub(crate) fn progress(&self) -> Vec<AttemptProgress> {
        self.of_running(|job, known| AttemptProgress {
            attempt: Some(reference(job, known.attempt)),
            counters: Some(known.progress.counters()),
            rate: known.progress.rate(),
            path: known.progress.path(),
            ..AttemptProgress::default()
        })
    }

    /// What the streams to media agents look like from here (C-08).
    pub(crate) fn streams(&self) -> Vec<Stream> {
        let known = self.known.lock();
        let seen = known.iter().filter(|(_, known)| known.state != State::Ended);
        seen.map(|(job, known)| Stream {
            attempt: Some(reference(*job, known.attempt)),
            media_agent: known.media_agent.to_string(),
            last_acknowledged_ms_ago: u64::try_from(known.progress.silence().as_millis()).unwrap_or(u64::MAX),
            broken: known.state != State::Running || known.progress.is_broken(),
        })
        .collect()
    }

    fn of_running<T>(&self, of: impl Fn(JobId, &Known) -> T) -> Vec<T> {
        let known = self.known.lock();
        let running = known.iter().filter(|(_, known)| known.state == State::Running);
        running.map(|(job, known)| of(*job, known)).collect()
    }
}

/// Runs the attempt to its end on this host.
async fn conduct(road: Road, admission: &Admission, around: Surroundings) -> State {
    let (job, attempt) = (admission.job, admission.attempt);
    tracing::info!(%job, %attempt, agent = %admission.media_agent, "attempt begins");
    match run(road, admission, around).await {
        Ok(Outcome::Over { code, text }) => {
            tracing::info!(%job, %attempt, code, text, "attempt is over");
            State::Ended
        }
        Ok(Outcome::Stopped) => {
            tracing::info!(%job, %attempt, "attempt was stopped");
            State::Ended
        }
        Err(error @ (AttemptError::Threads(_) | AttemptError::ThreadFailed)) => {
            tracing::error!(%job, %attempt, %error, "attempt failed");
            State::Broken
        }
        Err(error @ AttemptError::Unwelcomed(_)) => {
            tracing::warn!(%job, %attempt, %error, "attempt was not taken up");
            State::Unwelcomed
        }
        Err(error) => {
            tracing::warn!(%job, %attempt, %error, "attempt ended without a result");
            State::Broken
        }
    }
}

/// As messages spell it.
pub(crate) fn reference(job: JobId, attempt: Attempt) -> AttemptRef {
    AttemptRef {
        job: job.to_string(),
        attempt: attempt.0,
    }
}
