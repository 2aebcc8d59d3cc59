//! What goes through the Raft log: entries, each with one command. Commands are imperative; `apply` may refuse them.

use outlast_proto::words::{
    AgentAdmin, AgentName, AgentState, Attempt, Counters, JobId, JobNonce, JournalId, Overwrite, Policy,
    PolicyName, PoolName, RequestId, Rule, RuleName, Seconds, SelectionMethod, SnapshotId, StorageUnitName,
    Timestamp, Timing, UnitState,
};
use serde::{Deserialize, Serialize};

use crate::event::JournalEvent;
use crate::rows::{Drained, Recollection};
use crate::thresholds::Thresholds;

mod hello;

pub(crate) use hello::is_none;
pub use hello::{AgentHello, MediaHello};

/// One entry of the Raft log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The leader's wall time; `apply` never lets time go back.
    pub at: Timestamp,
    /// The primary that proposed it.
    pub by: String,
    /// Of the submission, if it came from outside: a known one is answered as the first time.
    pub request_id: Option<RequestId>,
    /// Who asked for it, if somebody did and is written down with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<Asker>,
    /// What to do.
    pub command: Command,
}

/// Who asks: the subject of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    /// As certificates spell it.
    pub kind: String,
    /// The common name.
    pub name: String,
}

impl Entry {
    /// As it is stored in the log: self-describing, so that fields can be added.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        rmp_serde::to_vec_named(self).expect("entries are plain data and writing to memory cannot fail")
    }

    /// Reads a stored entry.
    ///
    /// # Errors
    /// What is wrong with it: damage, or a command this version does not know. The node must stop then.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        rmp_serde::from_slice(bytes).map_err(|error| error.to_string())
    }
}

/// What a restore is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreRequest {
    /// From which restore point.
    pub restore_point: SnapshotId,
    /// Which paths; empty: all.
    pub paths: Vec<String>,
    /// The folder on the client.
    pub to: String,
    /// On which client; none: the one it came from.
    pub client: Option<AgentName>,
    /// What happens to files that are there.
    pub overwrite: Overwrite,
}

/// Cluster-wide settings to change; those left out stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsChange {
    ///
    pub resilience: Option<bool>,
    ///
    pub disruption_grace: Option<Seconds>,
    /// F-10.
    pub reconnect_for: Option<Seconds>,
    /// Patience of elections.
    pub timing: Option<Timing>,
    /// C-01, for pools that say nothing of their own. From cluster version 9 on.
    #[serde(default, skip_serializing_if = "Thresholds::is_none")]
    pub thresholds: Thresholds,
}

/// Settings of a pool to change; those left out stay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolChange {
    /// F-02.
    pub method: Option<SelectionMethod>,
    /// F-01.
    pub failover: Option<bool>,
    /// C-04.
    pub failover_after: Option<Seconds>,
    /// C-02.
    pub stalled_after: Option<Seconds>,
    /// C-03.
    pub no_communication_after: Option<Seconds>,
    /// Its media agents in another order; none: as it is. From cluster version 8 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Vec<AgentName>>,
}

/// How error-handling rules change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuleChange {
    /// These are made, or become what is said here; the others stay.
    Apply {
        /// Whole rules.
        rules: Vec<Rule>,
    },
    /// One counts from now on, or counts no more.
    Switch {
        /// Which.
        name: RuleName,
        /// Whether it counts.
        enabled: bool,
    },
    /// One that somebody made is deleted.
    Delete {
        /// Which.
        name: RuleName,
    },
}

impl PoolChange {
    /// Those of C-01; from cluster version 9 on [`crate::thresholds::INHERIT`] goes back to the cluster's.
    #[must_use]
    pub const fn thresholds(&self) -> Thresholds {
        Thresholds {
            failover_after: self.failover_after,
            stalled_after: self.stalled_after,
            no_communication_after: self.no_communication_after,
        }
    }
}

