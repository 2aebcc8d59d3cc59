//! Whose data directory this is, and how far it has come. Written durably before the node's first vote, so that a
//! directory that lost its log cannot pass for a new one. [`node`](crate::node) judges by it at start;
//! [`log`](mod@crate::log) raises it to [`Stage::Member`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use crate::error::{LossKind, StartError};
use crate::files::durable;
use crate::peer::{Incarnation, NodeId};

const FORMAT: u32 = 1;

/// How far a data directory has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    /// Its files are being made. Whatever is there may be thrown away.
    Creating,
    /// Complete, but the node never voted nor accepted an entry: it promised nothing.
    Ready,
    /// The node promised something. Losing any of it is final.
    Member,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Facts {
    format: u32,
    node_id: NodeId,
    cluster: String,
    stage: Stage,
    /// Not in directories made before there were incarnations.
    #[serde(default)]
    incarnation: Option<Incarnation>,
}

/// The identity file. JSON, for the eyes of operators.
#[derive(Debug)]
pub(crate) struct Identity {
    path: PathBuf,
    facts: Mutex<Facts>,
    member: AtomicBool,
    incarnation: Incarnation,
}

impl Identity {
    /// The identity found in `dir`, if there is one.
    pub(crate) fn find(dir: &Path, node_id: NodeId, cluster: &str) -> Result<Option<Self>, StartError> {
        let path = dir.join("identity");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => {
                return Err(StartError::Io {
                    doing: "reading",
                    path,
                    source: e,
                });
            }
        };
        let lost = |detail: String| StartError::LostState {
            dir: dir.to_path_buf(),
            what: LossKind::Identity,
            detail,
        };
        let facts: Facts = serde_json::from_slice(&bytes).map_err(|e| lost(e.to_string()))?;
        if facts.format != FORMAT {
            return Err(lost(format!("format {} is not known", facts.format)));
        }
        if facts.node_id != node_id || facts.cluster != cluster {
            if facts.stage != Stage::Member {
                // Nothing was promised under the old number.
                return Self::claim(dir, node_id, cluster)
                    .map(Some)
                    .map_err(StartError::io("claiming", dir));
            }
            return Err(StartError::WrongIdentity {
                dir: dir.to_path_buf(),
                found: facts.node_id,
                expected: node_id,
                found_cluster: facts.cluster,
                expected_cluster: cluster.to_string(),
            });
        }
        let (stage, known) = (facts.stage, facts.incarnation);
        let identity = Self::of(path, facts);
        if known.is_none() {
            identity
                .advance(stage)
                .map_err(StartError::io("completing the identity in", dir))?;
        }
        Ok(Some(identity))
    }

    /// Claims an empty directory.
    pub(crate) fn claim(dir: &Path, node_id: NodeId, cluster: &str) -> io::Result<Self> {
        let facts = Facts {
            format: FORMAT,
            node_id,
            cluster: cluster.to_string(),
            stage: Stage::Creating,
            incarnation: None,
        };
        let identity = Self::of(dir.join("identity"), facts);
        identity.advance(Stage::Creating)?;
        Ok(identity)
    }

    fn of(path: PathBuf, mut facts: Facts) -> Self {
        let incarnation = *facts.incarnation.get_or_insert_with(Incarnation::new);
        Self {
            path,
            member: AtomicBool::new(facts.stage == Stage::Member),
            facts: Mutex::new(facts),
            incarnation,
        }
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Whether the node ever voted or accepted an entry.
    pub(crate) fn has_promised(&self) -> bool {
        self.member.load(Ordering::Acquire)
    }

    pub(crate) fn stage(&self) -> Stage {
        self.facts.lock().map_or(Stage::Member, |facts| facts.stage)
    }

    /// Records, durably, that the directory has come this far.
    pub(crate) fn advance(&self, stage: Stage) -> io::Result<()> {
        let mut facts = self
            .facts
            .lock()
            .map_err(|_| io::Error::other("the identity is poisoned"))?;
        let advanced = Facts {
            stage,
            ..facts.clone()
        };
        durable::replace(&self.path, &serde_json::to_vec_pretty(&advanced)?)?;
        *facts = advanced;
        self.member.store(stage == Stage::Member, Ordering::Release);
        Ok(())
    }

    /// Called before every promise; writes only before the first one.
    pub(crate) fn promise(&self) -> io::Result<()> {
        if self.has_promised() {
            Ok(())
        } else {
            self.advance(Stage::Member)
        }
    }
}
