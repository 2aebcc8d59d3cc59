//! When a policy runs by itself: the keys of `[[schedule]]`, and what can be said of them without a calendar.
//!
//! When a schedule is due is the scheduler's knowledge; whether a time zone exists is that of the host's tables.

use serde::{Deserialize, Serialize};

use super::{Seconds, word_enum};

word_enum!(
    /// What happens to an active job when its time window closes (T-03).
    WindowEnd {
        /// It goes on to its end.
        Finish = "finish",
        /// Items in progress are finished.
        StopGracefully = "stop_gracefully",
        /// Stopped at once.
        StopImmediately = "stop_immediately",
        /// Laid aside at the next checkpoint.
        Suspend = "suspend",
    }
);

/// When the policy runs (T-01, T-02).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Unique within the policy.
    pub name: String,
    /// Cron expression, if it runs by the calendar.
    pub cron: Option<String>,
    /// Interval, if it runs every so often.
    pub every: Option<Seconds>,
    /// IANA name.
    pub timezone: String,
    /// `HH:MM-HH:MM`, may cross midnight.
    pub window: Option<String>,
    /// What happens when the window closes.
    pub at_window_end: WindowEnd,
}

/// The fields of a cron expression, each with its lowest and highest value and its names.
const FIELDS: [(&str, u32, u32, &[&str]); 5] = [
    ("minute", 0, 59, &[]),
    ("hour", 0, 23, &[]),
    ("day of the month", 1, 31, &[]),
    (
        "month",
        1,
        12,
        &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    ),
    (
        "day of the week",
        0,
        7,
        &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    ),
];

impl Schedule {
    /// What is wrong with it, to be read after its name.
    pub(super) fn fault(&self) -> Option<String> {
        match (&self.cron, self.every) {
            (Some(_), Some(_)) | (None, None) => return Some("needs either cron or every".into()),
            (None, Some(Seconds(0))) => return Some("needs every to be above 0".into()),
            _ => {}
        }
        let cron = self.cron.as_deref().and_then(cron_fault);
        let window = || {
            let text = self.window.as_deref().filter(|text| !is_window(text))?;
            Some(format!(
                "has the window {text:?}; write two different times such as \"23:00-06:00\""
            ))
        };
        cron.or_else(window)
    }
}

fn cron_fault(text: &str) -> Option<String> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Some(format!(
            "has the cron expression {text:?}, which has {} fields; \
             write minute, hour, day of the month, month and day of the week",
            fields.len()
        ));
    }
    let wrong = |((name, low, high, names), field): (&(&str, u32, u32, &[&str]), &str)| {
        let right = field
            .split(',')
            .all(|part| is_cron_part(part, *low, *high, names));
        (!right).then(|| {
            format!("has the cron expression {text:?}, in which {field:?} is no {name} ({low} to {high})")
        })
    };
    FIELDS.iter().zip(fields).find_map(wrong)
}

/// `*`, a value or a range, each with or without a step.
fn is_cron_part(part: &str, low: u32, high: u32, names: &[&str]) -> bool {
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (part, None),
    };
    let steps = step.is_none_or(|step| number(step).is_some_and(|step| (1..=high).contains(&step)));
    let value = |text: &str| {
        let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let named = named.and_then(|place| Some(low + u32::try_from(place).ok()?));
        named
            .or_else(|| number(text))
            .filter(|value| (low..=high).contains(value))
    };
    let ranges = match range.split_once('-') {
        _ if range == "*" => true,
        Some((from, to)) => value(from).zip(value(to)).is_some_and(|(from, to)| from <= to),
        None => value(range).is_some(),
    };
    steps && ranges
}

/// `HH:MM-HH:MM`; may cross midnight.
fn is_window(text: &str) -> bool {
    let time = |text: &str| {
        let (hours, minutes) = text.split_once(':')?;
        let (hours, minutes) = (
            number(hours).filter(|_| hours.len() == 2)?,
            number(minutes).filter(|_| minutes.len() == 2)?,
        );
        (hours < 24 && minutes < 60).then_some((hours, minutes))
    };
    let times = text
        .split_once('-')
        .and_then(|(from, to)| time(from).zip(time(to)));
    times.is_some_and(|(from, to)| from != to)
}

/// Digits only: `parse` would take a sign.
fn number(text: &str) -> Option<u32> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::{Schedule, Seconds, WindowEnd};

    fn schedule(cron: Option<&str>, every: Option<u64>, window: Option<&str>) -> Schedule {
        Schedule {
            name: "nightly".into(),
            cron: cron.map(str::to_owned),
            every: every.map(Seconds),
            timezone: "UTC".into(),
            window: window.map(str::to_owned),
            at_window_end: WindowEnd::Finish,
        }
    }

    #[test]
    fn t90_t01_cron_expressions_are_read_before_they_are_kept() {
        for (cron, right) in [
            ("0 1 * * *", true),
            ("*/15 0-6,22,23 1 jan-Mar Mon-fri", true),
            ("59 23 31 12 7", true),
            ("0 25 * * *", false),
            ("60 1 * * *", false),
            ("0 1 0 * *", false),
            ("0 1 * 13 *", false),
            ("0 1 * * 8", false),
            ("0 1 * *", false),
            ("0 0 1 * * *", false),
            ("", false),
            ("0 6-1 * * *", false),
            ("*/0 * * * *", false),
            ("*/ * * * *", false),
            ("+1 * * * *", false),
            ("a * * * *", false),
            ("1, * * * *", false),
        ] {
            let fault = schedule(Some(cron), None, None).fault();
            assert_eq!(fault.is_none(), right, "{cron}: {fault:?}");
        }
    }

    #[test]
    fn t90_t02_windows_are_read_before_they_are_kept() {
        for (window, right) in [
            ("23:00-06:00", true),
            ("00:00-23:59", true),
            ("23:00-26:00", false),
            ("23:60-06:00", false),
            ("23:00", false),
            ("6:00-7:00", false),
            ("06:00-06:00", false),
            ("at night", false),
            ("", false),
        ] {
            let fault = schedule(Some("0 1 * * *"), None, Some(window)).fault();
            assert_eq!(fault.is_none(), right, "{window}: {fault:?}");
        }
    }

    #[test]
    fn t01_a_schedule_has_either_a_calendar_or_an_interval() {
        for (cron, every, right) in [
            (Some("0 1 * * *"), None, true),
            (None, Some(300), true),
            (None, Some(0), false),
            (None, None, false),
            (Some("0 1 * * *"), Some(300), false),
        ] {
            assert_eq!(schedule(cron, every, None).fault().is_none(), right);
        }
    }
}
