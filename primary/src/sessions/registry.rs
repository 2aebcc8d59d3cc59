//! Which agents hold a session with this leader. In memory only; a new leader starts empty and is told anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use outlast_core::clocks;
use outlast_core::contact::{Heard, Word};
use outlast_core::dispatch::Presence;
use outlast_core::session::turns::Turns;
use outlast_core::units;
use outlast_kit::shutdown::Shutdown;
use outlast_proto::v1::{Answer, PrimaryMessage, Question, answer, primary_message, question};
use outlast_proto::words::{AgentName, AttemptId, Seconds, StartId, Timestamp};
use tokio::sync::mpsc;

use super::questions::{Asked, Asker};
use crate::wakes::Wakes;

/// An agent says something every 2 s.
const HEARD_LATELY: Seconds = Seconds(6);

/// One agent's session.
struct Entry {
    start_id: StartId,
    carries_nonces: bool,
    generation: u64,
    over: Shutdown,
    down: mpsc::Sender<Result<PrimaryMessage, tonic::Status>>,
    last_seen: Timestamp,
    /// Since the watchdog last asked.
    was_heard: bool,
    free_bytes: Option<u64>,
    /// Of the file system of its storage unit.
    total_bytes: Option<u64>,
    /// Why its storage unit cannot be used; empty: nothing is known against it.
    storage_problem: String,
    /// By so many microseconds its clock was ahead of ours when it was heard last.
    clock_ahead: i64,
    questions: BTreeMap<u64, Asker>,
    /// What a client last said of its attempts (C-08).
    words: BTreeMap<AttemptId, Word>,
}

impl Entry {
    fn storage(&self) -> units::Seen {
        units::Seen {
            free: self.free_bytes,
            total: self.total_bytes,
            problem: self.storage_problem.clone(),
        }
    }
}

#[derive(Default)]
struct Inner {
    open: bool,
    next: u64,
    sessions: BTreeMap<AgentName, Entry>,
    /// When agents were last heard that are no longer here.
    gone: BTreeMap<AgentName, Timestamp>,
    turns: Turns,
    /// Media agents that are silent for too long, as the watchdog counts.
    silent: BTreeSet<AgentName>,
}

/// The sessions of this leader.
#[derive(Clone)]
pub(crate) struct Registry {
    inner: Arc<Mutex<Inner>>,
    wakes: Wakes,
}

/// A question that got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The agent is not here.
    #[error("agent \"{0}\" is not connected")]
    NotConnected(AgentName),
}

/// Media agents whose storage unit cannot be used, each with the reason.
fn problems(inner: &Inner) -> impl Iterator<Item = (AgentName, String)> {
    let sick = (inner.sessions.iter()).filter(|(_, entry)| !entry.storage_problem.is_empty());
    sick.map(|(name, entry)| (name.clone(), entry.storage_problem.clone()))
}

/// A place in the registry; given up when dropped.
pub(crate) struct Place {
    registry: Registry,
    agent: AgentName,
    generation: u64,
    over: Shutdown,
}

impl Registry {
    /// Whoever waits for agents to come and go is woken by these.
    pub(crate) fn new(wakes: Wakes) -> Self {
        Self {
            inner: Arc::default(),
            wakes,
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
        // The next leader hears them, not this node.
        inner.gone.clear();
        inner.turns = Turns::default();
        inner.silent.clear();
        for entry in std::mem::take(&mut inner.sessions).into_values() {
            entry.over.begin();
        }
        drop(inner);
        self.wakes.presence();
    }

    /// Takes a place for an agent. An older session of the same agent ends; two processes that take turns raise an alarm (C-09). None while this node does not lead.
    pub(crate) fn enter(
        &self,
        agent: &AgentName,
        start_id: &StartId,
        down: mpsc::Sender<Result<PrimaryMessage, tonic::Status>>,
        (now, carries_nonces): (Timestamp, bool),
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
            carries_nonces,
            generation,
            over: over.clone(),
            down,
            last_seen: now,
            was_heard: true,
            free_bytes: None,
            total_bytes: None,
            storage_problem: String::new(),
            clock_ahead: 0,
            questions: BTreeMap::new(),
            words: BTreeMap::new(),
        };
        if let Some(old) = inner.sessions.insert(agent.clone(), entry) {
            let other_process = old.start_id != *start_id;
            tracing::info!(%agent, other_process, "a new session ends the older one");
            old.over.begin();
        }
        if inner.turns.came(agent, start_id, now) {
            tracing::error!(
                %agent, start_id = %start_id,
                "two processes take turns under the certificate of this agent: one of them is a copy; stop it, and give it a certificate of its own"
            );
        }
        drop(inner);
        self.wakes.presence();
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
        let old = inner.sessions.iter().filter(|(_, entry)| !entry.carries_nonces);
        Presence {
            connected,
            without_nonces: old.map(|(name, _)| name.clone()).collect(),
            silent: inner.silent.clone(),
            problems: problems(&inner).collect(),
            unheard: BTreeSet::new(),
        }
    }

