//! A bounded amount of something that blocking threads take and the stream's owner gives back: the back-pressure of a backup.

use std::time::Duration;

use outlast_kit::shutdown::Shutdown;
use parking_lot::{Condvar, Mutex};

/// How often a waiting thread looks whether it should stop.
const LOOK: Duration = Duration::from_millis(100);

/// The amount, part of which is kept for the file whose turn it is: files read ahead can never starve it.
pub(super) struct Budget {
    state: Mutex<State>,
    freed: Condvar,
    total: usize,
    reserve: usize,
    stop: Shutdown,
}

#[derive(Default)]
struct State {
    used: usize,
    head: Option<u64>,
}

/// The attempt is ending: whoever gets this returns at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the attempt is ending")]
pub(super) struct Stopping;

impl Budget {
    pub(super) fn new(total: usize, reserve: usize, stop: Shutdown) -> Self {
        Self {
            state: Mutex::default(),
            freed: Condvar::new(),
            total,
            reserve,
            stop,
        }
    }

    /// Waits until `amount` is free and takes it on behalf of file `node`.
    pub(super) fn take(&self, node: u64, amount: usize) -> Result<(), Stopping> {
        let mut state = self.state.lock();
        loop {
            if self.stop.has_begun() {
                return Err(Stopping);
            }
            if self.fits(&state, node, amount) {
                state.used += amount;
                return Ok(());
            }
            self.freed.wait_for(&mut state, LOOK);
        }
    }

    /// Takes `amount` if it is free now.
    pub(super) fn try_take(&self, amount: usize) -> bool {
        let mut state = self.state.lock();
        let free = state.used + amount <= self.total - self.reserve;
        if free {
            state.used += amount;
        }
        free
    }

    /// Gives back what was taken.
    pub(super) fn give(&self, amount: usize) {
        let mut state = self.state.lock();
        state.used = state.used.saturating_sub(amount);
        self.freed.notify_all();
    }

    /// Whose turn it is: that file may use the reserve.
    pub(super) fn set_head(&self, node: Option<u64>) {
        let mut state = self.state.lock();
        if state.head != node {
            state.head = node;
            self.freed.notify_all();
        }
    }

    fn fits(&self, state: &State, node: u64, amount: usize) -> bool {
        let reserve = if state.head == Some(node) { 0 } else { self.reserve };
        // Alone, even too much fits: waiting would never end.
        state.used == 0 || state.used + amount <= self.total - reserve
    }
}

#[cfg(test)]
mod tests {
    use outlast_kit::shutdown::Shutdown;

    use super::{Budget, Stopping};

    #[test]
    fn files_read_ahead_leave_the_reserve_to_the_one_whose_turn_it_is() {
        let stop = Shutdown::new();
        let budget = Budget::new(100, 40, stop.clone());
        budget.set_head(Some(1));
        budget.take(2, 60).unwrap();
        assert!(!budget.try_take(1));
        budget.take(1, 40).unwrap();
        budget.give(60);
        budget.take(2, 20).unwrap();
        stop.begin();
        assert_eq!(budget.take(1, 60), Err(Stopping));
    }
}
