//! The contract between the replicated log and what it replicates. Only traits and plain types live here.
//! `outlast-primary` implements [`Machine`]; the [`state`](crate::state) room calls it.

use thiserror::Error;

/// What the group replicates. One owner calls it, one call at a time, never from an async task.
pub trait Machine: Send + 'static {
    /// Replace the whole state by these rows (at start-up and when a snapshot is installed).
    ///
    /// `applied` is the index of the last command contained in them, 0 when there was none yet.
    fn restore(&mut self, rows: Vec<(Vec<u8>, Vec<u8>)>, applied: u64) -> Result<(), MachineError>;

    /// Apply one committed command. Must be deterministic.
    ///
    /// A command that is refused is an ordinary reply. `Err` means corruption or an entry this version does not know:
    /// the node stops.
    fn apply(&mut self, index: u64, command: &[u8]) -> Result<Applied, MachineError>;
}

/// What one command did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Handed to whoever proposed the command, once `changes` are stored.
    pub reply: Vec<u8>,
    /// Rows to write; `None` deletes. Stored in one batch with the applied index.
    pub changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// Why a machine cannot go on. Each stops the node.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MachineError {
    /// The rows or the command contradict themselves.
    #[error("the state is corrupt: {what}")]
    Corrupt {
        /// What was found.
        what: String,
    },
    /// A newer version wrote this entry.
    #[error("entry {index} is of a kind this version does not know: {what}")]
    UnknownEntry {
        /// Its place in the log.
        index: u64,
        /// What was found.
        what: String,
    },
    /// The group speaks a version that this program does not.
    #[error("this program is too old for its group: {what}")]
    TooOld {
        /// Which versions.
        what: String,
    },
}
