//! Error-handling rules as a TOML file (CLI.md "A rule file"): read and checked.
//!
//! Defaults come from `words::Rule::with_defaults`, judgement from the conversion of the API's message and `words::Rule::validate`. Whether
//! two rules claim one code is the primary's to say: it knows those of before. Called by `rule apply`.

use outlast_kit::config::{ConfigError, parse_toml};
use outlast_proto::v1;
use outlast_proto::words::{Disposition, ErrorCategory, InvalidRule, Rule, RuleName};
use serde::Deserialize;

use crate::policy_file::values::Period;

/// A rule file that cannot be accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RuleFileError {
    #[error("cannot read {file}: {source}")]
    Unreadable { file: String, source: std::io::Error },
    #[error(transparent)]
    Toml(#[from] ConfigError),
    #[error("{file}: there is no rule in it; each begins with [[rule]]")]
    Empty { file: String },
    #[error("{file}: {reason}")]
    Invalid { file: String, reason: InvalidRule },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileKeys {
    #[serde(default)]
    rule: Vec<RuleKeys>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleKeys {
    name: RuleName,
    codes: Option<Vec<u32>>,
    category: Option<ErrorCategory>,
    enabled: Option<bool>,
    retries: Option<u32>,
    interval: Option<Period>,
    then: Option<Disposition>,
}

impl From<RuleKeys> for v1::Rule {
    fn from(keys: RuleKeys) -> Self {
        let word = |category: ErrorCategory| category.word().to_owned();
        Self {
            name: keys.name.to_string(),
            codes: keys.codes.unwrap_or_default(),
            category: keys.category.map(word).unwrap_or_default(),
            enabled: keys.enabled,
            retries: keys.retries,
            interval_seconds: keys.interval.map(|period| period.0.0),
            then: keys.then.map(|then| then.word().to_owned()).unwrap_or_default(),
        }
    }
}

/// Reads and checks the rules; `file` is what errors call it.
pub(crate) fn parse(file: &str, text: &str) -> Result<Vec<Rule>, RuleFileError> {
    let keys: FileKeys = parse_toml(file, text)?;
    if keys.rule.is_empty() {
        return Err(RuleFileError::Empty {
            file: file.to_owned(),
        });
    }
    let judged = |keys: RuleKeys| {
        let rule = Rule::try_from(v1::Rule::from(keys))?;
        rule.validate()?;
        Ok(rule)
    };
    let rules = keys.rule.into_iter().map(judged);
    rules
        .collect::<Result<_, _>>()
        .map_err(|reason| RuleFileError::Invalid {
            file: file.to_owned(),
            reason,
        })
}

#[cfg(test)]
mod tests {
    use outlast_proto::words::{Covers, Disposition, ErrorCategory, Seconds};

    use super::parse;

    #[test]
    fn a_full_file_and_what_a_short_one_means() {
        let full = r#"
            [[rule]]
            name = "network"
            codes = [58, 40, 41]
            enabled = false
            retries = 3
            interval = "1m 30s"
            then = "reschedule"

            [[rule]]
            name = "Storage of mine"
            category = "storage"
        "#;
        let rules = parse("rules.toml", full).unwrap();
        let [network, storage] = rules.as_slice() else {
            panic!("{rules:?}")
        };
        assert_eq!(network.covers.to_string(), "40, 41, 58");
        assert_eq!(
            (network.enabled, network.retries, network.interval, network.then),
            (false, 3, Seconds(90), Disposition::Reschedule)
        );
        assert_eq!(storage.covers, Covers::Category(ErrorCategory::Storage));
        assert_eq!(
            (storage.enabled, storage.retries, storage.interval, storage.then),
            (true, 2, Seconds(300), Disposition::Hold)
        );
    }

    #[test]
    fn e01_what_is_wrong_is_named_with_its_file() {
        let rule = |lines: &str| format!("[[rule]]\nname = \"b\"\n{lines}\n");
        for (text, expected) in [
            (
                String::new(),
                "r.toml: there is no rule in it; each begins with [[rule]]",
            ),
            (
                "[[rules]]\n".into(),
                "r.toml line 1: unknown key \"rules\"; did you mean \"rule\"?",
            ),
            (
                rule("codes = [40]\nretires = 2"),
                "r.toml line 4: unknown key \"retires\"; did you mean \"retries\"?",
            ),
            (
                "[[rule]]\ncodes = [40]\n".into(),
                "r.toml line 1: the key \"rule.name\" is missing",
            ),
            (
                rule("codes = [40]\nthen = \"wait\""),
                "r.toml line 4: \"rule.then\": \"wait\" is none of hold, reschedule",
            ),
            (
                rule("category = \"disk\""),
                "r.toml line 3: \"rule.category\": \"disk\" is none of network, storage, client, security, job",
            ),
            (
                rule("codes = [40]\ninterval = 5"),
                "r.toml line 4: \"rule.interval\": expected a duration such as \"15m\", found 5",
            ),
            (
                rule("codes = [7]"),
                "r.toml: rule \"b\": codes: there is no status code 7",
            ),
            (
                rule("codes = [40]\ncategory = \"job\""),
                "r.toml: rule \"b\": category: a rule has codes or a category, not both",
            ),
            (
                rule(""),
                "r.toml: rule \"b\": codes: say after which errors: codes = [..], or category = \"..\"",
            ),
            (
                rule("codes = [40]\ninterval = \"8d\""),
                "r.toml: rule \"b\": interval: is 1s to 7d, not 8d",
            ),
            (
                rule("codes = [40]\nretries = 101"),
                "r.toml: rule \"b\": retries: is 0 to 100, not 101",
            ),
        ] {
            let found = parse("r.toml", &text).unwrap_err().to_string();
            assert_eq!(found, expected, "{text}");
        }
    }

    /// The documentation names each code where the table of codes has it.
    #[test]
    fn e02_the_page_on_rules_is_true() {
        let page = include_str!("../docs/rules.md");
        for category in ErrorCategory::ALL {
            let line = format!("| {category} | {} |", Covers::Codes(category.codes().collect()));
            assert!(page.contains(&line), "{line}");
        }
        let rules = parse("deploy/rules.toml", include_str!("../deploy/rules.toml")).unwrap();
        assert_eq!(rules.len(), 2);
    }
}
