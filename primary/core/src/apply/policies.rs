//! Policies: every change is a revision of its own, because jobs keep the one they were made from (T-11).

use outlast_proto::words::{Policy, PolicyName};

use super::Outcome;
use crate::reply::{Refusal, Reply};
use crate::rows::PolicyRow;
use crate::state::ClusterState;

impl ClusterState {
    pub(super) fn apply_policy(&mut self, policy: &Policy) -> Outcome {
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
        Ok(match self.policy(&policy.name) {
            None => (vec![format!("policy \"{}\" is new", policy.name)], true),
            Some((current, _)) => (differences(current, policy), false),
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

fn differences(old: &Policy, new: &Policy) -> Vec<String> {
    fn line<T: PartialEq + std::fmt::Debug>(key: &str, old: &T, new: &T) -> Option<String> {
        (old != new).then(|| format!("{key}: {old:?} -> {new:?}"))
    }
    let Policy {
        name: _,
        policy_type,
        clients,
        items,
        exclude,
        pool,
        checkpoint,
        limits,
        retry,
        shape,
        schedules,
        retention,
    } = new;
    let lines = [
        line("type", &old.policy_type.word(), &policy_type.word()),
        line("clients", &names(&old.clients), &names(clients)),
        line("items", &old.items, items),
        line("exclude", &old.exclude, exclude),
        line("pool", &old.pool.as_str(), &pool.as_str()),
        line("checkpoint", &old.checkpoint, checkpoint),
        line("limits", &old.limits, limits),
        line("retry", &old.retry, retry),
        line("shape", &old.shape, shape),
        line("schedule", &old.schedules, schedules),
        line("retention", &old.retention, retention),
    ];
    lines.into_iter().flatten().collect()
}

fn names(clients: &[outlast_proto::words::AgentName]) -> Vec<&str> {
    clients
        .iter()
        .map(outlast_proto::words::AgentName::as_str)
        .collect()
}
