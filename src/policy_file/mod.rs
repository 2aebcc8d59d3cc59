//! A policy as a TOML file (CLI.md "A policy"): read, checked, and written back.
//!
//! Defaults come from `words::Policy::with_defaults`, judgement from `words::Policy::validate`; neither is repeated here.
//! Called by `policy apply` and `policy show`.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod keys;
pub(crate) mod values;

use outlast_kit::config::{ConfigError, parse_toml};
use outlast_patterns::{check, item_path};
use outlast_proto::v1;
use outlast_proto::words::{InvalidPolicy, Policy, PolicyType};

use keys::PolicyKeys;

/// A policy file that cannot be accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyFileError {
    #[error("cannot read {file}: {source}")]
    Unreadable { file: String, source: std::io::Error },
    #[error(transparent)]
    Toml(#[from] ConfigError),
    #[error(
        "{file}: \"type\": there is no policy type \"{given}\"; there are {}",
        type_words()
    )]
    UnknownType { file: String, given: String },
    #[error("{file}: \"{}\": {}", reason.field, reason.reason)]
    Invalid { file: String, reason: InvalidPolicy },
}

impl PolicyFileError {
    /// Whether the file is well-formed and asks for something this version does not do (exit 5).
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            PolicyFileError::UnknownType { .. } => true,
            PolicyFileError::Invalid { reason, .. } => reason.field == "type",
            PolicyFileError::Unreadable { .. } | PolicyFileError::Toml(_) => false,
        }
    }
}

fn type_words() -> String {
    PolicyType::ALL
        .iter()
        .map(|known| known.word())
        .collect::<Vec<_>>()
        .join(", ")
}

/// Reads and checks a policy; `file` is what errors call it.
pub(crate) fn parse(file: &str, text: &str) -> Result<Policy, PolicyFileError> {
    let keys: PolicyKeys = parse_toml(file, text)?;
    let policy_type = PolicyType::from_word(&keys.r#type).ok_or_else(|| PolicyFileError::UnknownType {
        file: file.to_owned(),
        given: keys.r#type.clone(),
    })?;
    let mut policy = keys.into_policy(policy_type);
    judge(&mut policy).map_err(|reason| PolicyFileError::Invalid {
        file: file.to_owned(),
        reason,
    })?;
    Ok(policy)
}

/// Reads the items, and judges the rest. Patterns are judged here and at the API, not by `validate`: policies of before stay usable.
fn judge(policy: &mut Policy) -> Result<(), InvalidPolicy> {
    let name = policy.name.clone();
    let wrong = |field, reason| InvalidPolicy {
        policy: name.clone(),
        field,
        reason,
    };
    for item in &mut policy.items {
        *item = item_path(item).map_err(|error| wrong("items", error.to_string()))?;
    }
    policy.validate()?;
    check(&policy.exclude, &policy.items).map_err(|reason| wrong("exclude", reason))
}

/// The policy as a file that, applied, gives this policy.
pub(crate) fn to_text(policy: &v1::Policy) -> String {
    toml::to_string(&PolicyKeys::of_message(policy)).expect("the keys of a policy are all TOML has words for")
}

#[cfg(test)]
mod tests;
