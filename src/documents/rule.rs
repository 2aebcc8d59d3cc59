//! An error-handling rule as `rule list` and `rule show` print it: the keys of a rule file, durations in seconds.

use outlast_proto::v1;
use serde::Serialize;

use crate::wire::text;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct RuleDocument {
    pub(crate) name: String,
    pub(crate) builtin: bool,
    pub(crate) enabled: Option<bool>,
    /// Each code that it counts for, those of its category too.
    pub(crate) codes: Vec<u32>,
    pub(crate) category: Option<String>,
    pub(crate) retries: Option<u32>,
    pub(crate) interval: Option<u64>,
    pub(crate) then: Option<String>,
}

/// What `rule apply` did or, with `--dry-run`, would do.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AppliedRulesDocument {
    /// Their names, as in the file.
    pub(crate) rules: Vec<String>,
    pub(crate) dry_run: bool,
    pub(crate) changes: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

impl From<&v1::RuleView> for RuleDocument {
    fn from(view: &v1::RuleView) -> Self {
        let rule = view.rule.clone().unwrap_or_default();
        Self {
            name: rule.name,
            builtin: view.builtin,
            enabled: rule.enabled,
            codes: view.codes.clone(),
            category: text(&rule.category),
            retries: rule.retries,
            interval: rule.interval_seconds,
            then: text(&rule.then),
        }
    }
}
