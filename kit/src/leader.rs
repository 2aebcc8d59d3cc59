//! The way to the leader: tries the primaries in turn, follows their hints, never hangs on a dead one.
//!
//! Used by the CLI for every call and by agents to open their session.

use std::future::Future;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::errors;
use crate::tls::{ANY_PRIMARY, Credentials, TlsError};

/// How long a node may take to answer in the first round; doubled each round up to [`LONGEST_TRY`].
const FIRST_TRY: Duration = Duration::from_millis(200);
const LONGEST_TRY: Duration = Duration::from_secs(5);
/// Between two rounds, so that a cluster in election is not hammered.
const PAUSE: Duration = Duration::from_millis(50);

/// Connections to all primaries.
pub struct Primaries {
    nodes: Mutex<Vec<(String, Channel)>>,
    credentials: Credentials,
    /// Who answered as leader the last time.
    favourite: Mutex<Option<String>>,
}

/// A call that no leader answered, or that the leader refused.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody answered as leader in time.
    #[error("no leader: {answering} of {} primaries answer", tried.len())]
    NoLeader {
        /// How many answered at all.
        answering: usize,
        /// Each address with what it said last.
        tried: Vec<(String, String)>,
    },
    /// The leader's own answer.
    #[error("{}", .0.message())]
    Refused(Status),
}

/// What one try at one node came to.
enum Try<T> {
    Done(T),
    Refused(Status),
    /// Not the leader; who is, if it knows.
    Elsewhere(Option<String>, String),
    Dead(String),
}

impl Primaries {
    /// Prepares connections; none is opened yet.
    ///
    /// # Errors
    /// [`TlsError`] for an address that is none.
    pub fn new(credentials: Credentials, addresses: &[String]) -> Result<Self, TlsError> {
        let nodes = addresses
            .iter()
            .map(|address| Ok((address.clone(), credentials.channel(address, ANY_PRIMARY)?)))
            .collect::<Result<_, TlsError>>()?;
        Ok(Self {
            nodes: Mutex::new(nodes),
            credentials,
            favourite: Mutex::default(),
        })
    }

    /// The addresses known now.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        lock(&self.nodes)
            .iter()
            .map(|(address, _)| address.clone())
            .collect()
    }

    /// A connection to each node, for questions any node answers.
    #[must_use]
    pub fn channels(&self) -> Vec<(String, Channel)> {
        lock(&self.nodes).clone()
    }

    /// Takes up members that were learned from the cluster itself.
    pub fn learn(&self, addresses: &[String]) {
        for address in addresses {
            self.channel_to(address);
        }
    }

    /// Calls the leader, wherever it is. `call` may run more than once: writes carry a request id.
    ///
    /// # Errors
    /// [`CallError`], after `deadline` at the latest (one try's time later in the worst case).
    pub async fn call<T, F, Fut>(&self, deadline: Duration, call: F) -> Result<T, CallError>
    where
        F: Fn(Channel) -> Fut,
        Fut: Future<Output = Result<T, Status>>,
    {
        self.call_with(deadline, FIRST_TRY, call).await
    }

    /// As [`Primaries::call`], for calls that take their time: a node that took one up gets `first_try` to answer.
    ///
    /// # Errors
    /// [`CallError`], as there.
    pub async fn call_with<T, F, Fut>(
        &self,
        deadline: Duration,
        first_try: Duration,
        call: F,
    ) -> Result<T, CallError>
    where
        F: Fn(Channel) -> Fut,
        Fut: Future<Output = Result<T, Status>>,
    {
        let start = Instant::now();
        let mut patience = first_try;
        loop {
            let mut tried: Vec<(String, String, bool)> = Vec::new();
            let mut queue = self.round();
            while let Some((address, channel)) = queue.pop() {
                match one_try(call(channel), patience).await {
                    Try::Done(value) => {
                        *lock(&self.favourite) = Some(address);
                        return Ok(value);
                    }
                    Try::Refused(status) => return Err(CallError::Refused(status)),
                    Try::Elsewhere(hint, said) => {
                        tried.push((address, said, true));
                        // At most one detour to each address a round: two nodes may name each other.
                        if let Some(hint) = hint.filter(|hint| tried.iter().all(|(done, ..)| done != hint)) {
                            queue.retain(|(address, _)| *address != hint);
                            if let Some(channel) = self.channel_to(&hint) {
                                queue.push((hint, channel));
                            }
                        }
                    }
                    Try::Dead(said) => tried.push((address, said, false)),
                }
            }
            if start.elapsed() >= deadline {
                let answering = tried.iter().filter(|(.., answered)| *answered).count();
                let tried = tried
                    .into_iter()
                    .map(|(address, said, _)| (address, said))
                    .collect();
                return Err(CallError::NoLeader { answering, tried });
            }
            tokio::time::sleep(PAUSE).await;
            patience = (patience * 2).min(LONGEST_TRY.max(first_try));
        }
    }

    /// All nodes, the favourite last, where `pop` takes it first.
    fn round(&self) -> Vec<(String, Channel)> {
        let mut nodes = lock(&self.nodes).clone();
        nodes.reverse();
        let favourite = lock(&self.favourite).clone();
        nodes.sort_by_key(|(address, _)| favourite.as_ref() == Some(address));
        nodes
    }

    fn channel_to(&self, address: &str) -> Option<Channel> {
        let mut nodes = lock(&self.nodes);
        if let Some((_, channel)) = nodes.iter().find(|(known, _)| known == address) {
            return Some(channel.clone());
        }
        let channel = self.credentials.channel(address, ANY_PRIMARY).ok()?;
        nodes.push((address.to_owned(), channel.clone()));
        Some(channel)
    }
}

async fn one_try<T>(call: impl Future<Output = Result<T, Status>>, patience: Duration) -> Try<T> {
    match tokio::time::timeout(patience, call).await {
        Err(_) => Try::Dead(format!("no answer within {} ms", patience.as_millis())),
        Ok(Ok(value)) => Try::Done(value),
        Ok(Err(status)) => sort_out(status),
    }
}

fn sort_out<T>(status: Status) -> Try<T> {
    if errors::is_of_connection(&status) {
        return Try::Dead(errors::cause_of(&status));
    }
    if status.code() != Code::Unavailable {
        return Try::Refused(status);
    }
    let leader = Some(errors::detail(&status).leader_address).filter(|address| !address.is_empty());
    Try::Elsewhere(leader, status.message().to_owned())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
