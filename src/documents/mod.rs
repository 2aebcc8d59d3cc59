//! The JSON documents of CLI.md as types, made from the API's messages: a field that is not known is null, not absent.
//!
//! Nothing is fetched or printed here. The commands print these as JSON or make tables of them.

mod agent;
mod cluster;
mod dry_run;
mod history;
mod job;
mod policy;
mod pool;
mod restore_point;
mod rule;
mod storage;
mod threshold;

pub(crate) use agent::{AgentDocument, LeavingDocument, RemovedDocument};
pub(crate) use cluster::{
    AcknowledgedDocument, AlarmDocument, ClusterDocument, InitDocument, MemberDocument, NodeDocument,
    ReconcilerDocument, SettingsDocument,
};
pub(crate) use dry_run::{EntryDocument, TestedItemDocument};
pub(crate) use history::{ErrorOfHistory, HistoryDocument};
pub(crate) use job::{DetailDocument, JobDocument, ProgressDocument, RestoreOfJob, SubmitterDocument};
pub(crate) use policy::{AppliedDocument, DeletedDocument, PolicyDocument};
pub(crate) use pool::PoolDocument;
pub(crate) use restore_point::{FileDocument, RestorePointDocument};
pub(crate) use rule::{AppliedRulesDocument, RuleDocument};
pub(crate) use storage::{CheckDocument, StorageDocument};
pub(crate) use threshold::{ThresholdDocument, ThresholdsDocument};

#[cfg(test)]
mod tests;