/// Everything that can change the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// By the first leader of a group of before there was [`Command::FoundCluster`]: identity and key of the cluster. Ignored once done.
    EstablishCluster {
        /// A random id.
        cluster_id: String,
        /// Ed25519 key pair (PKCS#8) that signs tickets.
        ticket_key: Vec<u8>,
        /// Patience of elections, as the founding node was configured.
        #[serde(default)]
        timing: Timing,
    },
    /// As [`Command::EstablishCluster`], by a program that speaks a newer cluster version: that is in force from the start.
    FoundCluster {
        /// A random id.
        cluster_id: String,
        /// Ed25519 key pair (PKCS#8) that signs tickets.
        ticket_key: Vec<u8>,
        /// Patience of elections, as the founding node was configured.
        timing: Timing,
        /// The newest that the founding node speaks. A node that does not speak it stops.
        version: u32,
    },
    /// Gives a number to a node of the primary, once and for all.
    AdmitMember {
        /// The number.
        node_id: u64,
        /// The node's name.
        name: String,
    },
    /// A node has left for good.
    RemoveMember {
        /// Its number.
        node_id: u64,
    },
    /// A node says on which host it runs, and which version it is.
    DescribeMember {
        /// Its number.
        node_id: u64,
        /// Its host.
        host_id: String,
        /// Its program version.
        version: String,
        /// The newest cluster version that it speaks.
        #[serde(default)]
        cluster_version: u32,
    },
    /// From here on `apply` may do what needs this cluster version: all members speak it (DESIGN 3).
    RaiseClusterVersion {
        /// The new one.
        to: u32,
    },
    /// A node begins to lead.
    BeginReign {
        /// Drawn by it.
        reign: u64,
    },
    /// An agent remembers what this group does not have: it was set back (S-12b).
    TakeRecollection {
        /// Who.
        agent: AgentName,
        /// What; the mark's signature was checked.
        remembered: Recollection,
    },
    /// An operator has read an alarm.
    AcknowledgeAlarm {
        /// Which.
        number: u32,
        /// Who.
        by: String,
    },
    /// Changes cluster-wide settings.
    ChangeSettings {
        /// Which, to what.
        change: SettingsChange,
    },
    /// Creates or replaces a policy.
    ApplyPolicy {
        /// The whole policy.
        policy: Policy,
    },
    /// Removes a policy; its jobs and restore points stay (T-11).
    DeletePolicy {
        /// Which.
        name: PolicyName,
    },
    /// An agent opened a session.
    RegisterAgent {
        /// Who and what it is.
        hello: AgentHello,
    },
    /// An agent has gone silent, or was heard again (C-02).
    ChangeAgentState {
        /// Which.
        agent: AgentName,
        /// The state this was decided on.
        from: AgentState,
        /// The new one.
        to: AgentState,
    },
    /// An operator wants this of an agent (C-01). From cluster version 8 on.
    SetAgentAdmin {
        /// Which.
        agent: AgentName,
        /// What.
        admin: AgentAdmin,
    },
    /// An operator asserts that the host of a media agent is gone (C-08a). From cluster version 8 on.
    DeclareDead {
        /// Which.
        agent: AgentName,
    },
    /// Thresholds of one agent alone (C-01). From cluster version 9 on.
    SetAgentThresholds {
        /// Which.
        agent: AgentName,
        /// What, to what.
        change: Thresholds,
    },
    /// Changes settings of a pool.
    ChangePool {
        /// Which.
        name: PoolName,
        /// What, to what.
        change: PoolChange,
    },
    /// Creates backup jobs, one for each client.
    SubmitBackup {
        /// Of which policy.
        policy: PolicyName,
        /// Only this client.
        client: Option<AgentName>,
        /// Compare with nothing.
        full: bool,
        /// Drawn by the leader; the jobs carry it from here on (S-12b).
        #[serde(default)]
        nonce: JobNonce,
    },
    /// Creates a restore job.
    SubmitRestore {
        /// What to restore.
        request: RestoreRequest,
        /// As of a backup.
        #[serde(default)]
        nonce: JobNonce,
    },
    /// Ends a job that is not done (S-05).
    CancelJob {
        /// Which.
        job: JobId,
        /// Who wants it, for the job's details.
        by: String,
    },
    /// Gives a queued job to a media agent, as its next attempt.
    DispatchJob {
        /// Which job.
        job: JobId,
        /// The job's version this was decided on.
        version: u64,
        /// To whom.
        media_agent: AgentName,
    },
    /// The client has the attempt on its disk (F-04a).
    RecordAdmission {
        /// Which job.
        job: JobId,
        /// Which attempt.
        attempt: Attempt,
        /// The job's nonce, as its ticket says.
        #[serde(default)]
        nonce: JobNonce,
    },
    /// The running attempt has no right any more: the job goes on in another (F-04, C-08). From cluster version 8 on.
    SupersedeAttempt {
        /// Which job.
        job: JobId,
        /// The job's version this was decided on.
        version: u64,
        /// Which attempt.
        attempt: Attempt,
        /// Why, for the job's details and the attempt's history.
        why: String,
        /// Its numbers as it last reported them; none: not known.
        last_progress: Option<Counters>,
    },
    /// A media agent has ended and removed what a fence is about (F-04).
    RecordFence {
        /// Who.
        agent: AgentName,
        /// Of which job.
        job: JobId,
        /// That job's nonce.
        nonce: JobNonce,
        /// This attempt and lower ones.
        through: Attempt,
    },
    /// Events of a media agent's journal, in order.
    RecordEvents {
        /// Whose.
        agent: AgentName,
        /// Of which journal.
        journal_id: JournalId,
        /// The events.
        events: Vec<JournalEvent>,
    },
    /// Changes error-handling rules (E-01). From cluster version 9 on.
    ChangeRules {
        /// How.
        change: RuleChange,
    },
    /// Something else is known of a storage unit (F-02, F-19). From cluster version 9 on.
    ChangeUnitState {
        /// Which.
        unit: StorageUnitName,
        /// The state this was decided on.
        from: UnitState,
        /// The new one.
        to: UnitState,
        /// What was found, for a person.
        why: String,
    },
    /// Nothing was heard of the running attempt until its media agent had no communication any more: it ends `recovered` (C-03, S-08).
    /// From cluster version 9 on.
    RecoverAttempt {
        /// Which job.
        job: JobId,
        /// The job's version this was decided on.
        version: u64,
        /// Which attempt.
        attempt: Attempt,
        /// Why, for the job's details and the attempt's history.
        why: String,
        /// Its numbers as it last reported them; none: not known.
        last_progress: Option<Counters>,
    },
    /// An agent belongs to the cluster no more, for good (C-08a). From cluster version 9 on.
    RemoveAgent {
        /// Which.
        agent: AgentName,
        /// Its host is gone: what runs on it goes on elsewhere.
        dead: bool,
        /// Also the last one that reaches its storage unit.
        force: bool,
    },
    /// What becomes of a running attempt whose media agent is drained (C-08b). From cluster version 9 on.
    DecideDrained {
        /// Which job.
        job: JobId,
        /// Which attempt.
        attempt: Attempt,
        /// What.
        drained: Drained,
    },
    /// What became of the client of an attempt that its media agent has ended is decided (F-09, F-18). From cluster version 9 on.
    SettleLoss {
        /// Which job.
        job: JobId,
        /// The job's version this was decided on.
        version: u64,
        /// What the leader knows.
        verdict: LossVerdict,
    },
    /// What a job waited for is here, or it is wanted by a person: it is queued for its next attempt. From cluster version 9 on.
    BeginFollowUp {
        /// Which job.
        job: JobId,
        /// The job's version this was decided on.
        version: u64,
    },
    /// A job has waited for as long as it may: it is done with the status of its last attempt (F-09). From cluster version 9 on.
    EndFollowUp {
        /// Which job.
        job: JobId,
        /// The job's version this was decided on.
        version: u64,
    },
    /// Keeps a job back until it is released (T-07). From cluster version 9 on.
    HoldJob {
        /// Which.
        job: JobId,
        /// Who wants it, for the job's details.
        by: String,
    },
    /// Ends that (E-04). From cluster version 9 on.
    ReleaseJob {
        /// Which.
        job: JobId,
        /// Who wants it.
        by: String,
    },
    /// Begins the next attempt of a job that waits, or is held, now (T-10). From cluster version 9 on.
    ResumeJob {
        /// Which.
        job: JobId,
        /// Who wants it.
        by: String,
    },
    /// A new job that does the same (T-10). From cluster version 9 on.
    RestartJob {
        /// Which is done again.
        job: JobId,
        /// Who wants it.
        by: String,
        /// The new job's.
        nonce: JobNonce,
    },
    /// Snapshots of restore points are gone, or there again (F-15). From cluster version 9 on.
    MarkRestorePoints {
        /// Which; others are passed over.
        ids: Vec<SnapshotId>,
        /// Gone.
        is_lost: bool,
    },
}

/// What the leader knows of the client of an attempt that its media agent could not reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LossVerdict {
    /// It has no session either.
    Away,
    /// It has one, of another process than the attempt's.
    CameBackNew,
    /// It has one: only the two do not reach each other.
    CutOff {
        /// Another media agent of the pool can take the job.
        can_move: bool,
    },
}
