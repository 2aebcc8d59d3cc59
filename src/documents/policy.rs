//! A policy as `policy list` and `policy show` print it: the keys of a policy file, durations in seconds.

use outlast_proto::v1;
use outlast_proto::words::RetryRule;
use serde::Serialize;

use crate::wire::text;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct PolicyDocument {
    pub(crate) name: String,
    pub(crate) r#type: Option<String>,
    pub(crate) clients: Vec<String>,
    pub(crate) items: Vec<String>,
    pub(crate) exclude: Vec<String>,
    pub(crate) pool: Option<String>,
    pub(crate) checkpoint: Option<CheckpointDocument>,
    pub(crate) limits: Option<LimitsDocument>,
    pub(crate) retry: Option<RetryDocument>,
    pub(crate) shape: Option<ShapeDocument>,
    pub(crate) schedule: Vec<ScheduleDocument>,
    pub(crate) retention: Option<RetentionDocument>,
    /// Counts the changes.
    pub(crate) revision: u32,
    /// Keys that are off: kept, but not acted on in this version (L-06).
    pub(crate) without_effect: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct CheckpointDocument {
    pub(crate) restart: bool,
    pub(crate) interval: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct LimitsDocument {
    pub(crate) bandwidth: Option<u64>,
    pub(crate) cancel_after: Option<u64>,
    pub(crate) cancel_from: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct RetryDocument {
    pub(crate) delay: u64,
    pub(crate) tries: u32,
    pub(crate) within: u64,
    pub(crate) incomplete_for: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct ShapeDocument {
    pub(crate) multiplex: u32,
    pub(crate) streams: u32,
    pub(crate) children: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct ScheduleDocument {
    pub(crate) name: String,
    pub(crate) cron: Option<String>,
    pub(crate) every: Option<u64>,
    pub(crate) timezone: Option<String>,
    pub(crate) window: Option<String>,
    pub(crate) at_window_end: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct RetentionDocument {
    pub(crate) daily: u32,
    pub(crate) weekly: u32,
    pub(crate) monthly: u32,
}

/// What `policy apply` did or, with `--dry-run`, would do.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AppliedDocument {
    pub(crate) name: String,
    pub(crate) dry_run: bool,
    pub(crate) created: bool,
    pub(crate) changes: Vec<String>,
    pub(crate) revision: u32,
    pub(crate) warnings: Vec<String>,
}

/// What `policy delete` did.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DeletedDocument {
    pub(crate) name: String,
    pub(crate) deleted: bool,
}

impl From<&v1::PolicyView> for PolicyDocument {
    fn from(view: &v1::PolicyView) -> Self {
        let policy = view.policy.clone().unwrap_or_default();
        Self {
            name: policy.name,
            r#type: text(&policy.r#type),
            clients: policy.clients,
            items: policy.items,
            exclude: policy.exclude,
            pool: text(&policy.pool),
            checkpoint: policy.checkpoint.map(|rule| CheckpointDocument {
                restart: rule.restart,
                interval: rule.interval_seconds,
            }),
            limits: policy.limits.map(|limits| LimitsDocument {
                bandwidth: limits.bandwidth,
                cancel_after: limits.cancel_after_seconds,
                cancel_from: text(&limits.cancel_from),
            }),
            retry: policy.retry.map(|rule| RetryDocument {
                delay: rule.delay_seconds,
                tries: rule.tries,
                within: rule.within_seconds,
                incomplete_for: rule.incomplete_for_seconds.unwrap_or(RetryRule::INCOMPLETE_FOR.0),
            }),
            shape: policy.shape.map(|shape| ShapeDocument {
                multiplex: shape.multiplex,
                streams: shape.streams,
                children: shape.children,
            }),
            schedule: policy.schedules.iter().map(ScheduleDocument::from).collect(),
            retention: policy.retention.map(|retention| RetentionDocument {
                daily: retention.daily,
                weekly: retention.weekly,
                monthly: retention.monthly,
            }),
            revision: view.revision,
            without_effect: view.without_effect.iter().map(|off| off.key.clone()).collect(),
        }
    }
}

impl From<&v1::Schedule> for ScheduleDocument {
    fn from(schedule: &v1::Schedule) -> Self {
        Self {
            name: schedule.name.clone(),
            cron: schedule.cron.clone(),
            every: schedule.every_seconds,
            timezone: text(&schedule.timezone),
            window: schedule.window.clone(),
            at_window_end: text(&schedule.at_window_end),
        }
    }
}
