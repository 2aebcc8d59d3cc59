//! Error-handling rules by name. A built-in one has a row only if somebody switched it.

use outlast_proto::words::Rule;
use serde::{Deserialize, Serialize};

/// What the state has of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuleRow {
    /// One that somebody made: the whole rule.
    Custom(Rule),
    /// One that came with the program.
    BuiltIn {
        /// Whether it counts.
        enabled: bool,
    },
}
