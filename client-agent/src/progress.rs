//! How far an attempt is (L-02) and what its stream looks like (C-08): written by its threads, read by the session.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outlast_kit::clock::SharedClock;
use outlast_proto::v1::Counters;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::host::paths::shown;
use crate::places::{Hung, Place, Places};

/// The rate is that of the last so many seconds.
const RATE_OVER: Duration = Duration::from_secs(10);

/// What an attempt's stream looks like from here, by the monotonic clock (C-08).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// The last message of the media agent; before the first, the begin.
    heard: Duration,
    is_open: bool,
    /// Since when it is open, or does not get on.
    since: Duration,
    was_welcomed: bool,
}

/// As [`Seen`], in ages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamAges {
    pub(crate) silence: Duration,
    pub(crate) is_open: bool,
    pub(crate) since: Duration,
    pub(crate) was_welcomed: bool,
}

/// An attempt's running numbers.
pub struct Progress {
    clock: SharedClock,
    files: AtomicU64,
    directories: AtomicU64,
    bytes: AtomicU64,
    bytes_read: AtomicU64,
    exceptions: AtomicU64,
    path: Mutex<Vec<u8>>,
    stream: Mutex<Seen>,
    /// What the leader is to hear at once.
    changed: Arc<Notify>,
    samples: Mutex<VecDeque<(Duration, u64)>>,
    places: Places,
}

