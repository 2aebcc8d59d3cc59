//! Error-handling rules are made, switched and deleted (E-01 to E-03).

use std::collections::BTreeMap;

use outlast_proto::words::{MAX_RULES, Rule, RuleName};

use super::Outcome;
use crate::entry::RuleChange;
use crate::reply::{Refusal, Reply};
use crate::rows::RuleRow;
use crate::rules::{built_in, conflict, list};
use crate::state::ClusterState;
use crate::touched::Rows;

impl ClusterState {
    pub(super) fn change_rules(&mut self, change: &RuleChange) -> Outcome {
        if !self.has_rules() {
            return Err(Refusal::TooOld);
        }
        let reply = match change {
            RuleChange::Apply { rules } => self.apply_rules(rules),
            RuleChange::Switch { name, enabled } => self.switch_rule(name, *enabled),
            RuleChange::Delete { name } => self.delete_rule(name),
        }?;
        self.touch(Rows::Settings);
        Ok(reply)
    }

    /// Those that are not named stay as they are.
    fn apply_rules(&mut self, rules: &[Rule]) -> Outcome {
        let changes = self.compare_rules(rules)?;
        for rule in rules {
            let row = RuleRow::Custom(rule.clone());
            if self.rules.get(&rule.name) != Some(&row) {
                self.rules.insert(rule.name.clone(), row);
            }
        }
        Ok(Reply::RulesApplied { changes })
    }

    /// What applying the rules would change, a line each. Also the answer to `--dry-run`.
    ///
    /// # Errors
    /// The [`Refusal`] that applying them would get.
    pub fn compare_rules(&self, rules: &[Rule]) -> Result<Vec<String>, Refusal> {
        if !(1..=MAX_RULES).contains(&rules.len()) {
            return Err(Refusal::InvalidRequest {
                field: "rules".into(),
                reason: format!("1 to {MAX_RULES} rules are applied at once, not {}", rules.len()),
            });
        }
        let mut given = BTreeMap::new();
        for rule in rules {
            rule.validate()?;
            if let Some(known) = built_in(&rule.name) {
                let reason = format!(
                    "\"{known}\" is built in: it can be switched (outlast rule enable, disable), and no other rule can have its name"
                );
                return Err(invalid(rule, "name", reason));
            }
            if given.insert(&rule.name, rule).is_some() {
                return Err(invalid(rule, "name", "is given twice".into()));
            }
        }
        let others = self.custom_rules().filter(|rule| !given.contains_key(&rule.name));
        if let Some((code, one, other)) = conflict(others.chain(rules)) {
            let rule = given.get(other).or_else(|| given.get(one)).copied();
            let reason = format!(
                "code {code} ({}) is in rule \"{one}\" and in rule \"{other}\": only one can count",
                code.text()
            );
            return Err(invalid(rule.unwrap_or(&rules[0]), "codes", reason));
        }
        Ok(rules.iter().flat_map(|rule| self.changes_of(rule)).collect())
    }

    /// One line for each key that changes, as in a rule file.
    fn changes_of(&self, rule: &Rule) -> Vec<String> {
        // A key that is added to rules has to be added here.
        let Rule {
            name,
            covers,
            enabled,
            retries,
            interval,
            then,
        } = rule;
        let Some(RuleRow::Custom(old)) = self.rules.get(name) else {
            return vec![format!("rule \"{name}\" is new")];
        };
        let keys = [
            ("codes", old.covers.to_string(), covers.to_string()),
            ("enabled", old.enabled.to_string(), enabled.to_string()),
            ("retries", old.retries.to_string(), retries.to_string()),
            ("interval", old.interval.to_string(), interval.to_string()),
            ("then", old.then.to_string(), then.to_string()),
        ];
        let changed = keys.iter().filter(|(_, old, new)| old != new);
        changed
            .map(|(key, old, new)| format!("rule \"{name}\".{key}: {old} -> {new}"))
            .collect()
    }

    fn switch_rule(&mut self, name: &RuleName, enabled: bool) -> Outcome {
        let known = list(self).into_iter().find(|rule| rule.name == *name);
        let known = known.ok_or_else(|| Refusal::NoSuchRule { name: name.clone() })?;
        if known.enabled != enabled {
            let row = match known.rule {
                Some(rule) if !known.is_builtin => RuleRow::Custom(Rule { enabled, ..rule }),
                _ => RuleRow::BuiltIn { enabled },
            };
            self.rules.insert(name.clone(), row);
        }
        Ok(Reply::Done)
    }

    fn delete_rule(&mut self, name: &RuleName) -> Outcome {
        if let Some(name) = built_in(name) {
            return Err(Refusal::BuiltInRule { name: name.clone() });
        }
        let gone = self.rules.remove(name);
        gone.ok_or_else(|| Refusal::NoSuchRule { name: name.clone() })?;
        Ok(Reply::Done)
    }
}

fn invalid(rule: &Rule, field: &str, reason: String) -> Refusal {
    Refusal::InvalidRule {
        rule: rule.name.to_string(),
        field: field.to_owned(),
        reason,
    }
}
