//! The clock that a host's file systems stamp files with, and what one stamp can hide: two changes within one tick of it.
//!
//! Used by the readers of a backup. What waits is theirs.

use std::time::Duration;

use rustix::fs::Stat;
use rustix::time::{ClockId, clock_gettime};

const SECOND: i128 = 1_000_000_000;
/// A file whose stamp is not older than this when it is read is read again by the next backup (S-14c). Also the longest tick there is:
/// of FAT's time of modification.
const YOUNG: i128 = 2 * SECOND;
/// The longest tick of stamps that are no whole seconds: kernels with 100 ticks a second, and exFAT.
const SHORT_TICK: i128 = SECOND / 100;

/// A moment as file systems stamp it, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(i128);

impl Moment {
    /// What a file that changed now would be stamped with, or a little earlier.
    pub(crate) fn now() -> Self {
        let now = clock_gettime(ClockId::RealtimeCoarse);
        Self(nanos(now.tv_sec, now.tv_nsec))
    }

    /// Whether the file may yet have changed without a new stamp when it was read from this moment on, as far as anybody can
    /// tell for whom only its stamp is left.
    pub(crate) fn finds_young(self, stat: &Stat) -> bool {
        stamp(stat) >= self.0 - YOUNG
    }

    /// How long a change could still get the stamp that the file has. Nothing for a stamp of the future: no change gets that.
    pub(crate) fn until_tick_ends(self, stat: &Stat) -> Duration {
        let stamp = stamp(stat);
        if stamp > self.0 + YOUNG {
            return Duration::ZERO;
        }
        let tick = if stamp % SECOND == 0 { YOUNG } else { SHORT_TICK };
        let left = (stamp + tick - self.0).max(0);
        Duration::from_nanos(u64::try_from(left).unwrap_or(0))
    }
}

/// When the file changed last: its ctime, or its mtime where there is none.
fn stamp(stat: &Stat) -> i128 {
    match nanos(stat.st_ctime, stat.st_ctime_nsec) {
        0 => nanos(stat.st_mtime, stat.st_mtime_nsec),
        changed => changed,
    }
}

/// The numbers' widths differ between machines.
fn nanos(seconds: impl Into<i128>, nanos: impl TryInto<i128>) -> i128 {
    seconds.into() * SECOND + nanos.try_into().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::fs::Stat;

    use super::{Moment, SECOND};

    const MILLI: i128 = SECOND / 1000;

    fn stat(ctime: i128, mtime: i128) -> Stat {
        let file = std::fs::File::open("/").unwrap();
        let mut stat = outlast_kit::calls::fstat(&file).unwrap();
        let seconds = |stamp: i128| i64::try_from(stamp.div_euclid(SECOND)).unwrap();
        let nanos = |stamp: i128| u32::try_from(stamp.rem_euclid(SECOND)).unwrap().into();
        (stat.st_ctime, stat.st_ctime_nsec) = (seconds(ctime), nanos(ctime));
        (stat.st_mtime, stat.st_mtime_nsec) = (seconds(mtime), nanos(mtime));
        stat
    }

    #[test]
    fn s14c_what_a_stamp_can_hide() {
        let now = 1000 * SECOND + 1;
        let fine = |ago: i128| now - ago;
        // ctime, mtime; whether it is young, and for how long a change could get the same stamp.
        let rows = [
            ("just now", fine(0), 0, true, 10),
            ("half a tick ago", fine(5 * MILLI), 0, true, 5),
            ("a tick ago", fine(10 * MILLI), 0, true, 0),
            ("2 s ago", fine(2 * SECOND), 0, true, 0),
            ("more than 2 s ago", fine(2 * SECOND + 1), 0, false, 0),
            ("in the next second", fine(-700 * MILLI), 0, true, 710),
            ("in an hour", fine(-3600 * SECOND), 0, true, 0),
            ("in whole seconds, this one", 1000 * SECOND, 0, true, 2000),
            ("in whole seconds, the last one", 999 * SECOND, 0, true, 1000),
            ("in whole seconds, 2 s ago", 998 * SECOND, 0, false, 0),
            ("its mtime does not count", fine(3 * SECOND), fine(0), false, 0),
            ("no ctime, mtime of now", 0, fine(0), true, 10),
            ("no ctime, mtime in whole seconds", 0, 1000 * SECOND, true, 2000),
            ("no ctime, old", 0, fine(3 * SECOND), false, 0),
            ("before 1970", -SECOND / 2, 0, false, 0),
        ];
        for (case, ctime, mtime, young, millis) in rows {
            let stat = stat(ctime, mtime);
            assert_eq!(Moment(now).finds_young(&stat), young, "{case}");
            // A nanosecond more or less.
            let left = Moment(now).until_tick_ends(&stat) + Duration::from_nanos(1);
            assert_eq!(left.as_millis(), millis, "{case}");
        }
    }
}
