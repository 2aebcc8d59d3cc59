//! An error-handling rule: what follows an attempt that ended with an error (E-01; CLI.md "A rule file").
//!
//! Plain data, and what can be judged of one rule alone. Which rules there are, and which one counts, is `primary/core`'s.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{CODES, Seconds, StatusCode, word_enum};

word_enum!(
    /// A kind of errors. Each has a default rule (E-02).
    ErrorCategory {
        /// Connections that break, and hosts that do not answer.
        Network = "network",
        /// Storage units.
        Storage = "storage",
        /// The protected host and its agent.
        Client = "client",
        /// Identity and permissions.
        Security = "security",
        /// What the job was told to do, or how it went.
        Job = "job",
    }
);

impl ErrorCategory {
    /// The codes of this kind, in rising order.
    pub fn codes(self) -> impl Iterator<Item = StatusCode> {
        let of_this = move |category| category == Some(self);
        let entries = CODES.iter().filter(move |entry| of_this(entry.category));
        entries.map(|entry| entry.code)
    }
}

word_enum!(
    /// What becomes of a job when a rule's retries are used up.
    Disposition {
        /// It waits for an operator, who releases it (E-04).
        Hold = "hold",
        /// It is over; its policy's next due run is the next try.
        Reschedule = "reschedule",
    }
);

/// How often a job may be tried again by a rule.
pub const RETRIES: RangeInclusive<u32> = 0..=100;
/// How long a rule may wait before each try.
pub const RETRY_INTERVALS: RangeInclusive<Seconds> = Seconds(1)..=Seconds(7 * 24 * 3600);
/// So many codes may be named in one rule (E-01).
pub const MAX_RULE_CODES: usize = 28;
/// So many rules may be given at once.
pub const MAX_RULES: usize = 1000;

/// The name of a rule. Built-in ones have names of words (`Recovered Jobs`), so those that people give may have them too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RuleName(String);

/// A text that cannot be the name of a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "rule {name:?} is not a usable name: use 1 to 63 of letters, digits, '.', '_' and '-', in words with one space between them"
)]
pub struct InvalidRuleName {
    /// The text that was given, shortened.
    pub name: String,
}

impl RuleName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RuleName {
    type Err = InvalidRuleName;

    fn from_str(text: &str) -> Result<Self, InvalidRuleName> {
        let is_word = |word: &str| {
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
            word.bytes().all(is_plain) && word.starts_with(|c: char| c.is_ascii_alphanumeric())
        };
        if text.len() <= 63 && text.split(' ').all(is_word) {
            return Ok(Self(text.to_owned()));
        }
        let name = text.chars().take(80).collect();
        Err(InvalidRuleName { name })
    }
}

impl TryFrom<String> for RuleName {
    type Error = InvalidRuleName;
    fn try_from(text: String) -> Result<Self, InvalidRuleName> {
        text.parse()
    }
}

impl From<RuleName> for String {
    fn from(name: RuleName) -> String {
        name.0
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// After which errors a rule counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Covers {
    /// Those with one of these codes.
    Codes(BTreeSet<StatusCode>),
    /// Those of this kind.
    Category(ErrorCategory),
}

impl Covers {
    /// Each code that it counts for.
    #[must_use]
    pub fn codes(&self) -> BTreeSet<StatusCode> {
        match self {
            Covers::Codes(codes) => codes.clone(),
            Covers::Category(category) => category.codes().collect(),
        }
    }

    /// Whether it counts for this code.
    #[must_use]
    pub fn has(&self, code: StatusCode) -> bool {
        match self {
            Covers::Codes(codes) => codes.contains(&code),
            Covers::Category(category) => code.category() == Some(*category),
        }
    }
}

/// As rule files write it: `40, 41, 58`, or `category network`.
impl fmt::Display for Covers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Covers::Codes(codes) => {
                let codes: Vec<_> = codes.iter().map(ToString::to_string).collect();
                f.write_str(&codes.join(", "))
            }
            Covers::Category(category) => write!(f, "category {category}"),
        }
    }
}

/// What follows an attempt that ended with one of some errors (E-01).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its name.
    pub name: RuleName,
    /// After which errors.
    pub covers: Covers,
    /// Off: kept, and not acted on.
    pub enabled: bool,
    /// How often the job is tried again; 0: what comes then comes at once.
    pub retries: u32,
    /// How long after the end of one attempt the next one begins.
    pub interval: Seconds,
    /// What becomes of the job when its retries are used up.
    pub then: Disposition,
}

/// A rule that cannot be accepted, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("rule \"{rule}\": {field}: {reason}")]
pub struct InvalidRule {
    /// Its name, as it was given.
    pub rule: String,
    /// The key of the rule file.
    pub field: String,
    /// What is wrong, for a person.
    pub reason: String,
}

