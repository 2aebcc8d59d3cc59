//! The policy's bandwidth limit: source bytes per second, over all readers of an attempt.

use std::time::{Duration, Instant};

use outlast_kit::shutdown::Shutdown;
use parking_lot::Mutex;

use super::budget::Stopping;

/// How far reading may be ahead of the limit after a quiet moment.
const BURST: Duration = Duration::from_millis(200);
const LOOK: Duration = Duration::from_millis(100);

/// Makes readers wait until what they have read is paid for in time.
pub(super) struct Throttle {
    limit: Option<Limit>,
    stop: Shutdown,
}

struct Limit {
    bytes_per_second: u64,
    paid_until: Mutex<Instant>,
}

impl Throttle {
    /// No limit, or so many bytes a second; 0 counts as no limit.
    pub(super) fn new(bytes_per_second: Option<u64>, stop: Shutdown) -> Self {
        let limit = bytes_per_second.filter(|rate| *rate > 0).map(|rate| Limit {
            bytes_per_second: rate,
            paid_until: Mutex::new(Instant::now()),
        });
        Self { limit, stop }
    }

    /// Whether anybody may have to wait.
    pub(super) fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// Accounts for `bytes` that were read.
    pub(super) fn pay(&self, bytes: usize) -> Result<(), Stopping> {
        let Some(limit) = &self.limit else { return Ok(()) };
        let until = limit.charge(bytes, Instant::now());
        loop {
            if self.stop.has_begun() {
                return Err(Stopping);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(LOOK));
        }
    }
}

impl Limit {
    /// When `bytes` more will be paid for, seen from `now`.
    fn charge(&self, bytes: usize, now: Instant) -> Instant {
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let mut paid = self.paid_until.lock();
        let from = now
            .checked_sub(BURST)
            .map_or(*paid, |earliest| earliest.max(*paid));
        *paid = from + cost;
        *paid
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use parking_lot::Mutex;

    use super::{BURST, Limit};

    #[test]
    fn the_limit_holds_over_time_and_idle_time_is_not_saved_up() {
        let start = Instant::now();
        let limit = Limit {
            bytes_per_second: 1000,
            paid_until: Mutex::new(start),
        };
        assert_eq!(limit.charge(500, start), start + Duration::from_millis(500));
        assert_eq!(limit.charge(500, start), start + Duration::from_millis(1000));
        let later = start + Duration::from_secs(60);
        assert_eq!(limit.charge(1000, later), later - BURST + Duration::from_secs(1));
    }
}
