//! The rows of the replicated tables. Stored by name: fields may be added with a default, never renamed.

mod agent;
mod alarm;
mod attempt;
mod cluster;
mod follow_up;
mod item;
mod job;
mod member;
mod policy;
mod record;
mod removed;
mod rule;
mod storage;

pub use agent::{Agent, JournalCursor, MediaRole, Pool};
pub use alarm::{Alarm, Mark, Recollection, Reign};
pub use attempt::{Checkpoint, Drained, Fence, Loss, OpenAttempt, Phase};
pub use cluster::{Cluster, Settings};
pub use follow_up::{FollowRule, FollowUp, Hold, Waits};
pub use item::{ItemCheckpoint, ItemRow, Made};
pub use job::{Job, JobTask};
pub use member::{Member, MemberFacts};
pub use policy::PolicyRow;
pub use record::{Detail, History, HistoryItem, RestorePoint};
pub use removed::RemovedAgent;
pub use rule::RuleRow;
pub use storage::StorageUnit;
