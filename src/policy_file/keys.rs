//! The keys of a policy file, one struct for each table. What they mean is not known here.

use outlast_patterns::written_item;
use outlast_proto::v1;
use outlast_proto::words::{
    AgentName, CancelFrom, Policy, PolicyName, PolicyType, PoolName, Retention, Schedule, Seconds, WindowEnd,
};
use serde::{Deserialize, Serialize};

use super::values::{Period, Rate, Zone};

/// The whole file. What is left out keeps the default.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyKeys<Name = PolicyName, Client = AgentName, Pool = PoolName> {
    name: Name,
    #[serde(default = "standard")]
    pub(super) r#type: String,
    clients: Vec<Client>,
    items: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
    pool: Option<Pool>,
    #[serde(default)]
    checkpoint: CheckpointKeys,
    #[serde(default)]
    limits: LimitsKeys,
    #[serde(default)]
    retry: RetryKeys,
    #[serde(default)]
    shape: ShapeKeys,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    schedule: Vec<ScheduleKeys>,
    retention: Option<RetentionKeys>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct CheckpointKeys {
    restart: Option<bool>,
    interval: Option<Period>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct LimitsKeys {
    bandwidth: Option<Rate>,
    cancel_after: Option<Period>,
    cancel_from: Option<CancelFrom>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RetryKeys {
    delay: Option<Period>,
    tries: Option<u32>,
    within: Option<Period>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incomplete_for: Option<Period>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ShapeKeys {
    multiplex: Option<u32>,
    streams: Option<u32>,
    children: Option<bool>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ScheduleKeys {
    name: String,
    cron: Option<String>,
    every: Option<Period>,
    timezone: Option<Zone>,
    window: Option<String>,
    at_window_end: Option<WindowEnd>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RetentionKeys {
    #[serde(default)]
    daily: u32,
    #[serde(default)]
    weekly: u32,
    #[serde(default)]
    monthly: u32,
}

fn standard() -> String {
    PolicyType::Standard.word().to_owned()
}

fn period(seconds: u64) -> Period {
    Period(Seconds(seconds))
}

impl PolicyKeys {
    /// The policy these keys describe.
    pub(super) fn into_policy(self, policy_type: PolicyType) -> Policy {
        let pool = self.pool.unwrap_or_else(default_pool);
        let mut policy = Policy::with_defaults(self.name, self.clients, self.items, pool);
        policy.policy_type = policy_type;
        policy.exclude = self.exclude;
        set(&mut policy.checkpoint.restart, self.checkpoint.restart);
        set(
            &mut policy.checkpoint.interval,
            self.checkpoint.interval.map(|p| p.0),
        );
        policy.limits.bandwidth = self.limits.bandwidth.map(|rate| rate.0);
        policy.limits.cancel_after = self.limits.cancel_after.map(|p| p.0);
        set(&mut policy.limits.cancel_from, self.limits.cancel_from);
        set(&mut policy.retry.delay, self.retry.delay.map(|p| p.0));
        set(&mut policy.retry.tries, self.retry.tries);
        set(&mut policy.retry.within, self.retry.within.map(|p| p.0));
        policy.retry.incomplete_for = self.retry.incomplete_for.map(|p| p.0);
        set(&mut policy.shape.multiplex, self.shape.multiplex);
        set(&mut policy.shape.streams, self.shape.streams);
        set(&mut policy.shape.children, self.shape.children);
        policy.schedules = self.schedule.into_iter().map(Schedule::from).collect();
        policy.retention = self.retention.map(|keys| Retention {
            daily: keys.daily,
            weekly: keys.weekly,
            monthly: keys.monthly,
        });
        policy
    }
}

fn set<T>(field: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *field = given;
    }
}

fn default_pool() -> PoolName {
    "default".parse().expect("\"default\" is a usable name")
}

impl From<ScheduleKeys> for Schedule {
    fn from(keys: ScheduleKeys) -> Self {
        Self {
            name: keys.name,
            cron: keys.cron,
            every: keys.every.map(|p| p.0),
            timezone: keys.timezone.map_or_else(|| "UTC".to_owned(), |zone| zone.0),
            window: keys.window,
            at_window_end: keys.at_window_end.unwrap_or(WindowEnd::Finish),
        }
    }
}

impl PolicyKeys<String, String, String> {
    /// The keys of a policy as the API has it; the server has checked its names.
    pub(super) fn of_message(policy: &v1::Policy) -> Self {
        let limits = policy.limits.clone().unwrap_or_default();
        Self {
            name: policy.name.clone(),
            r#type: policy.r#type.clone(),
            clients: policy.clients.clone(),
            items: policy.items.iter().map(|item| written_item(item)).collect(),
            exclude: policy.exclude.clone(),
            pool: crate::wire::text(&policy.pool),
            checkpoint: CheckpointKeys {
                restart: policy.checkpoint.map(|rule| rule.restart),
                interval: policy.checkpoint.map(|rule| period(rule.interval_seconds)),
            },
            limits: LimitsKeys {
                bandwidth: limits.bandwidth.map(Rate),
                cancel_after: limits.cancel_after_seconds.map(period),
                cancel_from: CancelFrom::from_word(&limits.cancel_from),
            },
            retry: RetryKeys {
                delay: policy.retry.map(|rule| period(rule.delay_seconds)),
                tries: policy.retry.map(|rule| rule.tries),
                within: policy.retry.map(|rule| period(rule.within_seconds)),
                incomplete_for: policy
                    .retry
                    .and_then(|rule| rule.incomplete_for_seconds)
                    .map(period),
            },
            shape: ShapeKeys {
                multiplex: policy.shape.map(|shape| shape.multiplex),
                streams: policy.shape.map(|shape| shape.streams),
                children: policy.shape.map(|shape| shape.children),
            },
            schedule: policy.schedules.iter().map(ScheduleKeys::of_message).collect(),
            retention: policy.retention.map(|retention| RetentionKeys {
                daily: retention.daily,
                weekly: retention.weekly,
                monthly: retention.monthly,
            }),
        }
    }
}

impl ScheduleKeys {
    fn of_message(schedule: &v1::Schedule) -> Self {
        Self {
            name: schedule.name.clone(),
            cron: schedule.cron.clone(),
            every: schedule.every_seconds.map(period),
            timezone: crate::wire::text(&schedule.timezone).map(Zone),
            window: schedule.window.clone(),
            at_window_end: WindowEnd::from_word(&schedule.at_window_end),
        }
    }
}