impl Progress {
    /// Everything at zero, and no stream yet.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self::telling(clock, Arc::default())
    }

    /// As [`Progress::new`]; `changed` is told when the stream comes or goes.
    #[must_use]
    pub(crate) fn telling(clock: SharedClock, changed: Arc<Notify>) -> Self {
        let now = clock.monotonic();
        Self {
            clock,
            files: AtomicU64::new(0),
            directories: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            bytes_read: AtomicU64::new(0),
            exceptions: AtomicU64::new(0),
            path: Mutex::default(),
            stream: Mutex::new(Seen {
                heard: now,
                is_open: false,
                since: now,
                was_welcomed: false,
            }),
            changed,
            samples: Mutex::new(VecDeque::from([(now, 0)])),
            places: Places::default(),
        }
    }

    /// The numbers of L-04 that the client knows.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            files: self.files.load(Ordering::Relaxed),
            directories: self.directories.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            bytes_read: self.bytes_read.load(Ordering::Relaxed),
            exceptions: self.exceptions.load(Ordering::Relaxed),
            ..Counters::default()
        }
    }

    /// Source bytes a second over the last seconds. Asked every few seconds.
    pub(crate) fn rate(&self) -> u64 {
        let now = (self.clock.monotonic(), self.bytes.load(Ordering::Relaxed));
        let mut samples = self.samples.lock();
        samples.push_back(now);
        while samples.len() > 2
            && samples
                .get(1)
                .is_some_and(|(at, _)| now.0.saturating_sub(*at) >= RATE_OVER)
        {
            samples.pop_front();
        }
        let Some((since, before)) = samples.front().copied() else {
            return 0;
        };
        let elapsed = now.0.saturating_sub(since).as_secs_f64();
        if elapsed <= 0.0 {
            return 0;
        }
        (now.1.saturating_sub(before) as f64 / elapsed) as u64
    }

    /// The path being worked on, as people see it: the one that a file system does not answer to, else the file begun last that is
    /// not done, else the last one.
    pub(crate) fn path(&self) -> String {
        let hung = self.places.longest(self.clock.monotonic());
        match hung.or_else(|| self.places.newest()) {
            Some(path) => shown(&path),
            None => shown(&self.path.lock()),
        }
    }

    /// Of another thread of the attempt.
    pub(crate) fn place(&self) -> Place {
        self.places.place(&self.clock)
    }

    /// Calls to a file system that have not returned for a minute, each once.
    pub(crate) fn hung(&self) -> Vec<Hung> {
        self.places.hung(self.clock.monotonic())
    }

    /// The media agent sent something.
    pub(crate) fn heard(&self) {
        self.stream.lock().heard = self.clock.monotonic();
    }

    /// It welcomed a stream.
    pub(crate) fn opened(&self) {
        let now = self.clock.monotonic();
        *self.stream.lock() = Seen {
            heard: now,
            is_open: true,
            since: now,
            was_welcomed: true,
        };
        self.changed.notify_one();
    }

    /// The stream broke; it has not got on for so long.
    pub(crate) fn broken(&self, since: Duration) {
        let mut stream = self.stream.lock();
        stream.is_open = false;
        stream.since = self.clock.monotonic().saturating_sub(since);
        drop(stream);
        self.changed.notify_one();
    }

    /// What the stream looks like now.
    pub(crate) fn stream(&self) -> StreamAges {
        let now = self.clock.monotonic();
        let seen = *self.stream.lock();
        StreamAges {
            silence: now.saturating_sub(seen.heard),
            is_open: seen.is_open,
            since: now.saturating_sub(seen.since),
            was_welcomed: seen.was_welcomed,
        }
    }

    pub(crate) fn set_path(&self, path: &[u8]) {
        let mut current = self.path.lock();
        current.clear();
        current.extend_from_slice(path);
    }

    pub(crate) fn walked(&self, directories: u64, others: u64, exceptions: u64) {
        self.directories.fetch_add(directories, Ordering::Relaxed);
        self.files.fetch_add(others, Ordering::Relaxed);
        self.exceptions.fetch_add(exceptions, Ordering::Relaxed);
    }

    /// Source bytes were read (or, in a restore, written).
    pub(crate) fn read(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A file is done; `unread` bytes of it did not have to be read.
    pub(crate) fn file_done(&self, unread: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(unread, Ordering::Relaxed);
    }

    pub(crate) fn exceptions(&self, count: u64) {
        self.exceptions.fetch_add(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use outlast_kit::clock::Clock;
    use outlast_proto::words::Timestamp;
    use parking_lot::Mutex;

    use super::{Place, Progress, StreamAges};

    #[derive(Default)]
    struct Hand(Mutex<Duration>);

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            Timestamp::default()
        }
        fn monotonic(&self) -> Duration {
            *self.0.lock()
        }
    }

    #[test]
    fn t90_l02_a_call_that_does_not_return_is_shown_and_told_once() {
        let clock = Arc::new(Hand::default());
        let progress = Progress::new(clock.clone());
        let (hangs, works, waits) = (progress.place(), progress.place(), progress.place());
        hangs.at("read", b"/hangs");
        waits.at("read", b"/waits");
        waits.rest();
        // Second; what is shown, what is told.
        let rows = [
            (9, "/works", None),
            (10, "/hangs", None),
            (59, "/hangs", None),
            (60, "/hangs", Some(60)),
            (61, "/hangs", None),
        ];
        for (second, shown, told) in rows {
            *clock.0.lock() = Duration::from_secs(second);
            works.at("list", b"/works");
            progress.set_path(b"/works");
            assert_eq!(progress.path(), shown, "after {second} s");
            let hung = progress.hung();
            assert_eq!(
                hung.first().map(|hung| hung.since.as_secs()),
                told,
                "after {second} s"
            );
            assert!(
                hung.iter()
                    .all(|hung| hung.path == b"/hangs" && hung.doing == "read")
            );
        }
        hangs.again();
        assert_eq!(progress.path(), "/works");
        drop(hangs);
        *clock.0.lock() = Duration::from_secs(300);
        works.rest();
        assert_eq!((progress.path().as_str(), progress.hung().len()), ("/works", 0));
    }

    /// A file of 16 TiB was under way for minutes, and the small one behind it was shown.
    #[test]
    fn t90_l02_a_file_that_is_done_is_not_where_the_attempt_is() {
        let clock = Arc::new(Hand::default());
        let progress = Progress::new(clock.clone());
        let (long, short) = (progress.place(), progress.place());
        let begin = |place: &Place, second, path: &[u8]| {
            *clock.0.lock() = Duration::from_secs(second);
            progress.set_path(path);
            place.begin(path);
        };
        begin(&long, 1, b"/long");
        long.rest();
        begin(&short, 2, b"/short");
        assert_eq!(progress.path(), "/short");
        short.end();
        assert_eq!(progress.path(), "/long");
        long.end();
        assert_eq!(progress.path(), "/short");
    }

    #[test]
    fn l02_the_rate_is_that_of_the_last_seconds() {
        let clock = Arc::new(Hand::default());
        let progress = Progress::new(clock.clone());
        for (second, read, rate) in [(2, 2000, 1000), (4, 0, 500), (14, 0, 0), (16, 1200, 100)] {
            *clock.0.lock() = Duration::from_secs(second);
            progress.read(read);
            assert_eq!(progress.rate(), rate, "after {second} s");
        }
    }

    /// The ages are those of the second witness: of the last message, and since when the stream is open or does not get on.
    #[test]
    fn c08_a_stream_is_as_old_as_its_last_change() {
        enum Happens {
            Opened,
            Heard,
            Broken(u64),
            Nothing,
        }
        use Happens::{Broken, Heard, Nothing, Opened};
        let clock = Arc::new(Hand::default());
        let progress = Progress::new(clock.clone());
        // Second, what happens; silence, open, since, welcomed.
        for (second, happens, (silence, is_open, since, was_welcomed)) in [
            (2, Nothing, (2, false, 2, false)),
            (3, Opened, (0, true, 0, true)),
            (5, Heard, (0, true, 2, true)),
            (9, Broken(0), (4, false, 0, true)),
            (11, Nothing, (6, false, 2, true)),
            (12, Opened, (0, true, 0, true)),
            // It did not get on: the break is the one before.
            (13, Broken(4), (1, false, 4, true)),
        ] {
            *clock.0.lock() = Duration::from_secs(second);
            match happens {
                Opened => progress.opened(),
                Heard => progress.heard(),
                Broken(since) => progress.broken(Duration::from_secs(since)),
                Nothing => {}
            }
            let expected = StreamAges {
                silence: Duration::from_secs(silence),
                is_open,
                since: Duration::from_secs(since),
                was_welcomed,
            };
            assert_eq!(progress.stream(), expected, "after {second} s");
        }
    }
}
