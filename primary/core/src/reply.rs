//! What `apply` answers. A refused command is an ordinary reply.

use outlast_proto::words::{
    AgentName, CompletionStatus, InvalidPolicy, InvalidRule, JobId, JobState, PolicyName, PoolName, RuleName,
    SnapshotId, StorageUnitName, Timestamp,
};
use serde::{Deserialize, Serialize};

/// The answer to one entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Nothing more to say.
    Done,
    /// The policy is in force.
    PolicyApplied {
        /// What changed, a line each; empty: nothing.
        changes: Vec<String>,
        /// Whether it is new.
        created: bool,
        /// Its revision.
        revision: u32,
    },
    /// Jobs were created.
    Submitted {
        /// Their ids.
        jobs: Vec<JobId>,
    },
    /// A media agent was declared dead.
    DeclaredDead {
        /// Whose attempts were superseded by it.
        jobs: Vec<JobId>,
    },
    /// The journal is recorded up to here.
    Recorded {
        /// Last sequence applied.
        acknowledged: u64,
    },
    /// The rules are as they were given.
    RulesApplied {
        /// What changed, a line each; empty: nothing.
        changes: Vec<String>,
    },
    /// Nothing was changed.
    Refused(Refusal),
}

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// No such policy.
    #[error("there is no policy \"{name}\"")]
    NoSuchPolicy {
        /// The name.
        name: PolicyName,
    },
    /// No such pool.
    #[error("there is no pool \"{name}\"; {}", known_pools(.known))]
    NoSuchPool {
        /// The name.
        name: PoolName,
        /// Those there are.
        known: Vec<PoolName>,
    },
    /// No such job.
    #[error("there is no job {job}")]
    NoSuchJob {
        /// The id.
        job: JobId,
    },
    /// The job is over.
    #[error("job {job} is done: {status}")]
    JobDone {
        /// The id.
        job: JobId,
        /// How it ended.
        status: CompletionStatus,
    },
    /// No such agent.
    #[error("there is no client \"{name}\"")]
    NoSuchClient {
        /// The name.
        name: AgentName,
    },
    /// No such agent of any kind.
    #[error("there is no agent \"{name}\"")]
    NoSuchAgent {
        /// The name.
        name: AgentName,
    },
    /// It stores nothing.
    #[error(
        "\"{name}\" is a client agent: nothing runs on it that another one could take over; cancel its jobs instead"
    )]
    NoMediaAgent {
        /// The name.
        name: AgentName,
    },
    /// Something runs on it.
    #[error(
        "jobs run on agent \"{name}\": {}; {}",
        numbers(.jobs),
        if *.can_be_dead {
            "drain it and wait for them, or say --declare-dead if its host is gone: they go on in another attempt"
        } else {
            "wait for them, or cancel them"
        }
    )]
    AgentBusy {
        /// The agent.
        name: AgentName,
        /// Which.
        jobs: Vec<JobId>,
        /// They could go on elsewhere.
        can_be_dead: bool,
    },
    /// Nobody else reaches what it stored.
    #[error(
        "media agent \"{name}\" is the last one that reaches storage unit \"{unit}\": without it nothing there can be restored until another one has come to it (--force removes it all the same)"
    )]
    LastOfUnit {
        /// The agent.
        name: AgentName,
        /// The unit.
        unit: StorageUnitName,
    },
    /// It does not belong to the cluster any more.
    #[error(
        "agent \"{name}\" was removed from this cluster, and its certificate is not welcome any more; an agent that is to take its place needs a certificate of another name"
    )]
    AgentRemoved {
        /// The agent.
        name: AgentName,
    },
    /// Not all members of the group speak the version that it takes.
    #[error("not all primaries run a program that knows this; see outlast cluster status")]
    TooOld,
    /// No such restore point.
    #[error("there is no restore point {id}")]
    NoSuchRestorePoint {
        /// The id.
        id: SnapshotId,
    },
    /// The policy does not name the client.
    #[error("policy \"{policy}\" does not name client \"{client}\"")]
    ClientNotInPolicy {
        /// The policy.
        policy: PolicyName,
        /// The client.
        client: AgentName,
    },
    /// The policy is not acceptable.
    #[error("policy \"{policy}\": {field}: {reason}")]
    InvalidPolicy {
        /// Its name.
        policy: PolicyName,
        /// The key.
        field: String,
        /// Why.
        reason: String,
    },
    /// A field of a request is not acceptable.
    #[error("{field}: {reason}")]
    InvalidRequest {
        /// Which.
        field: String,
        /// Why.
        reason: String,
    },
    /// The name belongs to an agent of the other kind.
    #[error("agent \"{name}\" is registered as another kind of agent; give one of the two another name")]
    NameTaken {
        /// The name.
        name: AgentName,
    },
    /// The storage unit of that name is another repository.
    #[error(
        "storage unit \"{unit}\" is repository {known}, but agent \"{agent}\" reaches repository {found} under that name"
    )]
    OtherRepository {
        /// The unit.
        unit: String,
        /// The agent.
        agent: AgentName,
        /// What the cluster knows.
        known: String,
        /// What the agent found.
        found: String,
    },
    /// The number was another node's, or belongs to one that left.
    #[error(
        "node number {node_id} was given to \"{name}\" and is not used twice; take one that was never used"
    )]
    NodeNumberUsed {
        /// The number.
        node_id: u64,
        /// Whose it was.
        name: String,
    },
    /// A node of this name is a member under another number.
    #[error("\"{name}\" is node {node_id} already; remove it first if it lost its disk")]
    NodeNameUsed {
        /// The name.
        name: String,
        /// Its number.
        node_id: u64,
    },
    /// No such node.
    #[error("there is no node {node_id}")]
    NoSuchNode {
        /// The number.
        node_id: u64,
    },
    /// The job's state does not allow it.
    #[error("job {job} is {state}: it cannot be {what}; {}", possible_now(.possible))]
    NotPossible {
        /// The job.
        job: JobId,
        /// Its state.
        state: JobState,
        /// What was asked for, such as `resumed`.
        what: String,
        /// What can be done instead.
        possible: Vec<String>,
    },
    /// The decision was made on an older state.
    #[error("the job has changed meanwhile")]
    Outdated,
    /// The journal is not the one the cluster follows, or a piece is missing before these events.
    #[error("the journal does not continue where it was acknowledged ({acknowledged})")]
    JournalGap {
        /// Last sequence applied.
        acknowledged: u64,
    },
    /// No such error-handling rule.
    #[error("there is no rule \"{name}\"; see outlast rule list")]
    NoSuchRule {
        /// The name.
        name: RuleName,
    },
    /// It came with the program.
    #[error("rule \"{name}\" is built in and stays; outlast rule disable switches it off")]
    BuiltInRule {
        /// The name.
        name: RuleName,
    },
    /// The rule is not acceptable.
    #[error("rule \"{rule}\": {field}: {reason}")]
    InvalidRule {
        /// Its name.
        rule: String,
        /// The key.
        field: String,
        /// Why.
        reason: String,
    },
    /// Its snapshot is gone (F-15).
    #[error(
        "restore point {id} is lost: its snapshot was found gone from its storage unit at {}; if it is brought back there (a copy of snapshots/{id} and of what it \
         refers to), it can be restored again",
        outlast_proto::convert::rfc3339(*.since)
    )]
    RestorePointLost {
        /// The id.
        id: SnapshotId,
        /// Since when that is known.
        since: Timestamp,
    },
}

impl From<InvalidRule> for Refusal {
    fn from(invalid: InvalidRule) -> Self {
        Refusal::InvalidRule {
            rule: invalid.rule,
            field: invalid.field,
            reason: invalid.reason,
        }
    }
}

impl From<InvalidPolicy> for Refusal {
    fn from(invalid: InvalidPolicy) -> Self {
        Refusal::InvalidPolicy {
            policy: invalid.policy,
            field: invalid.field.to_owned(),
            reason: invalid.reason,
        }
    }
}

fn numbers(jobs: &[JobId]) -> String {
    let shown: Vec<_> = jobs.iter().take(10).map(ToString::to_string).collect();
    let more = jobs.len() - shown.len();
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    shown.join(", ") + &more
}

fn known_pools(known: &[PoolName]) -> String {
    if known.is_empty() {
        return "no media agent has joined yet, and pools come into being with their first media agent"
            .into();
    }
    let names: Vec<_> = known.iter().map(PoolName::as_str).collect();
    format!("the pools are: {}", names.join(", "))
}

fn possible_now(actions: &[String]) -> String {
    if actions.is_empty() {
        return "nothing can be done to it now".into();
    }
    format!("what can be done now: {}", actions.join(", "))
}
