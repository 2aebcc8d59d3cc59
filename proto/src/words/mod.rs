//! The words of SPEC section 1 and 2 as types, one word one meaning.
//!
//! Everything here is plain data with parsing and naming; decisions about it live in `primary/core`.
//! Serialised names are part of the on-disk format of the primaries: add, never rename.

mod attempt_id;
mod code;
mod ids;
mod item;
mod job;
pub mod limits;
mod numbers;
mod policy;
mod rule;
mod schedule;
mod storage;
mod time;
mod version;

pub use attempt_id::{AttemptId, InvalidKey, InvalidNonce, JobKey, JobNonce};
pub use code::{CODES, CodeEntry, StatusCode};
pub use ids::{
    AgentName, Attempt, InvalidName, JobId, JournalId, PolicyName, PoolName, RequestId, SnapshotId, StartId,
    StorageUnitName, TreeId,
};
pub use item::{Exception, ItemNumber, ItemOutcome, MAX_EXCEPTIONS};
pub use job::{
    AgentAdmin, AgentKind, AgentState, CompletionStatus, IllegalTransition, Interruption, JobEvent, JobKind,
    JobState, SelectionMethod, Severity, Stopped, Timing,
};
pub use numbers::Counters;
pub use policy::{
    CancelFrom, CheckpointRule, InvalidPolicy, Limits, Overwrite, Policy, PolicyType, Retention, RetryRule,
    Shape,
};
pub use rule::{
    Covers, Disposition, ErrorCategory, InvalidRule, InvalidRuleName, MAX_RULE_CODES, MAX_RULES, RETRIES,
    RETRY_INTERVALS, Rule, RuleName,
};
pub use schedule::{Schedule, WindowEnd};
pub use storage::{StorageFault, UnitState};
pub use time::{Seconds, Timestamp};
pub use version::{Version, are_compatible};

/// An enum whose values have one lower-case word each, as SPEC and CLI.md spell them.
macro_rules! word_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$vmeta])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The word of SPEC and CLI.md.
            pub const fn word(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }

            /// The value a word stands for.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some($name::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }
    };
}
pub(crate) use word_enum;