    /// What a media agent says of its storage unit; none: it is not here.
    pub(crate) fn storage_of(&self, agent: &AgentName) -> Option<units::Seen> {
        self.lock().sessions.get(agent).map(Entry::storage)
    }

    /// What the media agents that are here say of their storage units.
    pub(crate) fn storage_seen(&self) -> BTreeMap<AgentName, units::Seen> {
        let inner = self.lock();
        let seen = inner.sessions.iter();
        seen.map(|(name, entry)| (name.clone(), entry.storage()))
            .collect()
    }

    /// Who was heard since this was last asked (C-05), and what clients say of their attempts.
    pub(crate) fn take_heard(&self) -> Heard {
        let mut inner = self.lock();
        let agents = inner
            .sessions
            .iter_mut()
            .filter_map(|(name, entry)| std::mem::take(&mut entry.was_heard).then(|| name.clone()));
        let agents = agents.collect();
        let words = inner.sessions.values().flat_map(|entry| entry.words.clone());
        Heard {
            agents,
            words: words.collect(),
            progress: BTreeMap::new(),
        }
    }

    /// Media agents that get no jobs because nothing is heard of them.
    pub(crate) fn set_silent(&self, silent: BTreeSet<AgentName>) {
        let mut inner = self.lock();
        let changes = inner.silent != silent;
        inner.silent = silent;
        drop(inner);
        if changes {
            self.wakes.presence();
        }
    }

    /// Whose programs are of before jobs had nonces: what they report of a job that has one counts for another job (S-12b).
    pub(crate) fn without_nonces(&self) -> Vec<AgentName> {
        self.presence().without_nonces.into_iter().collect()
    }

    /// Media agents whose storage unit cannot be used, each with the reason.
    pub(crate) fn storage_problems(&self) -> Vec<(AgentName, String)> {
        problems(&self.lock()).collect()
    }

    /// Agents whose clocks disagree with ours, and by how many microseconds they are ahead.
    pub(crate) fn wrong_clocks(&self) -> Vec<(AgentName, i64)> {
        let inner = self.lock();
        let wrong = (inner.sessions.iter()).filter(|(_, entry)| !clocks::agrees(entry.clock_ahead));
        wrong
            .map(|(name, entry)| (name.clone(), entry.clock_ahead))
            .collect()
    }

    /// Whether an agent is here.
    pub(crate) fn is_connected(&self, agent: &AgentName) -> bool {
        self.lock().sessions.contains_key(agent)
    }

    /// Whether something was heard of an agent in the last seconds.
    pub(crate) fn is_heard(&self, agent: &AgentName, now: Timestamp) -> bool {
        let inner = self.lock();
        let entry = inner.sessions.get(agent);
        entry.is_some_and(|entry| entry.last_seen.plus(HEARD_LATELY) >= now)
    }

    /// When two processes last took turns under the certificate of an agent, if that was lately (C-09).
    pub(crate) fn turns_taken(&self, agent: &AgentName, now: Timestamp) -> Option<Timestamp> {
        self.lock().turns.taken(agent, now)
    }

    /// When this leader last heard an agent, whether or not it is still here.
    pub(crate) fn last_seen(&self, agent: &AgentName) -> Option<Timestamp> {
        let inner = self.lock();
        let here = inner.sessions.get(agent).map(|entry| entry.last_seen);
        here.or_else(|| inner.gone.get(agent).copied())
    }

