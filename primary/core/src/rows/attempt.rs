//! Attempts that have no history yet, and what is still to be done about ended ones.

use outlast_proto::words::{AgentName, Attempt, Counters, JobNonce, SnapshotId, StartId, Timestamp};
use serde::{Deserialize, Serialize};

use super::History;

/// An attempt without a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenAttempt {
    /// Its number.
    pub attempt: Attempt,
    /// On which media agent.
    pub media_agent: AgentName,
    /// When it was dispatched.
    pub started_at: Timestamp,
    /// Whether it may go on without a primary, as its ticket says.
    pub resilient: bool,
    /// The version of the primary that dispatched it; empty: it had not said.
    pub primary_version: String,
    /// Whether the client has it on disk (F-04a).
    pub client_admitted: bool,
    /// Whether the media agent has admitted it.
    pub marked: bool,
    /// Last checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// How many exceptions are kept by name, each in a row of its own.
    pub exceptions: u32,
    /// Whether it runs.
    pub phase: Phase,
    /// What its media agent's drain makes of it; none: that is not drained, or nothing is decided yet. From cluster version 9 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained: Option<Drained>,
    /// The process of the client that runs it; none: not known, or not kept before cluster version 9.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_start: Option<StartId>,
    /// Its media agent has ended it because its client was lost; what follows is still to be decided. From cluster version 9 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Loss>,
}

/// What becomes of a running attempt whose media agent is drained (C-08b).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Drained {
    /// It is told to make a checkpoint and end; its job goes on elsewhere.
    Moves,
    /// It finishes where it is.
    Stays {
        /// Why, for people.
        why: String,
    },
}

/// What a media agent said of an attempt that it could not go on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// In words.
    pub reason: String,
    /// The attempt's numbers.
    pub counters: Counters,
}

/// A checkpoint, and the attempt's numbers when it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Its partial snapshot.
    pub snapshot: SnapshotId,
    /// When it was recorded.
    pub at: Timestamp,
    /// None: not kept before cluster version 8.
    pub counters: Option<Counters>,
}

/// Where an attempt without a history is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Its events count.
    Running,
    /// Nothing that it reports counts any more; what it left in the storage unit is still to be surveyed (F-14). Its history as far as it is
    /// known before that; its exceptions are still rows of their own.
    Superseded(Box<History>),
    /// It has no process; whether it is resumed is to be decided (T-10a).
    Suspended,
}

impl OpenAttempt {
    /// Whether its events count.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running)
    }

    /// Whether it is told to make room for another attempt of its job.
    #[must_use]
    pub fn moves(&self) -> bool {
        self.is_running() && self.drained == Some(Drained::Moves)
    }

    /// Its history so far, if it was superseded.
    #[must_use]
    pub fn superseded(&self) -> Option<&History> {
        match &self.phase {
            Phase::Superseded(history) => Some(history),
            Phase::Running | Phase::Suspended => None,
        }
    }
}

/// What a media agent has still to be told: nothing of this job up to this attempt has a right any more (F-04). The row goes when the agent has
/// acknowledged it. Its key is agent and job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// Of which job, whatever becomes of its number (S-12b).
    pub nonce: JobNonce,
    /// This attempt and lower ones.
    pub through: Attempt,
}
