//! Error-handling rules: which there are, and which one counts after an error (SPEC 6). What follows by a rule is not decided here.
//!
//! Built-in ones are known to the program; of them the state has only whether somebody switched them. Called by `apply`, `contact` and the API.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use outlast_proto::words::{
    Covers, Disposition, ErrorCategory, PoolName, Rule, RuleName, Seconds, StatusCode,
};

use crate::rows::RuleRow;
use crate::state::ClusterState;

/// A rule as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRule {
    /// Its name.
    pub name: RuleName,
    /// Whether it came with the program: it can be switched, and not changed or deleted.
    pub is_builtin: bool,
    /// Whether it counts.
    pub enabled: bool,
    /// What it says; none: it is only a switch.
    pub rule: Option<Rule>,
}

/// The rules that came with the program, in the order in which they are listed.
struct BuiltIn {
    recovered_jobs: Rule,
    cluster_failover: RuleName,
    /// One for each category, in the order of [`ErrorCategory::ALL`].
    by_category: Vec<(ErrorCategory, Rule)>,
}

static BUILT_IN: LazyLock<BuiltIn> = LazyLock::new(|| {
    let name = |text: &str| text.parse().expect("it is a name");
    let rule = |text: &str, covers| Rule {
        name: name(text),
        covers,
        enabled: false,
        retries: 2,
        interval: Seconds(5 * 60),
        then: Disposition::Hold,
    };
    let by_category = ErrorCategory::ALL.iter().map(|category| {
        let text = match category {
            ErrorCategory::Network => "Network Errors",
            ErrorCategory::Storage => "Storage Errors",
            ErrorCategory::Client => "Client Errors",
            ErrorCategory::Security => "Security Errors",
            ErrorCategory::Job => "Job Errors",
        };
        (*category, rule(text, Covers::Category(*category)))
    });
    let recovered = Covers::Codes([StatusCode::RECOVERED].into());
    BuiltIn {
        recovered_jobs: Rule {
            enabled: true,
            ..rule("Recovered Jobs", recovered)
        },
        cluster_failover: name("Cluster Failover"),
        by_category: by_category.collect(),
    }
});

/// How a built-in rule of this name is spelled; the name is not one's own then, however it is spelled.
pub(crate) fn built_in(name: &RuleName) -> Option<&'static RuleName> {
    let all = [&BUILT_IN.recovered_jobs.name, &BUILT_IN.cluster_failover];
    let by_category = BUILT_IN.by_category.iter().map(|(_, rule)| &rule.name);
    let mut all = all.into_iter().chain(by_category);
    all.find(|known| known.as_str().eq_ignore_ascii_case(name.as_str()))
}

/// The rule that counts after an attempt that ended with this code: a custom one before that of the code's category, and only those
/// that are enabled (E-02). None too for what no rule follows: success, an end that somebody asked for, an attempt that goes on in another.
#[must_use]
pub fn rule_for(state: &ClusterState, code: StatusCode) -> Option<Rule> {
    let category = code.category()?;
    let custom = state.custom_rules().find(|rule| rule.covers.has(code));
    let custom = custom.filter(|rule| rule.enabled).cloned();
    custom.or_else(|| {
        let (_, rule) = BUILT_IN.by_category.iter().find(|(of, _)| *of == category)?;
        state.switched(rule)
    })
}

/// The rule for jobs whose attempt ended `recovered` (C-06); none: it is switched off.
#[must_use]
pub fn recovered_jobs(state: &ClusterState) -> Option<Rule> {
    state.switched(&BUILT_IN.recovered_jobs)
}

/// What a rule of this name says that comes when its retries are used up; none: there is no such rule any more.
#[must_use]
pub(crate) fn then_of(state: &ClusterState, name: &RuleName) -> Option<Disposition> {
    let mut all = list(state).into_iter();
    let found = all.find(|listed| listed.name == *name)?;
    found.rule.map(|rule| rule.then)
}

/// Every rule: the built-in ones, then those that people made, by name.
#[must_use]
pub fn list(state: &ClusterState) -> Vec<ListedRule> {
    let built_in = |rule: &Rule| {
        let enabled = state.is_on(&rule.name, rule.enabled);
        let rule = rule.clone();
        ListedRule {
            name: rule.name.clone(),
            is_builtin: true,
            enabled,
            rule: Some(Rule { enabled, ..rule }),
        }
    };
    let mut all = vec![
        built_in(&BUILT_IN.recovered_jobs),
        ListedRule {
            name: BUILT_IN.cluster_failover.clone(),
            is_builtin: true,
            enabled: state.is_on(&BUILT_IN.cluster_failover, true),
            rule: None,
        },
    ];
    all.extend(BUILT_IN.by_category.iter().map(|(_, rule)| built_in(rule)));
    all.extend(state.custom_rules().map(|rule| ListedRule {
        name: rule.name.clone(),
        is_builtin: false,
        enabled: rule.enabled,
        rule: Some(rule.clone()),
    }));
    all
}

/// What the rules say that nothing will come of (L-06).
#[must_use]
pub fn warnings(rules: &[Rule]) -> Vec<String> {
    let mut warnings = Vec::new();
    for rule in rules {
        for code in rule.covers.codes() {
            if code.category().is_none() {
                warnings.push(format!(
                    "rule \"{}\": code {code} ({}) is kept, but no rule follows it: it is no error, somebody asked for it, or the job goes on by itself",
                    rule.name,
                    code.text()
                ));
            }
        }
    }
    warnings
}

/// Two rules for one code, if there are; the code and their names.
pub(crate) fn conflict<'a>(
    rules: impl Iterator<Item = &'a Rule>,
) -> Option<(StatusCode, &'a RuleName, &'a RuleName)> {
    let mut taken = BTreeMap::new();
    for rule in rules {
        for code in rule.covers.codes() {
            if let Some(other) = taken.insert(code, &rule.name) {
                return Some((code, other, &rule.name));
            }
        }
    }
    None
}

impl ClusterState {
    /// Those that people made, by name.
    pub fn custom_rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter_map(|(_, row)| match row {
            RuleRow::Custom(rule) => Some(rule),
            RuleRow::BuiltIn { .. } => None,
        })
    }

    /// Whether jobs fail over inside this pool: its own switch, and that of all pools (F-01, E-03).
    #[must_use]
    pub fn fails_over(&self, pool: &PoolName) -> bool {
        self.is_on(&BUILT_IN.cluster_failover, true) && self.pool(pool).is_some_and(|pool| pool.fails_over())
    }

    /// Whether a built-in rule is on; `before`: what it is if nobody has switched it.
    fn is_on(&self, name: &RuleName, before: bool) -> bool {
        match self.rules.get(name) {
            Some(RuleRow::BuiltIn { enabled }) => *enabled,
            Some(RuleRow::Custom(_)) | None => before,
        }
    }

    /// A built-in rule, if it counts.
    fn switched(&self, rule: &Rule) -> Option<Rule> {
        let counts = self.has_rules() && self.is_on(&rule.name, rule.enabled);
        counts.then(|| Rule {
            enabled: true,
            ..rule.clone()
        })
    }
}
