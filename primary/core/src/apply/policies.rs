//! Policies: every change is a revision of its own, because jobs keep the one they were made from (T-11).

use outlast_proto::words::{Policy, PolicyName};

use super::{Outcome, policy_changes};
use crate::durations::judge_policy;
use crate::reply::{Refusal, Reply};
use crate::rows::PolicyRow;
use crate::state::ClusterState;

impl ClusterState {
    pub(super) fn apply_policy(&mut self, policy: &Policy) -> Outcome {
        let mut policy = policy.clone();
        if !self.has_rules() {
            // Members of before do not know it.
            policy.retry.incomplete_for = None;
        }
        let policy = &policy;
        let (changes, created) = self.compare_policy(policy)?;
        let known = self.policies.get(&policy.name).copied();
        let revision = known.map_or(0, |row| row.revision);
        if changes.is_empty() {
            return Ok(Reply::PolicyApplied {
                changes,
                created: false,
                revision,
            });
        }
        let revision = revision + 1;
        self.policy_revisions
            .insert((policy.name.clone(), revision), policy.clone());
        self.policies.insert(
            policy.name.clone(),
            PolicyRow {
                revision,
                deleted: false,
            },
        );
        Ok(Reply::PolicyApplied {
            changes,
            created,
            revision,
        })
    }

    /// What applying the policy would change, and whether it would be new. Also the answer to `--dry-run`.
    ///
    /// # Errors
    /// The [`Refusal`] that applying it would get.
    pub fn compare_policy(&self, policy: &Policy) -> Result<(Vec<String>, bool), Refusal> {
        policy.validate()?;
        if self.pools.get(&policy.pool).is_none() {
            let known = self.pools.iter().map(|(name, _)| name.clone()).collect();
            return Err(Refusal::NoSuchPool {
                name: policy.pool.clone(),
                known,
            });
        }
        if self.has_rules() {
            judge_policy(policy, self.policy(&policy.name).map(|(before, _)| before))?;
        }
        Ok(match self.policy(&policy.name) {
            None => (vec![format!("policy \"{}\" is new", policy.name)], true),
            Some((current, _)) => (policy_changes::between(current, policy), false),
        })
    }

    pub(super) fn delete_policy(&mut self, name: &PolicyName) -> Outcome {
        if self.policy(name).is_none() {
            return Err(Refusal::NoSuchPolicy { name: name.clone() });
        }
        if let Some(row) = self.policies.get_mut(name) {
            row.deleted = true;
        }
        Ok(Reply::Done)
    }
}
