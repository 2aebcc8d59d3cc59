//! The rows of the replicated tables. Stored by name: fields may be added with a default, never renamed.

mod agent;
mod alarm;
mod cluster;
mod job;
mod member;
mod policy;
mod record;

pub use agent::{Agent, JournalCursor, MediaRole, Pool, StorageUnit};
pub use alarm::{Alarm, Mark, Recollection, Reign};
pub use cluster::{Cluster, Settings};
pub use job::{ItemRow, Job, JobTask, Running, RunningItem};
pub use member::{Member, MemberFacts};
pub use policy::PolicyRow;
pub use record::{Detail, History, HistoryItem, RestorePoint};
