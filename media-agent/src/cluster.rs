//! What the primary told about the cluster and what must be known without it: its id and the key of its tickets.
//!
//! Kept on disk so that tickets are verified while no primary answers. Written by the session, read by `tickets`.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::error::RunError;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    cluster_id: String,
    /// Ed25519, hexadecimal.
    ticket_key: String,
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
    pub(crate) fn learn(&self, cluster_id: &str, ticket_key: &[u8]) -> Result<(), LearnError> {
        let new = Content {
            cluster_id: cluster_id.to_owned(),
            ticket_key: hex::encode(ticket_key),
        };
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
        let content = serde_json::to_vec(&new).expect("two strings are always JSON");
        outlast_kit::files::write_durably(&self.path, &content, 0o600).map_err(|source| {
            LearnError::Write {
                path: self.path.clone(),
                source,
            }
        })?;
        *known = Some(new);
        Ok(())
    }

    /// Id and ticket key, once a primary has told them.
    pub(crate) fn known(&self) -> Option<(String, Vec<u8>)> {
        let known = self.known.read();
        let content = known.as_ref()?;
        Some((content.cluster_id.clone(), hex::decode(&content.ticket_key).ok()?))
    }
}
