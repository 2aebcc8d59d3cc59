//! What the primary told about the cluster and what must be known without it: its id, the key of its tickets, how long to wait.
//!
//! Kept on disk so that tickets are verified while no primary answers. Written by the session, read by `tickets`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use outlast_proto::v1::{SettingsChanged, Welcome};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::error::RunError;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    cluster_id: String,
    /// Ed25519, hexadecimal.
    ticket_key: String,
    /// The waiting times in force; none in files of earlier versions, or if the primary did not say.
    #[serde(default)]
    reconnect_for_seconds: Option<u64>,
    #[serde(default)]
    disruption_grace_seconds: Option<u64>,
}

/// How long things are waited for, as the primary said last (F-10, R-03).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WaitingTimes {
    pub(crate) reconnect_for: Option<Duration>,
    pub(crate) disruption_grace: Option<Duration>,
}

impl WaitingTimes {
    /// Also when they cannot be kept.
    pub(crate) fn of(settings: &SettingsChanged) -> Self {
        Self {
            reconnect_for: said(settings.reconnect_for_seconds).map(Duration::from_secs),
            disruption_grace: said(settings.disruption_grace_seconds).map(Duration::from_secs),
        }
    }
}

/// What a primary said; 0: it did not.
fn said(seconds: u64) -> Option<u64> {
    Some(seconds).filter(|seconds| *seconds > 0)
}

/// Which cluster this agent belongs to, once known.
#[derive(Clone)]
pub(crate) struct Cluster {
    path: PathBuf,
    known: Arc<RwLock<Option<Content>>>,
}

/// The primary is not of the cluster this agent belongs to, or the disk refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LearnError {
    #[error(
        "the primary belongs to cluster {theirs}, this agent to cluster {ours}: check `primaries`, or give the agent a \
         new data directory"
    )]
    OtherCluster { ours: String, theirs: String },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
}

impl Cluster {
    pub(crate) fn load(path: PathBuf) -> Result<Self, RunError> {
        let known = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(source) => return Err(RunError::DataDir { path, source }),
            Ok(content) => match serde_json::from_slice(&content) {
                Ok(content) => Some(content),
                Err(error) => {
                    let reason = error.to_string();
                    return Err(RunError::ClusterFile { path, reason });
                }
            },
        };
        Ok(Self {
            path,
            known: Arc::new(RwLock::new(known)),
        })
    }

    /// Takes in what a welcome says. Durable when it returns.
    pub(crate) fn learn(&self, welcome: &Welcome) -> Result<(), LearnError> {
        self.keep(Content {
            cluster_id: welcome.cluster_id.clone(),
            ticket_key: hex::encode(&welcome.ticket_key),
            reconnect_for_seconds: said(welcome.reconnect_for_seconds),
            disruption_grace_seconds: said(welcome.disruption_grace_seconds),
        })
    }

    /// Takes in that settings have changed since the welcome. Durable when it returns.
    pub(crate) fn take(&self, settings: &SettingsChanged) -> Result<(), LearnError> {
        let known = self.known.read().clone();
        known.map_or(Ok(()), |known| {
            self.keep(Content {
                reconnect_for_seconds: said(settings.reconnect_for_seconds),
                disruption_grace_seconds: said(settings.disruption_grace_seconds),
                ..known
            })
        })
    }

    fn keep(&self, new: Content) -> Result<(), LearnError> {
        let mut known = self.known.write();
        if let Some(old) = known.as_ref() {
            if old.cluster_id != new.cluster_id {
                return Err(LearnError::OtherCluster {
                    ours: old.cluster_id.clone(),
                    theirs: new.cluster_id,
                });
            }
            if *old == new {
                return Ok(());
            }
        }
        let content = serde_json::to_vec(&new).expect("strings and numbers are always JSON");
        outlast_kit::files::write_durably(&self.path, &content, 0o600).map_err(|source| {
            LearnError::Write {
                path: self.path.clone(),
                source,
            }
        })?;
        *known = Some(new);
        Ok(())
    }

    /// What was said last, also to an earlier process.
    pub(crate) fn waiting_times(&self) -> WaitingTimes {
        let known = self.known.read();
        let seconds = |of: fn(&Content) -> Option<u64>| known.as_ref().and_then(of).map(Duration::from_secs);
        WaitingTimes {
            reconnect_for: seconds(|content| content.reconnect_for_seconds),
            disruption_grace: seconds(|content| content.disruption_grace_seconds),
        }
    }

    /// Id and ticket key, once a primary has told them.
    pub(crate) fn known(&self) -> Option<(String, Vec<u8>)> {
        let known = self.known.read();
        let content = known.as_ref()?;
        Some((content.cluster_id.clone(), hex::decode(&content.ticket_key).ok()?))
    }
}
