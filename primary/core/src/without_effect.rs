//! What a policy may say that this version does not act on (L-06): named when the policy is applied, and whenever it is shown.
//!
//! Pure. Whoever makes a key have its effect takes its row out of here.

use outlast_proto::words::{CancelFrom, Policy};

/// A key of a policy that is kept and not acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WithoutEffect {
    /// As policy files name it.
    pub key: &'static str,
    /// What does not happen, for a person.
    pub text: &'static str,
}

/// Those that the policy names.
#[must_use]
pub fn of_policy(policy: &Policy) -> Vec<WithoutEffect> {
    let (shape, limits) = (policy.shape, policy.limits);
    let is_shaped = shape.multiplex > 1 || shape.streams > 1 || shape.children;
    let rows = [
        (
            !policy.schedules.is_empty(),
            "schedule",
            "schedules are kept, but this version does not run them: use outlast job run",
        ),
        (
            policy.retention.is_some(),
            "retention",
            "retention is kept, but this version removes no restore points",
        ),
        (
            is_shaped,
            "shape",
            "shape is kept, but this version runs every job as one stream without children; it decides only whether the job is resilient",
        ),
        (
            limits.cancel_after.is_some(),
            "limits.cancel_after",
            "limits.cancel_after is kept, but this version cancels nothing by itself",
        ),
        (
            limits.cancel_from != CancelFrom::Start,
            "limits.cancel_from",
            "limits.cancel_from is kept, but this version cancels nothing by itself",
        ),
    ];
    rows.into_iter()
        .filter(|(is_named, ..)| *is_named)
        .map(|(_, key, text)| WithoutEffect { key, text })
        .collect()
}

#[cfg(test)]
mod tests {
    use outlast_proto::words::{CancelFrom, Policy, Retention, Seconds};

    use super::of_policy;

    #[test]
    fn l06_what_is_not_acted_on_is_named_and_what_is_acted_on_is_not() {
        type Change = fn(&mut Policy);
        let rows: [(Change, &[&str]); 9] = [
            (|_| {}, &[]),
            (
                |policy| policy.retention = Some(Retention::default()),
                &["retention"],
            ),
            (|policy| policy.shape.multiplex = 2, &["shape"]),
            (|policy| policy.shape.streams = 2, &["shape"]),
            (|policy| policy.shape.children = true, &["shape"]),
            (
                |policy| {
                    policy.limits.cancel_after = Some(Seconds(60));
                    policy.limits.cancel_from = CancelFrom::Schedule;
                },
                &["limits.cancel_after", "limits.cancel_from"],
            ),
            (|policy| policy.limits.bandwidth = Some(1), &[]),
            (|policy| policy.checkpoint.restart = false, &[]),
            (|policy| policy.exclude = vec!["*.tmp".into()], &[]),
        ];
        for (change, expected) in rows {
            let name = |it: &str| it.parse().expect("a name");
            let (client, pool) = ("c".parse().expect("a name"), "p".parse().expect("a name"));
            let mut policy = Policy::with_defaults(name("home"), vec![client], vec!["/x".into()], pool);
            change(&mut policy);
            let keys: Vec<_> = of_policy(&policy).iter().map(|row| row.key).collect();
            assert_eq!(keys, expected);
        }
    }
}
