//! The attempts this process has run or is running, one for each job: started once, stopped, fenced, reported on.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use outlast_client_core::{Client, GaveUp, Start, State};
use outlast_kit::clock::SharedClock;
use outlast_kit::memory::give_back;
use outlast_kit::shutdown::Shutdown;
use outlast_kit::tasks::Tasks;
use outlast_kit::tls::Credentials;
use outlast_proto::v1::streams_seen::{Ended, Stream};
use outlast_proto::v1::{AttemptProgress, AttemptRef, StreamsSeen};
use outlast_proto::words::{AgentName, Attempt, AttemptId, JobKey, StartId};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::admission::Admission;
use crate::attempt::{AttemptContext, AttemptError, Ends, MadeFolders, Outcome, TARGET_PATIENCE, run};
use crate::connect::{Addresses, Road};
use crate::progress::Progress;
use crate::tickets::TicketStore;

/// If the leader does not say (F-10).
const RECONNECT_FOR: Duration = Duration::from_secs(300);

/// All attempts of this process.
#[derive(Clone)]
pub(crate) struct Attempts {
    inner: Arc<Mutex<Inner>>,
    credentials: Arc<Credentials>,
    start_id: StartId,
    reconnect_for: Arc<watch::Sender<Duration>>,
    clock: SharedClock,
    tasks: Tasks,
    made: MadeFolders,
    tickets: Arc<Mutex<TicketStore>>,
    /// A stream came or went, or an attempt ended.
    changed: Arc<Notify>,
}

/// Which attempts there are, the core says; here are the tasks and what they share.
struct Inner {
    client: Arc<Mutex<Client>>,
    known: HashMap<JobKey, Known>,
}

/// The highest attempt of a job that this process has run.
struct Known {
    attempt: Attempt,
    media_agent: AgentName,
    addresses: Arc<Mutex<Vec<String>>>,
    progress: Arc<Progress>,
    ends: Ends,
    /// Begun when nothing of it runs on this host any more.
    gone: Shutdown,
}

impl Attempts {
    pub(crate) fn new(
        credentials: Arc<Credentials>,
        start_id: StartId,
        clock: SharedClock,
        tasks: Tasks,
        (made, tickets): (MadeFolders, Arc<Mutex<TicketStore>>),
    ) -> Self {
        let inner = Inner {
            client: tickets.lock().client(),
            known: HashMap::new(),
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            credentials,
            start_id,
            reconnect_for: Arc::new(watch::Sender::new(RECONNECT_FOR)),
            clock,
            tasks,
            made,
            tickets,
            changed: Arc::default(),
        }
    }

    /// How long streams may be broken from now on, those that are now, too.
    pub(crate) fn set_reconnect_for(&self, reconnect_for: Duration) {
        self.reconnect_for.send_replace(reconnect_for);
    }

    /// Starts an attempt, unless this process has run it before; then it learns where its media agent is now. An earlier attempt
    /// of the job ends.
    pub(crate) fn start(&self, admission: Admission, addresses: Vec<String>) {
        let id = admission.id;
        let job = id.key();
        let progress = Progress::telling(Arc::clone(&self.clock), Arc::clone(&self.changed));
        let progress = Arc::new(progress);
        let ends = Ends::default();
        let addresses = Arc::new(Mutex::new(addresses));
        let gone = Shutdown::new();
        let now = Known {
            attempt: id.attempt,
            media_agent: admission.media_agent.clone(),
            addresses: Arc::clone(&addresses),
            progress: Arc::clone(&progress),
            ends: ends.clone(),
            gone: gone.clone(),
        };
        let before = {
            let mut inner = self.inner.lock();
            let begins = inner.client.lock().begin(id);
            match begins {
                Start::Outdated => return,
                Start::Known => {
                    if let Some(known) = inner.known.get(&job) {
                        known.addresses.lock().clone_from(&addresses.lock());
                    }
                    return;
                }
                Start::Begin { .. } => inner.known.insert(job, now),
            }
        };
        if let Some(before) = &before {
            before.ends.now.begin();
        }
        let context = AttemptContext {
            start_id: self.start_id.clone(),
            progress,
            ends,
            made: self.made.clone(),
            reconnect_for: self.reconnect_for.subscribe(),
            target_patience: TARGET_PATIENCE,
        };
        let road = Road::Addresses(Addresses {
            credentials: Arc::clone(&self.credentials),
            media_agent: admission.media_agent.clone(),
            addresses,
        });
        let (this, panicked) = (self.clone(), self.clone());
        self.tasks.serving(
            format!("attempt {} of job {}", id.attempt, id.job),
            async move {
                let _gone = Gone(gone);
                // Two attempts of a job never work on this host at once (F-04a).
                if let Some(before) = before {
                    before.gone.begun().await;
                }
                let state = conduct(road, &admission, context).await;
                this.over(id, state).await;
                // What this one took shall not come on top of what the next one takes.
                tokio::task::spawn_blocking(give_back);
            },
            // Its stream is gone with it: the media agent says how it ends, and the leader learns who has lost whom.
            move |_| async move { panicked.over(id, State::Broken).await },
        );
    }

