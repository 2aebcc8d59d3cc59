//! What follows an attempt of a job that has ended, as the job's row has it (E-05). Who decides it is `apply::follow_up`.

use std::fmt;

use outlast_proto::words::{JobState, RuleName, Timestamp};
use serde::{Deserialize, Serialize};

/// What follows the last attempt, and what has followed those before. From cluster version 9 on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FollowUp {
    /// When rules began the job again, those that still count (F-09, E-01).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tries: Vec<Timestamp>,
    /// How often rules began it again since it was submitted, or a person last let it go on: what the retries of a rule are counted by. Those of
    /// before that are too old for F-09 count too, or a rule with long intervals would begin a job again for ever.
    #[serde(skip_serializing_if = "is_zero")]
    pub begun: u32,
    /// How often it went on in another attempt since it was submitted, or released (F-04).
    #[serde(skip_serializing_if = "is_zero")]
    pub failovers: u32,
    /// How often the Recovered Jobs rule began it again (C-06).
    #[serde(skip_serializing_if = "is_zero")]
    pub recoveries: u32,
    /// What it waits for: of a job that is incomplete or waits for a retry, or was when it was held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits: Option<Waits>,
    /// Of a held one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
}

/// A job that is to begin again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// By which rule.
    pub rule: FollowRule,
    /// Which of its tries this will be, and how many there are.
    pub number: (u32, u32),
    /// When it begins; none: no try is left in the time that counts, a person may begin it.
    pub due: Option<Timestamp>,
    /// When it is over otherwise, with the status of its last attempt.
    pub until: Timestamp,
}

impl Waits {
    /// When there is next something to do about it.
    #[must_use]
    pub fn next(&self) -> Timestamp {
        self.due.map_or(self.until, |due| due.min(self.until))
    }
}

/// A job that is kept back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Since when.
    pub since: Timestamp,
    /// By whom: a person, or a rule.
    pub by: String,
    /// Why, if it was not a person's wish.
    pub why: String,
    /// What it is again when it is released.
    pub was: JobState,
}

/// By what a job begins again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FollowRule {
    /// F-09: its client was lost.
    ClientLost,
    /// C-06: its media agent was not heard of any more.
    Recovered,
    /// E-01: a rule of this name.
    Named(RuleName),
}

impl fmt::Display for FollowRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FollowRule::ClientLost => f.write_str("rule Client Loss (F-09)"),
            FollowRule::Recovered => f.write_str("rule Recovered Jobs"),
            FollowRule::Named(name) => write!(f, "rule {name}"),
        }
    }
}

impl FollowUp {
    /// A person lets the job go on: whatever has counted begins anew, but for what F-09 allows in so much time.
    pub const fn begin_anew(&mut self) {
        (self.begun, self.failovers, self.recoveries) = (0, 0, 0);
    }

    /// Nothing has followed anything.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}
