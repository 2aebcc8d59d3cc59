//! The durations that must fit together: the range of each (B-01), and ONE table of what must lie below what, with the reason (C-08c).
//!
//! Pure. Looked at by `apply` whenever one of them is set, by the API before a policy is proposed, and by the test that keeps
//! `docs/durations.md` true. Which values are in force where is [`judge`]'s.

use outlast_proto::words::Seconds;

pub mod judge;

pub use judge::{Durations, Place, Violation, judge_policy};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// How long a ticket may be shown for the first time.
pub const TICKET_GOOD_FOR: Seconds = Seconds(DAY);

/// Something that is set, or fixed, in seconds; `RetryTries` is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Setting {
    ///
    DisruptionGrace,
    /// C-04.
    FailoverAfter,
    /// C-02.
    StalledAfter,
    /// C-03.
    NoCommunicationAfter,
    /// F-10.
    ReconnectFor,
    /// F-05.
    CheckpointInterval,
    /// T-04.
    CancelAfter,
    /// F-09.
    RetryDelay,
    /// F-09.
    RetryTries,
    /// F-09.
    RetryWithin,
    /// F-09.
    IncompleteFor,
    /// Fixed.
    TicketExpiry,
}

impl Setting {
    /// Every one.
    pub const ALL: [Self; 12] = [
        Self::DisruptionGrace,
        Self::FailoverAfter,
        Self::StalledAfter,
        Self::NoCommunicationAfter,
        Self::ReconnectFor,
        Self::CheckpointInterval,
        Self::CancelAfter,
        Self::RetryDelay,
        Self::RetryTries,
        Self::RetryWithin,
        Self::IncompleteFor,
        Self::TicketExpiry,
    ];

    /// As settings and policy files name it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::DisruptionGrace => "disruption_grace",
            Self::FailoverAfter => "failover_after",
            Self::StalledAfter => "stalled_after",
            Self::NoCommunicationAfter => "no_communication_after",
            Self::ReconnectFor => "reconnect_for",
            Self::CheckpointInterval => "checkpoint.interval",
            Self::CancelAfter => "limits.cancel_after",
            Self::RetryDelay => "retry.delay",
            Self::RetryTries => "retry.tries",
            Self::RetryWithin => "retry.within",
            Self::IncompleteFor => "retry.incomplete_for",
            Self::TicketExpiry => "ticket expiry",
        }
    }

    /// The smallest and the largest value; none: it is not set by anybody.
    #[must_use]
    pub const fn range(self) -> Option<(u64, u64)> {
        Some(match self {
            Self::DisruptionGrace => (1, HOUR),
            Self::FailoverAfter => (6, 2 * HOUR),
            // An agent says something every 2 s.
            Self::StalledAfter => (2, 12 * HOUR),
            Self::NoCommunicationAfter => (1, DAY),
            Self::ReconnectFor => (1, 12 * HOUR),
            Self::CheckpointInterval => (1, DAY),
            Self::CancelAfter => (1, 30 * DAY),
            Self::RetryDelay => (1, DAY),
            Self::RetryTries => (0, 1000),
            Self::RetryWithin => (1, 30 * DAY),
            Self::IncompleteFor => (HOUR, 72 * HOUR),
            Self::TicketExpiry => return None,
        })
    }

    /// A value of it, for a person.
    #[must_use]
    pub fn value(self, value: u64) -> String {
        match self {
            Self::RetryTries => value.to_string(),
            _ => Seconds(value).to_string(),
        }
    }
}

/// One side: these together, so many times, and a margin.
#[derive(Clone, Copy, Debug)]
pub struct Side {
    /// Added up.
    pub sum: &'static [Setting],
    /// Times this.
    pub times: Option<Setting>,
    /// And this more.
    pub plus: u64,
}

const fn just(sum: &'static [Setting]) -> Side {
    Side {
        sum,
        times: None,
        plus: 0,
    }
}

/// What must not be larger than what.
#[derive(Clone, Copy, Debug)]
pub struct Inequality {
    /// Not larger.
    pub small: Side,
    /// Not smaller.
    pub large: Side,
    /// What would go wrong otherwise.
    pub why: &'static str,
    /// The rows of the specification that it keeps.
    pub rows: &'static str,
}

/// All of them. Where failover is switched off in a pool, its `failover_after` means nothing and is not looked at.
pub const INEQUALITIES: &[Inequality] = &[
    Inequality {
        small: Side {
            sum: &[Setting::DisruptionGrace],
            times: None,
            plus: 5,
        },
        large: just(&[Setting::FailoverAfter]),
        why: "an attempt that may not go on without a primary has ended by itself before the cluster gives it up and begins another",
        rows: "R-03, F-13",
    },
    Inequality {
        small: just(&[Setting::FailoverAfter]),
        large: just(&[Setting::StalledAfter]),
        why: "attempts move before anything else is made of a silence, so that nothing looks active for minutes that is not",
        rows: "C-04",
    },
    Inequality {
        small: just(&[Setting::ReconnectFor]),
        large: just(&[Setting::StalledAfter, Setting::NoCommunicationAfter]),
        why: "while a broken stream may come back no attempt is taken for lost where jobs do not fail over",
        rows: "F-10, C-03",
    },
    Inequality {
        small: just(&[Setting::StalledAfter, Setting::NoCommunicationAfter]),
        large: just(&[Setting::TicketExpiry]),
        why: "an attempt that nobody has given up may still begin: its ticket is good as long",
        rows: "C-03, F-04a",
    },
    Inequality {
        small: just(&[Setting::RetryDelay]),
        large: just(&[Setting::IncompleteFor]),
        why: "an incomplete job is resumed before it is called done",
        rows: "F-09",
    },
    Inequality {
        small: Side {
            sum: &[Setting::RetryDelay],
            times: Some(Setting::RetryTries),
            plus: 0,
        },
        large: just(&[Setting::RetryWithin]),
        why: "tries that lie further apart are never counted together, and the job would be tried for ever",
        rows: "F-09",
    },
];

impl Side {
    /// Whether the setting is a part of it.
    #[must_use]
    pub fn names(&self, setting: Setting) -> bool {
        self.sum.contains(&setting) || self.times == Some(setting)
    }

    /// Its parts.
    pub fn parts(&self) -> impl Iterator<Item = Setting> {
        self.sum.iter().copied().chain(self.times)
    }

    /// As a person reads it.
    #[must_use]
    pub fn words(&self) -> String {
        let sum: Vec<_> = self.sum.iter().map(|setting| setting.word()).collect();
        let mut text = sum.join(" + ");
        if let Some(times) = self.times {
            text = format!("{} x {text}", times.word());
        }
        if self.plus > 0 {
            text += &format!(" + {}", Seconds(self.plus));
        }
        text
    }
}

/// Both tables as `docs/durations.md` has them.
#[must_use]
pub fn as_markdown() -> String {
    let mut text = "| setting | from | to |\n|---|---|---|\n".to_owned();
    for setting in Setting::ALL {
        if let Some((from, to)) = setting.range() {
            let (from, to) = (setting.value(from), setting.value(to));
            text += &format!("| `{}` | {from} | {to} |\n", setting.word());
        }
    }
    text += "\n| not above | this | why | rows |\n|---|---|---|---|\n";
    for Inequality {
        small,
        large,
        why,
        rows,
    } in INEQUALITIES
    {
        text += &format!("| `{}` | `{}` | {why} | {rows} |\n", small.words(), large.words());
    }
    text
}
