//! Policies by name. Their revisions are kept apart, for the jobs made from them.

use serde::{Deserialize, Serialize};

/// A policy in force. Its text is the revision's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRow {
    /// The current revision.
    pub revision: u32,
    /// Deleted: its name and revisions stay for its jobs (T-11).
    pub deleted: bool,
}
