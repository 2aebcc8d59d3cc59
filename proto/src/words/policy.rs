//! A policy: what to back up, from where, to where, and how (CLI.md "A policy").

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{AgentName, PolicyName, PoolName, Schedule, Seconds, word_enum};

word_enum!(
    /// The type of a policy; it decides how sources are read and which rules apply.
    PolicyType {
        /// Files of a Unix host.
        Standard = "standard",
        /// Files of a Windows host.
        Windows = "windows",
        /// The output of a command.
        Stream = "stream",
        /// Oracle.
        Oracle = "oracle",
        /// Microsoft SQL Server.
        MsSqlServer = "ms-sql-server",
        /// PostgreSQL.
        Postgresql = "postgresql",
        /// MySQL.
        Mysql = "mysql",
    }
);

impl PolicyType {
    /// Whether this version can run jobs of the type; others are refused when applied.
    #[must_use]
    pub const fn is_supported(self) -> bool {
        matches!(self, PolicyType::Standard)
    }
}

word_enum!(
    /// What automatic cancellation counts from (T-04).
    CancelFrom {
        /// The actual start.
        Start = "start",
        /// The scheduled start.
        Schedule = "schedule",
    }
);

word_enum!(
    /// What a restore does with a file that is already there.
    Overwrite {
        /// Leaves it alone.
        Never = "never",
        /// Replaces it.
        Always = "always",
        /// Replaces it if the one in the restore point is newer.
        IfNewer = "if-newer",
    }
);

/// Checkpoint restart (F-05).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointRule {
    /// Whether later attempts go on from the last checkpoint.
    pub restart: bool,
    /// How often one is made.
    pub interval: Seconds,
}

/// Limits of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Source bytes read per second, if limited.
    pub bandwidth: Option<u64>,
    /// Automatic cancellation after this long (T-04).
    pub cancel_after: Option<Seconds>,
    /// What it counts from.
    pub cancel_from: CancelFrom,
}

/// Tries after a failure (F-09).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryRule {
    /// How long to wait before one.
    pub delay: Seconds,
    /// How many are allowed...
    pub tries: u32,
    /// ...in the time before now.
    pub within: Seconds,
    /// How long a job that lost its client may be gone on with; none: [`RetryRule::INCOMPLETE_FOR`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incomplete_for: Option<Seconds>,
}

impl RetryRule {
    /// How long a job may be incomplete, unless its policy says otherwise (F-09).
    pub const INCOMPLETE_FOR: Seconds = Seconds(3 * 3600);
    /// The least and the most that a policy may say.
    pub const INCOMPLETE_RANGE: [Seconds; 2] = [Seconds(3600), Seconds(72 * 3600)];

    /// How long a job may be incomplete.
    #[must_use]
    pub fn incomplete_for(&self) -> Seconds {
        self.incomplete_for.unwrap_or(Self::INCOMPLETE_FOR)
    }
}

/// The shape of the job; it decides resilience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Backups interleaved in one stream.
    pub multiplex: u32,
    /// Streams of one job.
    pub streams: u32,
    /// Whether the job has child jobs.
    pub children: bool,
}

/// How many restore points are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// One a day for so many days.
    pub daily: u32,
    /// One a week.
    pub weekly: u32,
    /// One a month.
    pub monthly: u32,
}

/// What to back up. A job keeps its policy as it was when the job was created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Unique.
    pub name: PolicyName,
    /// How its sources are read.
    pub policy_type: PolicyType,
    /// The client agents whose hosts are backed up.
    pub clients: Vec<AgentName>,
    /// Absolute paths, in the order they are processed; each gets its own restore point.
    pub items: Vec<String>,
    /// Gitignore patterns of what is left out.
    pub exclude: Vec<String>,
    /// The pool whose media agents may run it.
    pub pool: PoolName,
    /// Checkpoint restart.
    pub checkpoint: CheckpointRule,
    /// Limits.
    pub limits: Limits,
    /// Tries after a failure.
    pub retry: RetryRule,
    /// Shape of its jobs.
    pub shape: Shape,
    /// When it runs by itself.
    pub schedules: Vec<Schedule>,
    /// What is kept.
    pub retention: Option<Retention>,
}

/// A policy that cannot be accepted: which field, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("policy \"{policy}\": {field}: {reason}")]
pub struct InvalidPolicy {
    /// Its name.
    pub policy: PolicyName,
    /// The key as in a policy file.
    pub field: &'static str,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl Policy {
    /// What a file that names only these would mean.
    #[must_use]
    pub fn with_defaults(
        name: PolicyName,
        clients: Vec<AgentName>,
        items: Vec<String>,
        pool: PoolName,
    ) -> Self {
        Self {
            name,
            policy_type: PolicyType::Standard,
            clients,
            items: items.iter().map(|item| plain(item)).collect(),
            exclude: Vec::new(),
            pool,
            checkpoint: CheckpointRule {
                restart: true,
                interval: Seconds(15 * 60),
            },
            limits: Limits {
                bandwidth: None,
                cancel_after: None,
                cancel_from: CancelFrom::Start,
            },
            retry: RetryRule {
                delay: Seconds(10 * 60),
                tries: 2,
                within: Seconds(12 * 3600),
                incomplete_for: None,
            },
            shape: Shape {
                multiplex: 1,
                streams: 1,
                children: false,
            },
            schedules: Vec::new(),
            retention: None,
        }
    }