    /// Nothing of it runs any more. The last word is kept before anybody is told of it.
    async fn over(&self, id: AttemptId, state: State) {
        if let State::Ended(Some(code)) = state {
            let tickets = Arc::clone(&self.tickets);
            let kept = tokio::task::spawn_blocking(move || tickets.lock().end(id, code)).await;
            if let Ok(Err(error)) = kept {
                tracing::warn!(attempt = %id, %error, "how an attempt ended is not kept over a restart");
            }
        }
        self.inner.lock().client.lock().gone(id, state);
        self.changed.notify_one();
    }

    /// Stops the work of an attempt; the media agent says how it ends.
    pub(crate) fn stop(&self, id: AttemptId) {
        let inner = self.inner.lock();
        let known = inner.known.get(&id.key());
        if let Some(known) = known.filter(|known| known.attempt == id.attempt) {
            known.ends.work.begin();
        }
    }

    /// Ends this attempt and lower ones at once.
    pub(crate) fn fence(&self, id: AttemptId) {
        let inner = self.inner.lock();
        if inner.client.lock().end_fenced(id)
            && let Some(known) = inner.known.get(&id.key())
        {
            known.ends.now.begin();
        }
    }

    /// Ends everything at once: the process is going down.
    pub(crate) fn end_all(&self) {
        for known in self.inner.lock().known.values() {
            known.ends.shutdown.begin();
            known.ends.now.begin();
        }
    }

    /// Forgets what is not known any more of attempts that are over.
    pub(crate) fn forget(&self) {
        let Inner { client, known } = &mut *self.inner.lock();
        let client = client.lock();
        known.retain(|job, _| client.get(*job).is_some());
    }

    /// The running attempts, as the leader is told.
    pub(crate) fn running(&self) -> Vec<AttemptRef> {
        self.of_running(|job, known| job.attempt(known.attempt).to_ref())
    }

    /// How far the running attempts are (L-02).
    pub(crate) fn progress(&self) -> Vec<AttemptProgress> {
        self.of_running(|job, known| AttemptProgress {
            attempt: Some(job.attempt(known.attempt).to_ref()),
            counters: Some(known.progress.counters()),
            rate: known.progress.rate(),
            path: known.progress.path(),
            ..AttemptProgress::default()
        })
    }

    /// What the streams to media agents look like from here, and what has ended (C-08).
    pub(crate) fn streams(&self) -> StreamsSeen {
        let inner = self.inner.lock();
        let client = inner.client.lock();
        let state = |job| client.get(job).map(|(_, state)| state);
        let seen = inner.known.iter().map(|(job, known)| (job, known, state(*job)));
        let seen = seen.filter(|(.., state)| !matches!(state, None | Some(State::Ended(_))));
        let streams = seen.map(|(job, known, state)| {
            let stream = known.progress.stream();
            Stream {
                attempt: Some(job.attempt(known.attempt).to_ref()),
                media_agent: known.media_agent.to_string(),
                last_acknowledged_ms_ago: millis(stream.silence),
                broken: state != Some(State::Running) || !stream.is_open,
                since_ms: millis(stream.since),
                unwelcomed: !stream.was_welcomed,
            }
        });
        let ended = client.ended().map(|(id, code)| Ended {
            attempt: Some(id.to_ref()),
            code,
        });
        StreamsSeen {
            streams: streams.collect(),
            ended: ended.collect(),
        }
    }

    /// Whether a media agent may be gone.
    pub(crate) fn is_a_stream_broken(&self) -> bool {
        self.of_running(|_, known| !known.progress.stream().is_open)
            .contains(&true)
    }

    /// Returns when the leader is to hear of the streams without waiting for the next presence.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The leader knows that these are over.
    pub(crate) fn closed(&self, ids: &BTreeSet<AttemptId>) {
        self.inner.lock().client.lock().closed(ids);
    }

    fn of_running<T>(&self, of: impl Fn(JobKey, &Known) -> T) -> Vec<T> {
        let inner = self.inner.lock();
        let client = inner.client.lock();
        client
            .running()
            .filter_map(|id| Some(of(id.key(), inner.known.get(&id.key())?)))
            .collect()
    }
}

fn millis(age: Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}

/// Begins when the attempt's task has ended, also when it panicked.
struct Gone(Shutdown);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.begin();
    }
}

/// Runs the attempt to its end on this host.
async fn conduct(road: Road, admission: &Admission, context: AttemptContext) -> State {
    let AttemptId { job, attempt, .. } = admission.id;
    tracing::info!(%job, %attempt, agent = %admission.media_agent, "attempt begins");
    match run(road, admission, context).await {
        Ok(Outcome::Over { code, text }) => {
            tracing::info!(%job, %attempt, code, text, "attempt is over");
            State::Ended(Some(code))
        }
        Ok(Outcome::Stopped) => {
            tracing::info!(%job, %attempt, "attempt was stopped");
            State::Ended(None)
        }
        Err(error @ (AttemptError::Threads(_) | AttemptError::ThreadFailed)) => {
            tracing::error!(%job, %attempt, %error, "attempt failed");
            State::Broken
        }
        Err(error @ AttemptError::Unwelcomed(_)) => {
            tracing::warn!(%job, %attempt, %error, "attempt was not taken up");
            GaveUp::Unwelcomed.state()
        }
        Err(error) => {
            tracing::warn!(%job, %attempt, %error, "attempt ended without a result");
            State::Broken
        }
    }
}
