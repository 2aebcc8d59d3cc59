//! Agents that were removed: their certificates are not welcome any more (C-08a, A-04).

use outlast_proto::words::{PoolName, StorageUnitName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::entry::Asker;

/// What is kept of an agent that was removed. From cluster version 9 on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedAgent {
    /// When.
    pub at: Timestamp,
    /// By whom; none: not known.
    pub by: Option<Asker>,
    /// Where it stored, if it was a media agent: what its attempts left is still found there.
    pub stored: Option<(PoolName, StorageUnitName)>,
}