    /// Checks what can be judged without the cluster: the same for the CLI's `--dry-run`, the API and the brain.
    ///
    /// # Errors
    /// [`InvalidPolicy`] naming the first field that is wrong.
    pub fn validate(&self) -> Result<(), InvalidPolicy> {
        let wrong = |field, reason: String| {
            Err(InvalidPolicy {
                policy: self.name.clone(),
                field,
                reason,
            })
        };
        if !self.policy_type.is_supported() {
            return wrong(
                "type",
                format!("this version cannot run policies of type {}", self.policy_type),
            );
        }
        if self.clients.is_empty() {
            return wrong("clients", "name at least one client".into());
        }
        if let Some(name) = first_double(&self.clients) {
            return wrong("clients", format!("\"{name}\" is named twice"));
        }
        if self.items.is_empty() {
            return wrong("items", "name at least one path".into());
        }
        if let Some(item) = self
            .items
            .iter()
            .find(|item| !item.starts_with('/') || item.contains('\0'))
        {
            return wrong("items", format!("{item:?} is not an absolute path"));
        }
        if let Some(item) = self
            .items
            .iter()
            .find(|item| item.split('/').any(|part| part == ".."))
        {
            return wrong(
                "items",
                format!("{item:?} leads back up by \"..\"; name the place itself"),
            );
        }
        if let Some(item) = first_double(&self.items) {
            return wrong("items", format!("{item:?} is named twice"));
        }
        self.validate_numbers()
    }

    fn validate_numbers(&self) -> Result<(), InvalidPolicy> {
        let wrong = |field, reason: String| {
            Err(InvalidPolicy {
                policy: self.name.clone(),
                field,
                reason,
            })
        };
        if self.checkpoint.interval < Seconds(1) {
            return wrong("checkpoint.interval", "is at least 1s".into());
        }
        if self.limits.bandwidth == Some(0) {
            return wrong("limits.bandwidth", "is above 0; leave it out for no limit".into());
        }
        if self.limits.cancel_after == Some(Seconds(0)) {
            return wrong(
                "limits.cancel_after",
                "is above 0; leave it out for no limit".into(),
            );
        }
        let [least, most] = RetryRule::INCOMPLETE_RANGE;
        let incomplete_for = self.retry.incomplete_for;
        if incomplete_for.is_some_and(|time| time < least || time > most) {
            return wrong("retry.incomplete_for", "is from 1h to 72h".into());
        }
        if self.shape.multiplex == 0 || self.shape.streams == 0 {
            return wrong("shape", "multiplex and streams are at least 1".into());
        }
        if let Some((name, reason)) = self.schedules.iter().find_map(|s| Some((&s.name, s.fault()?))) {
            return wrong("schedule", format!("\"{name}\" {reason}"));
        }
        let names: Vec<_> = self.schedules.iter().map(|s| &s.name).collect();
        if let Some(name) = first_double(&names) {
            return wrong("schedule", format!("\"{name}\" is named twice"));
        }
        Ok(())
    }
}

/// The path without empty and `.` parts: `/home/` and `/home` are the same item. What is no absolute path stays as it is.
fn plain(item: &str) -> String {
    if !item.starts_with('/') {
        return item.to_owned();
    }
    let parts: Vec<_> = item
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    format!("/{}", parts.join("/"))
}

fn first_double<T: Ord>(values: &[T]) -> Option<&T> {
    let mut seen = BTreeSet::new();
    values.iter().find(|value| !seen.insert(*value))
}

#[cfg(test)]
mod tests {
    use super::{Policy, Seconds};

    /// As many as a message of the API holds: comparing each with each took minutes.
    #[test]
    fn t90_many_items_are_judged_at_once() {
        let items = |last: &str| {
            let numbered = (0..400_000).map(|n| format!("/{n}"));
            numbered.chain([last.to_owned()]).collect()
        };
        let policy = |last| {
            let name = "p".parse().expect("a name");
            let (client, pool) = ("c".parse().expect("a name"), "d".parse().expect("a name"));
            Policy::with_defaults(name, vec![client], items(last), pool)
        };
        policy("/x").validate().expect("all differ");
        let wrong = policy("/7").validate().expect_err("one is named twice");
        assert_eq!(wrong.reason, "\"/7\" is named twice");
    }

    /// F-09: 1 to 72 hours.
    #[test]
    fn f09_b01_how_long_a_job_may_be_incomplete_has_a_range() {
        let name = |text: &str| text.parse().expect("a name");
        for (hours, right) in [
            (None, true),
            (Some(0), false),
            (Some(1), true),
            (Some(72), true),
            (Some(73), false),
            (Some(u64::MAX / 3600), false),
        ] {
            let mut policy = Policy::with_defaults(
                "p".parse().expect("a name"),
                vec![name("c")],
                vec!["/x".to_owned()],
                "d".parse().expect("a name"),
            );
            policy.retry.incomplete_for = hours.map(|hours| Seconds(hours * 3600));
            assert_eq!(policy.validate().is_ok(), right, "{hours:?}");
        }
    }

    #[test]
    fn t90_an_item_is_the_same_however_its_path_is_written() {
        for (written, kept, right) in [
            ("/home", "/home", true),
            ("/home/", "/home", true),
            ("//home//me/", "/home/me", true),
            ("/home/./me", "/home/me", true),
            ("/", "/", true),
            ("/home/.config", "/home/.config", true),
            ("/home/..data", "/home/..data", true),
            ("/home/../etc", "/home/../etc", false),
            ("/..", "/..", false),
            ("home/", "home/", false),
            ("", "", false),
        ] {
            let name = |text: &str| text.parse().expect("a name");
            let items = vec![written.to_owned()];
            let policy = Policy::with_defaults(
                "p".parse().expect("a name"),
                vec![name("c")],
                items,
                "d".parse().expect("a name"),
            );
            assert_eq!(policy.items, [kept]);
            assert_eq!(policy.validate().is_ok(), right, "{written}");
        }
    }
}
