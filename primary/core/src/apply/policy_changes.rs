//! What a new version of a policy changes, as lines for people: `checkpoint.interval: 15m -> 20m`. Used by `policies`.

use std::fmt::{Debug, Display};

use outlast_proto::words::{AgentName, Policy, Schedule};

/// One line for each key that changes, named and written as in a policy file.
pub(super) fn between(old: &Policy, new: &Policy) -> Vec<String> {
    // A key that is added to policies has to be added here.
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
    let mut lines = Lines::default();
    lines.value("type", old.policy_type, policy_type);
    lines.list("clients", &names(&old.clients), &names(clients));
    lines.list("items", &old.items, items);
    lines.list("exclude", &old.exclude, exclude);
    lines.value("pool", &old.pool, pool);
    lines.value("checkpoint.restart", old.checkpoint.restart, checkpoint.restart);
    lines.value(
        "checkpoint.interval",
        old.checkpoint.interval,
        checkpoint.interval,
    );
    let rate = |bandwidth: Option<u64>| bandwidth.map(|bytes| format!("{bytes}B/s"));
    lines.option(
        "limits.bandwidth",
        rate(old.limits.bandwidth),
        rate(limits.bandwidth),
    );
    lines.option(
        "limits.cancel_after",
        old.limits.cancel_after,
        limits.cancel_after,
    );
    lines.value("limits.cancel_from", old.limits.cancel_from, limits.cancel_from);
    lines.value("retry.delay", old.retry.delay, retry.delay);
    lines.value("retry.tries", old.retry.tries, retry.tries);
    lines.value("retry.within", old.retry.within, retry.within);
    lines.value(
        "retry.incomplete_for",
        old.retry.incomplete_for(),
        retry.incomplete_for(),
    );
    lines.value("shape.multiplex", old.shape.multiplex, shape.multiplex);
    lines.value("shape.streams", old.shape.streams, shape.streams);
    lines.value("shape.children", old.shape.children, shape.children);
    lines.schedules(&old.schedules, schedules);
    let (before, after) = (old.retention, *retention);
    lines.option("retention.daily", before.map(|r| r.daily), after.map(|r| r.daily));
    lines.option(
        "retention.weekly",
        before.map(|r| r.weekly),
        after.map(|r| r.weekly),
    );
    lines.option(
        "retention.monthly",
        before.map(|r| r.monthly),
        after.map(|r| r.monthly),
    );
    lines.0
}

#[derive(Default)]
struct Lines(Vec<String>);

impl Lines {
    fn value(&mut self, key: &str, old: impl Display, new: impl Display) {
        let (old, new) = (old.to_string(), new.to_string());
        if old != new {
            self.0.push(format!("{key}: {old} -> {new}"));
        }
    }

    fn list<T: PartialEq + Debug>(&mut self, key: &str, old: &[T], new: &[T]) {
        if old != new {
            self.0.push(format!("{key}: {old:?} -> {new:?}"));
        }
    }

    fn option<T: Display>(&mut self, key: &str, old: Option<T>, new: Option<T>) {
        let text = |value: Option<T>| value.map_or_else(|| "none".to_owned(), |value| value.to_string());
        self.value(key, text(old), text(new));
    }

    fn schedules(&mut self, old: &[Schedule], new: &[Schedule]) {
        let before = self.0.len();
        let named = |all: &[Schedule], name: &str| all.iter().find(|schedule| schedule.name == name).cloned();
        for gone in old.iter().filter(|schedule| named(new, &schedule.name).is_none()) {
            self.0.push(format!("schedule \"{}\" is gone", gone.name));
        }
        for schedule in new {
            match named(old, &schedule.name) {
                None => self.0.push(format!("schedule \"{}\" is new", schedule.name)),
                Some(known) => self.schedule(&known, schedule),
            }
        }
        if self.0.len() == before && old != new {
            self.0.push("schedule: in another order".to_owned());
        }
    }

