//! What every part of the running agent needs: made once by `run`, cloned into tasks.
//!
//! No behaviour of its own.

use std::sync::Arc;
use std::time::Duration;

use outlast_kit::clock::SharedClock;
use outlast_kit::listen::Limits;
use outlast_kit::recollection::Recollection;
use outlast_kit::shutdown::Shutdown;
use outlast_kit::tasks::Tasks;
use outlast_proto::v1::journal_event::What;
use outlast_proto::words::AgentName;
use tokio::sync::watch;

use crate::backup::DamageTold;
use crate::contact::Contact;
use crate::journal::{Journal, JournalError, NewEvent, NewRecord};
use crate::known_chunks::KnownChunks;
use crate::storage::StorageUnit;
use crate::tickets::Verifier;
use outlast_proto::words::AttemptId;

/// How long things are waited for.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// For the client after its attempt was ordered (code 58).
    pub client_wait: Duration,
    /// For a client whose stream broke (code 40), unless the primary says otherwise (F-10).
    pub reconnect_for: Duration,
    /// For the first message of a stream.
    pub hello_wait: Duration,
    /// For a message of a client whose stream is open: one that has nothing to say still confirms. Long enough for the largest
    /// message (8 MiB) over a slow line.
    pub client_silence: Duration,
    /// Of clients: how many, and how long one may be silent.
    pub connections: Limits,
    /// For a client of the same host to use the token that it was given.
    pub local_token: Duration,
    /// For somebody else's lock on the storage unit to go.
    pub lock_wait: Duration,
    /// Between two looks at the storage unit while nothing else asks for it.
    pub storage_look: Duration,
    /// Between refreshments of a lock.
    pub lock_refresh: Duration,
    /// Between attempts to remove from the storage unit what could not be removed.
    pub tidy: Duration,
    /// For the next message of a client whose chunks a checkpoint waits for, for each MiB of the largest of them.
    pub checkpoint_wait: Duration,
    /// The same for an attempt that is to leave: what does not come soon the next one asks for again.
    pub leave_wait: Duration,
    /// For attempts to end at shutdown.
    pub attempts_end: Duration,
    /// For the last events to reach the primary at shutdown.
    pub last_delivery: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            client_wait: Duration::from_secs(60),
            reconnect_for: Duration::from_secs(300),
            hello_wait: Duration::from_secs(10),
            client_silence: Duration::from_secs(600),
            connections: Limits::default(),
            local_token: Duration::from_secs(30),
            lock_wait: Duration::from_secs(3600),
            storage_look: Duration::from_secs(60),
            lock_refresh: Duration::from_secs(5 * 60),
            tidy: Duration::from_secs(30),
            // The slowest line on which a client is not silent: 8 MiB in `client_silence`.
            checkpoint_wait: Duration::from_secs(75),
            leave_wait: Duration::from_secs(1),
            attempts_end: Duration::from_secs(10),
            last_delivery: Duration::from_secs(2),
        }
    }
}

#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) agent: AgentName,
    /// Of this process (F-10).
    pub(crate) start_id: String,
    pub(crate) journal: Journal,
    pub(crate) unit: Arc<StorageUnit>,
    /// Without it the clients of the storage unit share chunks.
    pub(crate) known_chunks: Option<Arc<KnownChunks>>,
    pub(crate) damage_told: Arc<DamageTold>,
    pub(crate) verifier: Verifier,
    pub(crate) recollection: Recollection,
    pub(crate) contact: watch::Receiver<Contact>,
    pub(crate) clock: SharedClock,
    pub(crate) tasks: Tasks,
    pub(crate) shutdown: Shutdown,
    pub(crate) timing: Timing,
}

impl Context {
    /// Writes down which attempts have lost their mark by the version of the primary met last. Repeated, it does no harm.
    pub(crate) async fn meet_primary(&self) -> Result<(), JournalError> {
        let version = self.contact.borrow().primary_version.clone();
        match version {
            Some(version) => self.journal.meet(version.to_string(), self.clock.now()).await,
            None => Ok(()),
        }
    }

    /// For the group to know, should it be set back (S-12b). Waits for the disk.
    pub(crate) async fn remember(&self, act: impl FnOnce(&Recollection) + Send + 'static) {
        let recollection = self.recollection.clone();
        // It panics nowhere, and nothing depends on it.
        let _ = tokio::task::spawn_blocking(move || act(&recollection)).await;
    }

    /// An event that happens now.
    pub(crate) fn event(&self, id: AttemptId, what: What) -> NewRecord {
        NewRecord::Event(NewEvent {
            at: self.clock.now(),
            id,
            what,
        })
    }
}
