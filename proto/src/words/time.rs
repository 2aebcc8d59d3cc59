//! Wall-clock stamps and durations as they are stored and shown. They never decide who is alive (C-07).

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