    fn schedule(&mut self, old: &Schedule, new: &Schedule) {
        let Schedule {
            name,
            cron,
            every,
            timezone,
            window,
            at_window_end,
        } = new;
        let key = |key: &str| format!("schedule \"{name}\".{key}");
        self.option(&key("cron"), old.cron.as_ref(), cron.as_ref());
        self.option(&key("every"), old.every, *every);
        self.value(&key("timezone"), &old.timezone, timezone);
        self.option(&key("window"), old.window.as_ref(), window.as_ref());
        self.value(&key("at_window_end"), old.at_window_end, at_window_end);
    }
}

fn names(clients: &[AgentName]) -> Vec<&str> {
    clients.iter().map(AgentName::as_str).collect()
}

#[cfg(test)]
mod tests {
    use outlast_proto::words::{Policy, Retention, Schedule, Seconds, WindowEnd};

    use super::between;

    fn policy() -> Policy {
        let name = |text: &str| text.parse().expect("a name");
        Policy::with_defaults(
            "home".parse().expect("a name"),
            vec![name("laptop")],
            vec!["/home".into()],
            "default".parse().expect("a name"),
        )
    }

    fn nightly() -> Schedule {
        Schedule {
            name: "nightly".into(),
            cron: Some("0 1 * * *".into()),
            every: None,
            timezone: "UTC".into(),
            window: None,
            at_window_end: WindowEnd::Finish,
        }
    }

    #[test]
    fn t90_changes_are_told_in_the_words_of_a_policy_file() {
        type Change = fn(&mut Policy);
        let table: [(Change, &[&str]); 12] = [
            (|_| {}, &[]),
            (
                |p| p.items = vec!["/etc".into()],
                &["items: [\"/home\"] -> [\"/etc\"]"],
            ),
            (
                |p| p.checkpoint.interval = Seconds(5400),
                &["checkpoint.interval: 15m -> 1h 30m"],
            ),
            (
                |p| p.limits.bandwidth = Some(20),
                &["limits.bandwidth: none -> 20B/s"],
            ),
            (
                |p| p.limits.cancel_after = Some(Seconds(8 * 3600)),
                &["limits.cancel_after: none -> 8h"],
            ),
            (|p| p.retry.tries = 3, &["retry.tries: 2 -> 3"]),
            // What it says is what counts anyway.
            (|p| p.retry.incomplete_for = Some(Seconds(3 * 3600)), &[]),
            (
                |p| p.retry.incomplete_for = Some(Seconds(4 * 3600)),
                &["retry.incomplete_for: 3h -> 4h"],
            ),
            (
                |p| {
                    p.retention = Some(Retention {
                        daily: 7,
                        weekly: 0,
                        monthly: 0,
                    });
                },
                &[
                    "retention.daily: none -> 7",
                    "retention.weekly: none -> 0",
                    "retention.monthly: none -> 0",
                ],
            ),
            (
                |p| p.schedules[0].window = Some("23:00-06:00".into()),
                &["schedule \"nightly\".window: none -> 23:00-06:00"],
            ),
            (
                |p| p.schedules[0].name = "weekly".into(),
                &["schedule \"nightly\" is gone", "schedule \"weekly\" is new"],
            ),
            (|p| p.schedules.clear(), &["schedule \"nightly\" is gone"]),
        ];
        for (change, expected) in table {
            let mut old = policy();
            old.schedules.push(nightly());
            let mut new = old.clone();
            change(&mut new);
            assert_eq!(between(&old, &new), expected);
        }
    }

    #[test]
    fn t90_schedules_in_another_order_are_a_change() {
        let (mut old, mut second) = (policy(), nightly());
        second.name = "weekly".into();
        old.schedules = vec![nightly(), second];
        let mut new = old.clone();
        new.schedules.reverse();
        assert_eq!(between(&old, &new), ["schedule: in another order"]);
    }
}
