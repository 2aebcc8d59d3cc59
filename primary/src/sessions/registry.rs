//! Which agents hold a session with this leader. In memory only; a new leader starts empty and is told anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use outlast_core::dispatch::Presence;
use outlast_kit::shutdown::Shutdown;
use outlast_proto::v1::{Answer, PrimaryMessage, Question, answer, primary_message, question};
use outlast_proto::words::{AgentName, StartId, Timestamp};
use tokio::sync::{mpsc, watch};

/// Answers to one question that may wait to be read.
const ANSWERS: usize = 16;

/// One agent's session.
struct Entry {
    start_id: StartId,
    generation: u64,
    over: Shutdown,
    down: mpsc::Sender<Result<PrimaryMessage, tonic::Status>>,
    last_seen: Timestamp,
    free_bytes: Option<u64>,
    questions: BTreeMap<u64, mpsc::Sender<Answer>>,
}

#[derive(Default)]
struct Inner {
    open: bool,
    next: u64,
    sessions: BTreeMap<AgentName, Entry>,
}

/// The sessions of this leader.
#[derive(Clone)]
pub(crate) struct Registry {
    inner: Arc<Mutex<Inner>>,
    changed: watch::Sender<u64>,
}

/// A question that got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The agent is not here.
    #[error("agent \"{0}\" is not connected")]
    NotConnected(AgentName),
}

/// A place in the registry; given up when dropped.
pub(crate) struct Place {
    registry: Registry,
    agent: AgentName,
    generation: u64,
    over: Shutdown,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            inner: Arc::default(),
            changed: watch::Sender::new(0),
        }
    }

    /// This node leads: sessions are welcome.
    pub(crate) fn open(&self) {
        self.lock().open = true;
    }

    /// This node leads no more: every session ends.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.open = false;
        for entry in std::mem::take(&mut inner.sessions).into_values() {
            entry.over.begin();
        }
        drop(inner);
        self.wake();
    }

    /// Takes a place for an agent. An older session of the same agent ends (C-09). None while this node does not lead.
    pub(crate) fn enter(
        &self,
        agent: &AgentName,
        start_id: &StartId,
        down: mpsc::Sender<Result<PrimaryMessage, tonic::Status>>,
        now: Timestamp,
    ) -> Option<Place> {
        let over = Shutdown::new();
        let mut inner = self.lock();
        if !inner.open {
            return None;
        }
        inner.next += 1;
        let generation = inner.next;
        let entry = Entry {
            start_id: start_id.clone(),
            generation,
            over: over.clone(),
            down,
            last_seen: now,
            free_bytes: None,
            questions: BTreeMap::new(),
        };
        if let Some(old) = inner.sessions.insert(agent.clone(), entry) {
            let other_process = old.start_id != *start_id;
            tracing::info!(%agent, other_process, "a new session ends the older one");
            old.over.begin();
        }
        drop(inner);
        self.wake();
        Some(Place {
            registry: self.clone(),
            agent: agent.clone(),
            generation,
            over,
        })
    }

    /// Who is here, for the dispatcher.
    pub(crate) fn presence(&self) -> Presence {
        let inner = self.lock();
        let connected = inner
            .sessions
            .iter()
            .map(|(name, entry)| (name.clone(), entry.free_bytes))
            .collect();
        Presence { connected }
    }

    /// When an agent was last heard, if it is here.
    pub(crate) fn last_seen(&self, agent: &AgentName) -> Option<Timestamp> {
        self.lock().sessions.get(agent).map(|entry| entry.last_seen)
    }

    /// Asks an agent; its answers come one by one until the one marked `last`.
    pub(crate) async fn ask(
        &self,
        agent: &AgentName,
        body: question::Body,
    ) -> Result<mpsc::Receiver<Answer>, AskError> {
        let gone = || AskError::NotConnected(agent.clone());
        let (answers, receiver) = mpsc::channel(ANSWERS);
        let (down, id) = {
            let mut inner = self.lock();
            inner.next += 1;
            let id = inner.next;
            let entry = inner.sessions.get_mut(agent).ok_or_else(gone)?;
            entry.questions.retain(|_, answers| !answers.is_closed());
            entry.questions.insert(id, answers);
            (entry.down.clone(), id)
        };
        let question = primary_message::Body::Question(Question { id, body: Some(body) });
        down.send(Ok(PrimaryMessage { body: Some(question) }))
            .await
            .map_err(|_| gone())?;
        Ok(receiver)
    }

    /// Wakes when someone comes or goes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn wake(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Place {
    /// Triggered when the session has to end.
    pub(crate) fn over(&self) -> &Shutdown {
        &self.over
    }

    /// The agent was heard.
    pub(crate) fn heard(&self, now: Timestamp) {
        self.with(|entry| entry.last_seen = now);
    }

    /// The agent reported the free bytes of its storage unit.
    pub(crate) fn report_free(&self, free: u64) {
        self.with(|entry| entry.free_bytes = Some(free));
    }

    /// Hands an answer to whoever asked.
    pub(crate) async fn answer(&self, answer: Answer) {
        let id = answer.id;
        let last = answer.last || matches!(answer.body, Some(answer::Body::Error(_)));
        let asker = self.with(|entry| {
            if last {
                entry.questions.remove(&id)
            } else {
                entry.questions.get(&id).cloned()
            }
        });
        if let Some(asker) = asker.flatten() {
            // An asker that went away wants no answer.
            let _ = asker.send(answer).await;
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let mut inner = self.registry.lock();
        inner
            .sessions
            .get_mut(&self.agent)
            .filter(|entry| entry.generation == self.generation)
            .map(f)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.registry.lock();
        if inner
            .sessions
            .get(&self.agent)
            .is_some_and(|entry| entry.generation == self.generation)
        {
            inner.sessions.remove(&self.agent);
        }
        drop(inner);
        self.registry.wake();
    }
}
