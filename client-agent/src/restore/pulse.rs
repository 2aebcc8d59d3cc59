//! Since when the restoring thread has been in one step of its work: a target may never answer (a network share whose server is gone, a
//! file system that is frozen), and no call can be told to give up.
//!
//! Written by the thread before each step, read by the stream.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The thread waits for messages, or for room for its own.
const WAITS: u64 = u64::MAX;
/// People are told after this part of the patience.
const TOLD_AFTER: u32 = 5;

pub(super) struct Pulse {
    begun: Instant,
    /// Milliseconds from `begun` to the beginning of the step.
    step: AtomicU64,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            step: AtomicU64::new(WAITS),
        }
    }

    /// A step begins, which may take as long as the target makes it.
    pub(super) fn steps(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(WAITS - 1);
        self.step.store(now, Ordering::Relaxed);
    }

    /// Nothing is asked of the target.
    pub(super) fn waits(&self) {
        self.step.store(WAITS, Ordering::Relaxed);
    }

    /// Comes back once a step has taken a fifth of `patience`, and if that was `told` of, all of it.
    pub(super) async fn has_stopped(&self, told: Option<Instant>, patience: Duration) {
        loop {
            let (now, step) = (Instant::now(), self.step_began());
            let limit = match step {
                Some(began) if step == told => began + patience,
                Some(began) => began + patience / TOLD_AFTER,
                None => now + patience / TOLD_AFTER,
            };
            if limit <= now {
                return;
            }
            tokio::time::sleep_until(limit).await;
        }
    }

    /// The step it is in; none: it waits.
    pub(super) fn step_began(&self) -> Option<Instant> {
        match self.step.load(Ordering::Relaxed) {
            WAITS => None,
            step => Some(self.begun + Duration::from_millis(step)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pulse;

    #[test]
    fn s14e_each_step_has_its_own_beginning_and_waiting_is_none() {
        let pulse = Pulse::new();
        assert_eq!(pulse.step_began(), None);
        pulse.steps();
        let first = pulse.step_began().unwrap();
        while pulse.begun.elapsed() < first - pulse.begun + std::time::Duration::from_millis(2) {
            std::thread::yield_now();
        }
        pulse.steps();
        assert!(pulse.step_began().unwrap() > first);
        pulse.waits();
        assert_eq!(pulse.step_began(), None);
    }
}