impl Rule {
    /// What a file that says no more would mean.
    #[must_use]
    pub const fn with_defaults(name: RuleName, covers: Covers) -> Self {
        Self {
            name,
            covers,
            enabled: true,
            retries: 2,
            interval: Seconds(5 * 60),
            then: Disposition::Hold,
        }
    }

    /// Checks what can be judged without other rules: the same for the rule file, the API and the brain.
    ///
    /// # Errors
    /// [`InvalidRule`] naming the first key that is wrong.
    pub fn validate(&self) -> Result<(), InvalidRule> {
        let wrong = |field: &str, reason: String| {
            Err(InvalidRule {
                rule: self.name.to_string(),
                field: field.to_owned(),
                reason,
            })
        };
        if let Covers::Codes(codes) = &self.covers {
            if !(1..=MAX_RULE_CODES).contains(&codes.len()) {
                let reason = format!("a rule has 1 to {MAX_RULE_CODES} codes, not {}", codes.len());
                return wrong("codes", reason);
            }
            if let Some(code) = codes.iter().find(|code| code.entry().is_none()) {
                return wrong("codes", format!("there is no status code {code}"));
            }
        }
        if !RETRIES.contains(&self.retries) {
            let (least, most) = (RETRIES.start(), RETRIES.end());
            return wrong("retries", format!("is {least} to {most}, not {}", self.retries));
        }
        if !RETRY_INTERVALS.contains(&self.interval) {
            let (least, most) = (RETRY_INTERVALS.start(), RETRY_INTERVALS.end());
            return wrong("interval", format!("is {least} to {most}, not {}", self.interval));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Covers, ErrorCategory, Rule, RuleName};
    use crate::words::{CODES, Seconds, StatusCode};

    #[test]
    fn e01_what_is_wrong_with_a_rule_is_named() {
        type Change = fn(&mut Rule);
        let table: [(Change, Option<&str>); 12] = [
            (|_| {}, None),
            (|r| r.covers = Covers::Category(ErrorCategory::Job), None),
            (
                |r| r.covers = codes([]),
                Some("codes: a rule has 1 to 28 codes, not 0"),
            ),
            (
                |r| r.covers = Covers::Codes((0..29).map(StatusCode).collect()),
                Some("codes: a rule has 1 to 28 codes, not 29"),
            ),
            (
                |r| r.covers = codes([40, 7]),
                Some("codes: there is no status code 7"),
            ),
            (|r| r.retries = 0, None),
            (|r| r.retries = 100, None),
            (|r| r.retries = 101, Some("retries: is 0 to 100, not 101")),
            (|r| r.interval = Seconds(0), Some("interval: is 1s to 7d, not 0s")),
            (|r| r.interval = Seconds(1), None),
            (|r| r.interval = Seconds(7 * 86_400), None),
            (
                |r| r.interval = Seconds(7 * 86_400 + 1),
                Some("interval: is 1s to 7d, not 7d 1s"),
            ),
        ];
        for (at, (change, expected)) in table.into_iter().enumerate() {
            let mut rule = Rule::with_defaults("network".parse().expect("a name"), codes([40]));
            change(&mut rule);
            let found = rule.validate().err().map(|error| error.to_string());
            let expected = expected.map(|text| format!("rule \"network\": {text}"));
            assert_eq!(found, expected, "row {at}");
        }
    }

    fn codes<const N: usize>(codes: [u16; N]) -> Covers {
        Covers::Codes(codes.into_iter().map(StatusCode).collect())
    }

    #[test]
    fn names_are_words() {
        let long = "a".repeat(63);
        for (text, right) in [
            ("network", true),
            ("Recovered Jobs", true),
            ("a.b-c_d 9", true),
            (&long, true),
            (&format!("{long}a"), false),
            ("", false),
            (" a", false),
            ("a ", false),
            ("a  b", false),
            ("a -b", false),
            ("a\tb", false),
            ("a\u{202e}b", false),
            ("naïve", false),
        ] {
            assert_eq!(text.parse::<RuleName>().is_ok(), right, "{text:?}");
        }
    }

    /// E-05: nothing follows success, a stop or a cancel by a rule; what failed can be followed, whatever its code.
    #[test]
    fn e01_each_error_has_a_category_and_nothing_else_has() {
        let never = [0, 1, 150, 196, 1101, 1110, 1111, 1112, 1150];
        for entry in CODES {
            assert_eq!(
                entry.category.is_none(),
                never.contains(&entry.code.0),
                "{}",
                entry.code
            );
        }
        for category in ErrorCategory::ALL {
            assert!(category.codes().count() > 0, "{category}");
            let covers = Covers::Category(*category);
            assert!(
                CODES
                    .iter()
                    .all(|e| covers.has(e.code) == covers.codes().contains(&e.code))
            );
        }
    }
}