    /// Asks an agent.
    pub(crate) async fn ask(&self, agent: &AgentName, body: question::Body) -> Result<Asked, AskError> {
        let gone = || AskError::NotConnected(agent.clone());
        let (asker, answers) = Asker::of(&body);
        let (down, id) = {
            let mut inner = self.lock();
            inner.next += 1;
            let id = inner.next;
            let entry = inner.sessions.get_mut(agent).ok_or_else(gone)?;
            entry.questions.retain(|_, asker| !asker.is_gone());
            entry.questions.insert(id, asker);
            (entry.down.clone(), id)
        };
        let question = primary_message::Body::Question(Question { id, body: Some(body) });
        down.send(Ok(PrimaryMessage { body: Some(question) }))
            .await
            .map_err(|_| gone())?;
        Ok(Asked::new(id, answers, down))
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
        self.with(|entry| (entry.last_seen, entry.was_heard) = (now, true));
    }

    /// The agent reported on its storage unit: what room there is, as far as it is known, and why it cannot be used.
    pub(crate) fn report_storage(&self, seen: units::Seen) {
        let came_or_went = self.with(|entry| {
            entry.free_bytes = seen.free.or(entry.free_bytes);
            entry.total_bytes = seen.total.or(entry.total_bytes);
            let before = std::mem::replace(&mut entry.storage_problem, seen.problem);
            before.is_empty() != entry.storage_problem.is_empty()
        });
        if came_or_went == Some(true) {
            self.registry.wakes.presence();
        }
    }

    /// What the client sees of its attempts, in place of what it said before.
    pub(crate) fn report_words(&self, words: BTreeMap<AttemptId, Word>) {
        self.with(|entry| entry.words = words);
    }

    /// The agent's clock is ahead of ours by so many microseconds.
    pub(crate) fn report_clock(&self, ahead: i64) {
        let before = self.with(|entry| std::mem::replace(&mut entry.clock_ahead, ahead));
        let agreed = before.is_none_or(clocks::agrees);
        if agreed != clocks::agrees(ahead) {
            let seconds = ahead / 1_000_000;
            match agreed {
                true => tracing::warn!(
                    agent = %self.agent, ahead_seconds = seconds,
                    "the clock of this agent is wrong, or this primary's; set it right: what it stamps is corrected here, but not in its storage unit"
                ),
                false => tracing::info!(agent = %self.agent, "the clock of this agent is right again"),
            }
        }
    }

    /// Hands an answer to whoever asked. An asker that does not read gets no more: the session goes on without it.
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
        let Some(asker) = asker.flatten() else { return };
        if let Err(why) = asker.take(answer).await {
            tracing::warn!(agent = %self.agent, %why, "an answer is broken off");
            self.with(|entry| entry.questions.remove(&id));
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
        let ours = inner
            .sessions
            .get(&self.agent)
            .filter(|entry| entry.generation == self.generation);
        if let Some(last_seen) = ours.map(|entry| entry.last_seen) {
            inner.sessions.remove(&self.agent);
            inner.gone.insert(self.agent.clone(), last_seen);
        }
        drop(inner);
        self.registry.wakes.presence();
    }
}

#[cfg(test)]
mod tests {
    use outlast_proto::words::{AgentName, StartId, Timestamp};
    use tokio::sync::mpsc;

    use super::{Place, Registry};
    use crate::wakes::Wakes;

    fn name() -> AgentName {
        "media-1".parse().expect("a name")
    }

    fn entered(registry: &Registry, now: i64) -> Place {
        let (down, mut messages) = mpsc::channel(8);
        tokio::spawn(async move { while messages.recv().await.is_some() {} });
        registry
            .enter(&name(), &StartId("1".into()), down, (Timestamp(now), true))
            .expect("it is open")
    }

    #[tokio::test]
    async fn t90_an_agent_that_is_gone_was_last_seen_when_it_was_last_heard() {
        let registry = Registry::new(Wakes::default());
        registry.open();
        assert_eq!(registry.last_seen(&name()), None);
        let place = entered(&registry, 10);
        place.heard(Timestamp(20));
        drop(place);
        assert!(!registry.is_connected(&name()));
        assert_eq!(registry.last_seen(&name()), Some(Timestamp(20)));
        let _again = entered(&registry, 30);
        assert!(registry.is_connected(&name()));
        assert_eq!(registry.last_seen(&name()), Some(Timestamp(30)));
    }
}
