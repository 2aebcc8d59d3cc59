//! Wall-clock stamps and durations as they are stored and shown. They never decide who is alive (C-07).

use std::fmt;

use serde::{Deserialize, Serialize};

/// A moment of wall time: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Whole and fractional seconds since 1970.
    #[must_use]
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Seconds from `earlier` to this moment, 0 if it lies later.
    #[must_use]
    pub fn seconds_since(self, earlier: Timestamp) -> f64 {
        (self.0.saturating_sub(earlier.0)).max(0) as f64 / 1e6
    }

    /// This moment moved by whole seconds, saturating.
    #[must_use]
    pub fn plus(self, seconds: Seconds) -> Timestamp {
        Timestamp(
            self.0
                .saturating_add_unsigned(seconds.0.saturating_mul(1_000_000)),
        )
    }
}

/// A duration in whole seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seconds(pub u64);

/// As policy files write it: `1h 30m`.
impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, rest) = (self.0 / 86_400, self.0 % 86_400);
        let parts = [
            (days, "d"),
            (rest / 3600, "h"),
            (rest / 60 % 60, "m"),
            (rest % 60, "s"),
        ];
        let mut gap = "";
        for (number, unit) in parts.iter().filter(|(number, _)| *number > 0) {
            write!(f, "{gap}{number}{unit}")?;
            gap = " ";
        }
        if gap.is_empty() { f.write_str("0s") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::Seconds;

    #[test]
    fn durations_are_written_as_in_policy_files() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (900, "15m"),
            (5400, "1h 30m"),
            (12 * 3600, "12h"),
            (90_061, "1d 1h 1m 1s"),
        ] {
            assert_eq!(Seconds(seconds).to_string(), text);
        }
    }
}
