//! Where each thread of an attempt is, so that a call to a file system that does not return can be named.
//!
//! Written by the threads, looked at by `progress`.

use std::sync::{Arc, Weak};
use std::time::Duration;

use outlast_kit::clock::SharedClock;
use parking_lot::Mutex;

/// After so long a call is shown as where the attempt is.
const SHOWN_AFTER: Duration = Duration::from_secs(10);
/// After so long it is told.
const TOLD_AFTER: Duration = Duration::from_secs(60);

/// All of them.
#[derive(Default)]
pub(crate) struct Places(Mutex<Vec<Weak<Mutex<Spot>>>>);

#[derive(Default)]
struct Spot {
    path: Vec<u8>,
    doing: &'static str,
    /// None while it waits for something of ours.
    since: Option<Duration>,
    is_told: bool,
    /// When the file that it works on was begun.
    begun: Option<Duration>,
}

/// One thread's own.
pub(crate) struct Place {
    spot: Arc<Mutex<Spot>>,
    clock: SharedClock,
}

/// A call that does not return.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Hung {
    pub(crate) path: Vec<u8>,
    pub(crate) doing: &'static str,
    pub(crate) since: Duration,
}

impl Places {
    pub(crate) fn place(&self, clock: &SharedClock) -> Place {
        let spot = Arc::default();
        let mut spots = self.0.lock();
        spots.retain(|spot| spot.strong_count() > 0);
        spots.push(Arc::downgrade(&spot));
        Place {
            spot,
            clock: Arc::clone(clock),
        }
    }

    /// The path of the call that takes longest, if it takes so long that something is wrong.
    pub(crate) fn longest(&self, now: Duration) -> Option<Vec<u8>> {
        let spots = self.0.lock();
        let spots = spots.iter().filter_map(Weak::upgrade);
        let waiting = spots.filter_map(|spot| {
            let spot = spot.lock();
            let since = spot
                .since
                .filter(|since| now.saturating_sub(*since) >= SHOWN_AFTER)?;
            Some((since, spot.path.clone()))
        });
        waiting.min().map(|(_, path)| path)
    }

    /// The path of the file that was begun last and is not done.
    pub(crate) fn newest(&self) -> Option<Vec<u8>> {
        let spots = self.0.lock();
        let spots = spots.iter().filter_map(Weak::upgrade);
        let under_way = spots.filter_map(|spot| {
            let spot = spot.lock();
            Some((spot.begun?, spot.path.clone()))
        });
        under_way.max().map(|(_, path)| path)
    }

    /// Calls that have not returned for a minute, each once.
    pub(crate) fn hung(&self, now: Duration) -> Vec<Hung> {
        let spots = self.0.lock();
        let spots = spots.iter().filter_map(Weak::upgrade);
        let hung = spots.filter_map(|spot| {
            let mut spot = spot.lock();
            let since = now.saturating_sub(spot.since?);
            if since < TOLD_AFTER || std::mem::replace(&mut spot.is_told, true) {
                return None;
            }
            Some(Hung {
                path: spot.path.clone(),
                doing: spot.doing,
                since,
            })
        });
        hung.collect()
    }
}

impl Place {
    /// A file is opened, and worked on until it is done.
    pub(crate) fn begin(&self, path: &[u8]) {
        self.at("open", path);
        let mut spot = self.spot.lock();
        spot.begun = spot.since;
    }

    /// The file is done.
    pub(crate) fn end(&self) {
        let mut spot = self.spot.lock();
        (spot.since, spot.begun) = (None, None);
    }

    /// A call is made that may not return.
    pub(crate) fn at(&self, doing: &'static str, path: &[u8]) {
        let mut spot = self.spot.lock();
        spot.path.clear();
        spot.path.extend_from_slice(path);
        spot.doing = doing;
        (spot.since, spot.is_told) = (Some(self.clock.monotonic()), false);
    }

    /// It has returned, and another one like it is made.
    pub(crate) fn again(&self) {
        let mut spot = self.spot.lock();
        (spot.since, spot.is_told) = (Some(self.clock.monotonic()), false);
    }

    /// It has returned.
    pub(crate) fn rest(&self) {
        self.spot.lock().since = None;
    }
}
