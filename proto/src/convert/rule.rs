//! Error-handling rules to and from their message. What the message leaves out gets the defaults of `Rule::with_defaults`.

use std::collections::BTreeSet;

use crate::v1;
use crate::words::{
    Covers, Disposition, ErrorCategory, InvalidRule, MAX_RULE_CODES, Rule, Seconds, StatusCode,
};

impl From<&Rule> for v1::Rule {
    fn from(rule: &Rule) -> Self {
        let (codes, category) = match &rule.covers {
            Covers::Codes(codes) => (numbers(codes), String::new()),
            Covers::Category(category) => (Vec::new(), category.word().to_owned()),
        };
        Self {
            name: rule.name.to_string(),
            codes,
            category,
            enabled: Some(rule.enabled),
            retries: Some(rule.retries),
            interval_seconds: Some(rule.interval.0),
            then: rule.then.word().to_owned(),
        }
    }
}

impl From<&Rule> for v1::RuleView {
    fn from(rule: &Rule) -> Self {
        Self {
            rule: Some(v1::Rule::from(rule)),
            builtin: false,
            codes: numbers(&rule.covers.codes()),
        }
    }
}

fn numbers(codes: &BTreeSet<StatusCode>) -> Vec<u32> {
    codes.iter().map(|code| code.0.into()).collect()
}

impl TryFrom<v1::Rule> for Rule {
    type Error = InvalidRule;

    fn try_from(message: v1::Rule) -> Result<Self, InvalidRule> {
        let wrong = |field: &str, reason: String| InvalidRule {
            rule: message.name.chars().take(80).collect(),
            field: field.to_owned(),
            reason,
        };
        let name = message.name.parse();
        let name = name.map_err(|error| wrong("name", format!("{error}")))?;
        let covers = match (message.codes.as_slice(), message.category.as_str()) {
            ([], "") => {
                let reason = "say after which errors: codes = [..], or category = \"..\"";
                return Err(wrong("codes", reason.to_owned()));
            }
            ([], word) => Covers::Category(ErrorCategory::from_word(word).ok_or_else(|| {
                wrong(
                    "category",
                    format!(
                        "there is no category {word:?}; there are {}",
                        words_of(ErrorCategory::ALL)
                    ),
                )
            })?),
            (numbers, "") => Covers::Codes(codes_of(numbers).map_err(|reason| wrong("codes", reason))?),
            _ => {
                let reason = "a rule has codes or a category, not both";
                return Err(wrong("category", reason.to_owned()));
            }
        };
        let mut rule = Rule::with_defaults(name, covers);
        rule.enabled = message.enabled.unwrap_or(rule.enabled);
        rule.retries = message.retries.unwrap_or(rule.retries);
        rule.interval = message.interval_seconds.map_or(rule.interval, Seconds);
        if !message.then.is_empty() {
            let word = message.then.as_str();
            rule.then = Disposition::from_word(word).ok_or_else(|| {
                wrong(
                    "then",
                    format!("{word:?} is not known; there are {}", words_of(Disposition::ALL)),
                )
            })?;
        }
        Ok(rule)
    }
}

/// Counted as they are given: whoever names a code twice has meant another one.
fn codes_of(numbers: &[u32]) -> Result<BTreeSet<StatusCode>, String> {
    if numbers.len() > MAX_RULE_CODES {
        return Err(format!(
            "a rule has 1 to {MAX_RULE_CODES} codes, not {}",
            numbers.len()
        ));
    }
    let mut codes = BTreeSet::new();
    for number in numbers {
        let code = u16::try_from(*number).ok().map(StatusCode);
        let code = code.filter(|code| code.entry().is_some());
        let code = code.ok_or_else(|| format!("there is no status code {number}"))?;
        if !codes.insert(code) {
            return Err(format!("{code} is named twice"));
        }
    }
    Ok(codes)
}

fn words_of<W: ToString>(all: &[W]) -> String {
    let words: Vec<_> = all.iter().map(ToString::to_string).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use crate::v1;
    use crate::words::{Disposition, Rule, Seconds};

    #[test]
    fn e01_a_message_becomes_a_rule_or_a_sentence() {
        type Change = fn(&mut v1::Rule);
        let table: [(Change, &str); 13] = [
            (|_| {}, ""),
            (|r| (r.codes, r.category) = (vec![], "network".into()), ""),
            (
                |r| r.codes = vec![],
                "codes: say after which errors: codes = [..], or category = \"..\"",
            ),
            (
                |r| r.category = "job".into(),
                "category: a rule has codes or a category, not both",
            ),
            (
                |r| (r.codes, r.category) = (vec![], "jobs".into()),
                "category: there is no category \"jobs\"; there are network, storage, client, security, job",
            ),
            (
                |r| r.then = "delete".into(),
                "then: \"delete\" is not known; there are hold, reschedule",
            ),
            (
                |r| r.then = "Hold".into(),
                "then: \"Hold\" is not known; there are hold, reschedule",
            ),
            (|r| r.codes = vec![40, 41, 40], "codes: 40 is named twice"),
            (|r| r.codes = vec![7], "codes: there is no status code 7"),
            (
                |r| r.codes = vec![65536 + 40],
                "codes: there is no status code 65576",
            ),
            (
                |r| r.codes = vec![40; 29],
                "codes: a rule has 1 to 28 codes, not 29",
            ),
            (
                |r| r.name = String::new(),
                "name: rule \"\" is not a usable name: use 1 to 63 of letters, digits, '.', '_' and '-', in words with one space between them",
            ),
            (
                |r| r.retries = Some(u32::MAX),
                "retries: is 0 to 100, not 4294967295",
            ),
        ];
        for (change, expected) in table {
            let mut message = v1::Rule {
                name: "b".into(),
                codes: vec![40],
                ..Default::default()
            };
            change(&mut message);
            let name = message.name.clone();
            let rule = Rule::try_from(message).and_then(|rule| rule.validate().map(|()| rule));
            let found = rule.as_ref().err().map_or_else(String::new, ToString::to_string);
            let expected = match expected {
                "" => String::new(),
                text => format!("rule \"{name}\": {text}"),
            };
            assert_eq!(found, expected);
            if let Ok(rule) = rule {
                let says = (rule.enabled, rule.retries, rule.interval, rule.then);
                assert_eq!(
                    says,
                    (true, 2, Seconds(300), Disposition::Hold),
                    "what is left out"
                );
                assert_eq!(Rule::try_from(v1::Rule::from(&rule)), Ok(rule));
            }
        }
    }
}
