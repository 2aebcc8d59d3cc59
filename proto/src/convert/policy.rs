//! Policies to and from their message. What the message leaves out gets the defaults of CLI.md.

use super::InvalidField;
use crate::v1;
use crate::words::{
    CancelFrom, CheckpointRule, Limits, Policy, PolicyType, Retention, RetryRule, Schedule, Seconds, Shape,
    WindowEnd,
};

impl From<&Policy> for v1::Policy {
    fn from(policy: &Policy) -> Self {
        Self {
            name: policy.name.to_string(),
            r#type: policy.policy_type.word().to_owned(),
            clients: policy.clients.iter().map(ToString::to_string).collect(),
            items: policy.items.clone(),
            exclude: policy.exclude.clone(),
            pool: policy.pool.to_string(),
            checkpoint: Some(v1::CheckpointRule {
                restart: policy.checkpoint.restart,
                interval_seconds: policy.checkpoint.interval.0,
            }),
            limits: Some(v1::Limits {
                bandwidth: policy.limits.bandwidth,
                cancel_after_seconds: policy.limits.cancel_after.map(|s| s.0),
                cancel_from: policy.limits.cancel_from.word().to_owned(),
            }),
            retry: Some(v1::RetryRule {
                delay_seconds: policy.retry.delay.0,
                tries: policy.retry.tries,
                within_seconds: policy.retry.within.0,
                incomplete_for_seconds: policy.retry.incomplete_for.map(|s| s.0),
            }),
            shape: Some(v1::Shape {
                multiplex: policy.shape.multiplex,
                streams: policy.shape.streams,
                children: policy.shape.children,
            }),
            schedules: policy.schedules.iter().map(schedule_message).collect(),
            retention: policy.retention.map(|r| v1::Retention {
                daily: r.daily,
                weekly: r.weekly,
                monthly: r.monthly,
            }),
        }
    }
}

fn schedule_message(schedule: &Schedule) -> v1::Schedule {
    v1::Schedule {
        name: schedule.name.clone(),
        cron: schedule.cron.clone(),
        every_seconds: schedule.every.map(|s| s.0),
        timezone: schedule.timezone.clone(),
        window: schedule.window.clone(),
        at_window_end: schedule.at_window_end.word().to_owned(),
    }
}

impl TryFrom<v1::Policy> for Policy {
    type Error = InvalidField;

    fn try_from(message: v1::Policy) -> Result<Self, InvalidField> {
        let name = message.name.parse().map_err(|e| InvalidField::new("name", e))?;
        let parse_client = |text: &String| text.parse().map_err(|e| InvalidField::new("clients", e));
        let clients = message
            .clients
            .iter()
            .map(parse_client)
            .collect::<Result<_, _>>()?;
        let pool = if message.pool.is_empty() {
            "default"
        } else {
            &message.pool
        };
        let pool = pool.parse().map_err(|e| InvalidField::new("pool", e))?;
        let mut policy = Policy::with_defaults(name, clients, message.items, pool);
        policy.exclude = message.exclude;
        policy.policy_type = word(
            "type",
            &message.r#type,
            PolicyType::Standard,
            PolicyType::from_word,
        )?;
        if let Some(rule) = message.checkpoint {
            policy.checkpoint = CheckpointRule {
                restart: rule.restart,
                interval: Seconds(rule.interval_seconds),
            };
        }
        if let Some(limits) = message.limits {
            policy.limits = Limits {
                bandwidth: limits.bandwidth,
                cancel_after: limits.cancel_after_seconds.map(Seconds),
                cancel_from: word(
                    "limits.cancel_from",
                    &limits.cancel_from,
                    CancelFrom::Start,
                    CancelFrom::from_word,
                )?,
            };
        }
        if let Some(rule) = message.retry {
            policy.retry = RetryRule {
                delay: Seconds(rule.delay_seconds),
                tries: rule.tries,
                within: Seconds(rule.within_seconds),
                incomplete_for: rule.incomplete_for_seconds.map(Seconds),
            };
        }
        if let Some(shape) = message.shape {
            policy.shape = Shape {
                multiplex: shape.multiplex.max(1),
                streams: shape.streams.max(1),
                children: shape.children,
            };
        }
        policy.schedules = message
            .schedules
            .into_iter()
            .map(schedule)
            .collect::<Result<_, _>>()?;
        policy.retention = message.retention.map(|r| Retention {
            daily: r.daily,
            weekly: r.weekly,
            monthly: r.monthly,
        });
        Ok(policy)
    }
}

fn schedule(message: v1::Schedule) -> Result<Schedule, InvalidField> {
    Ok(Schedule {
        name: message.name,
        cron: message.cron,
        every: message.every_seconds.map(Seconds),
        timezone: if message.timezone.is_empty() {
            "UTC".to_owned()
        } else {
            message.timezone
        },
        window: message.window,
        at_window_end: word(
            "at_window_end",
            &message.at_window_end,
            WindowEnd::Finish,
            WindowEnd::from_word,
        )?,
    })
}

fn word<T>(
    field: &'static str,
    text: &str,
    default: T,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, InvalidField> {
    if text.is_empty() {
        return Ok(default);
    }
    parse(text).ok_or_else(|| InvalidField::new(field, format!("{text:?} is not known to this version")))
}
