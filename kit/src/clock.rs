//! Time as something that is passed in: wall time for stamps, monotonic time for silence (C-05).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use outlast_proto::words::Timestamp;

/// Where time comes from.
pub trait Clock: Send + Sync + 'static {
    /// Wall time, for stamps a person reads.
    fn now(&self) -> Timestamp;
    /// Time since some fixed moment; never goes back.
    fn monotonic(&self) -> Duration;
}

/// A clock as daemons hand it around.
pub type SharedClock = Arc<dyn Clock>;

/// The operating system's clocks.
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// The clock every daemon uses.
    #[must_use]
    pub fn shared() -> SharedClock {
        Arc::new(Self {
            start: Instant::now(),
        })
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}
