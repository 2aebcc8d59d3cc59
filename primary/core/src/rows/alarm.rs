//! By what a group knows that it was set back to an older copy of itself (S-12b): the reigns of its leaders, the marks that agents
//! were given, the alarm. What follows from them stands in `apply/set_back.rs`.

use outlast_proto::words::{AgentName, JobId, Timestamp};
use serde::{Deserialize, Serialize};

/// A leader began to lead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reign {
    /// Drawn by the leader: no other history has it.
    pub id: u64,
    /// Entries that were applied before.
    pub after: u64,
    /// The time of the last of them.
    pub after_at: Timestamp,
}

/// How far a history had come, as an agent was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Whose reign it was.
    pub reign: u64,
    /// Entries applied up to then.
    pub entries: u64,
    /// The highest job given out up to then; 0: none.
    pub highest_job: JobId,
    /// Of the last entry.
    pub at: Timestamp,
}

/// What an agent remembers of its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recollection {
    /// The highest job it had an order for; 0: none. Its word alone.
    pub highest_job: JobId,
    /// The mark it was given, with this group's signature.
    pub mark: Option<Mark>,
}

/// The group was set back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// When it was noticed.
    pub since: Timestamp,
    /// The last entries that are there are of this time, as far as is known.
    pub from: Timestamp,
    /// The newest that is known to have been there; none: only that a number was given out.
    pub until: Option<Timestamp>,
    /// The entries that are known to be missing; 0: not known.
    pub entries: u64,
    /// The first job that is missing, and the last one that is known to be.
    pub jobs: Option<(JobId, JobId)>,
    /// Who remembers more; those named are [`MAX_NAMED`](Self::MAX_NAMED) at most.
    pub said_by: Vec<AgentName>,
    /// How many agents said so.
    pub sayers: u32,
    /// Who has read it, and when.
    pub acknowledged: Option<(String, Timestamp)>,
}

impl Alarm {
    /// So many agents are named.
    pub const MAX_NAMED: usize = 16;
}
