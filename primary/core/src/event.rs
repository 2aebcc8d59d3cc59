//! What media agents witness (DESIGN 3): the events of their journals, as the brain sees them.

use outlast_proto::words::{
    Attempt, AttemptId, Counters, Exception, Interruption, ItemNumber, ItemOutcome, JobId, JobNonce,
    Severity, SnapshotId, StartId, StatusCode, Stopped, StorageFault, Timestamp, TreeId,
};
use serde::{Deserialize, Serialize};

/// An error of a job or an item: the code, and the cause in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// From the table of S-10.
    pub code: StatusCode,
    /// Which file, directory or host, and why.
    pub text: String,
}

/// One record of a media agent's journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalEvent {
    /// Its place in the journal, from 1.
    pub sequence: u64,
    /// The media agent's wall time.
    pub at: Timestamp,
    /// Whose attempt.
    pub job: JobId,
    /// Which attempt.
    pub attempt: Attempt,
    /// The job's nonce (S-12b).
    #[serde(default)]
    pub nonce: JobNonce,
    /// What happened.
    pub what: EventKind,
    /// The media agent's process that wrote it, by a number of its own; 0: not known.
    #[serde(default)]
    pub writer: u64,
}

impl JournalEvent {
    /// Whose it is.
    #[must_use]
    pub const fn id(&self) -> AttemptId {
        AttemptId {
            job: self.job,
            nonce: self.nonce,
            attempt: self.attempt,
        }
    }
}

/// A finished item that the survey found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoundItem {
    /// Which.
    pub item: ItemNumber,
    /// Finished by which attempt.
    pub attempt: Attempt,
    /// How.
    pub outcome: ItemOutcome,
    /// Its numbers.
    pub counters: Counters,
    /// Its snapshot and the snapshot's time.
    pub snapshot: (SnapshotId, Timestamp),
    /// The snapshot's root tree.
    pub tree: Option<TreeId>,
}

/// What happened to an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum EventKind {
    /// It was admitted, before the first data.
    Marked {
        /// As the ticket said.
        resilient: bool,
        /// The client process that runs it.
        client_start_id: StartId,
    },
    /// A primary of another version answered while it was open.
    MarkLost {
        /// The version under which it was marked.
        from: String,
        /// The other version.
        to: String,
    },
    /// An item was begun.
    ItemStarted {
        /// Which.
        item: ItemNumber,
    },
    /// An item is over.
    ItemEnded {
        /// Which.
        item: ItemNumber,
        /// How.
        outcome: ItemOutcome,
        /// Its numbers.
        counters: Counters,
        /// Its snapshot and the snapshot's time, if it left one.
        snapshot: Option<(SnapshotId, Timestamp)>,
        /// Why it failed.
        error: Option<JobError>,
        /// Whether the survey found it (F-14).
        adopted: bool,
        /// The snapshot's root tree; none if there is no snapshot, or of a media agent that does not say it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tree: Option<TreeId>,
    },
    /// A checkpoint was made.
    CheckpointMade {
        /// Its partial snapshot.
        snapshot: SnapshotId,
        /// The item in progress.
        item: ItemNumber,
        /// The numbers so far.
        counters: Counters,
    },
    /// Files that were not processed as they should be.
    ExceptionsFound {
        /// Of which item.
        item: ItemNumber,
        /// The files.
        exceptions: Vec<Exception>,
    },
    /// A line for the job details.
    DetailSaid {
        /// How bad.
        severity: Severity,
        /// The line.
        text: String,
    },
    /// What earlier attempts left in the storage unit was looked for, before this attempt's first chunk (F-14).
    Surveyed {
        /// The finished items, each as its newest attempt left it.
        found: Vec<FoundItem>,
        /// Nothing is left to be done: this attempt does not begin.
        is_complete: bool,
        /// The checkpoint from which it goes on; none: there is none that can be read.
        checkpoint: Option<SnapshotId>,
    },
    /// The media agent restarted or was shut down with the attempt open (F-16).
    Interrupted {
        /// The numbers so far.
        counters: Counters,
        /// Why.
        reason: String,
        /// What it could not go on with; none: it goes on in another attempt.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Interruption>,
    },
    /// It is over.
    Ended {
        /// 0, 1, or why it failed.
        code: StatusCode,
        /// The cause of a failure.
        text: String,
        /// The numbers of the whole attempt.
        counters: Counters,
        /// Whether and how it was stopped.
        stopped: Option<Stopped>,
        /// What about storage failed; none: nothing did, or a media agent that does not say it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        storage: Option<StorageFault>,
    },
    /// It made room as it was told: its job goes on in another (C-08b). From cluster version 9 on.
    MadeRoom {
        /// The numbers so far.
        counters: Counters,
        /// Why.
        reason: String,
    },
}
