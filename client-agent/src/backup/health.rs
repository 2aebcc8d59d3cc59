//! Whether the host, the source's file system and the item's root still do their work: what is wrong with one file is an exception,
//! what is wrong with those fails the item, with its cause (S-02a).
//!
//! Told by the walk and the readers of every error they meet, and by the item of every file that is done.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use outlast_kit::shutdown::Shutdown;
use outlast_proto::v1::JobError;
use outlast_proto::words::StatusCode;
use rustix::io::Errno;
use tokio::sync::mpsc::UnboundedSender;

use super::budget::Stopping;
use super::event::Event;
use super::root::Root;
use crate::host::errors::is_of_file_system;
use crate::host::paths::shown;

/// So many errors of the file system one after another are not errors of single files.
const MOST_IN_A_ROW: u32 = 10;
/// How long descriptors or memory may be missing.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(100);

/// What an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    File,
    FileSystem,
    /// Or this process.
    Host,
}

fn about(error: Errno) -> About {
    match error {
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS => About::Host,
        Errno::CONNREFUSED | Errno::UCLEAN | Errno::BADMSG | Errno::NOMEDIUM => About::FileSystem,
        _ if is_of_file_system(error) => About::FileSystem,
        _ => About::File,
    }
}

/// Who met an error: what the one is still given from memory says nothing of the other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who {
    Walk,
    Readers,
}

/// Of one item.
pub(super) struct Health {
    /// Set before the first file is known.
    pub(super) root: OnceLock<Arc<Root>>,
    events: UnboundedSender<Event>,
    stop: Shutdown,
    patience: Duration,
    has_failed: AtomicBool,
    in_a_row: [AtomicU32; 2],
    tally: Tally,
}

/// What was done, and what errors of the file system there were.
#[derive(Default)]
struct Tally {
    done: AtomicU64,
    errors: AtomicU64,
    /// What was done before the first of them.
    done_before: OnceLock<u64>,
}

impl Health {
    pub(super) fn new(events: UnboundedSender<Event>, stop: Shutdown) -> Self {
        Self {
            root: OnceLock::new(),
            events,
            stop,
            patience: PATIENCE,
            has_failed: AtomicBool::new(false),
            in_a_row: Default::default(),
            tally: Tally::default(),
        }
    }

    /// Whether the threads of the item shall end.
    pub(super) fn is_over(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed) || self.stop.has_begun()
    }

    /// Something came from the file system as it should.
    pub(super) fn works(&self, who: Who) {
        self.in_a_row[who as usize].store(0, Ordering::Relaxed);
    }

    /// Files, or what else the item has, are done.
    pub(super) fn done(&self, count: u64) {
        self.tally.done.fetch_add(count, Ordering::Relaxed);
    }

    /// Does what needs a descriptor or memory. If there is none it is tried again for a while; then the item has failed.
    pub(super) fn patiently<T>(
        &self,
        mut act: impl FnMut() -> Result<T, Errno>,
    ) -> Result<Result<T, Errno>, Stopping> {
        let until = Instant::now() + self.patience;
        loop {
            let error = match act() {
                Err(error) if about(error) == About::Host => error,
                other => return Ok(other),
            };
            if self.is_over() {
                return Err(Stopping);
            }
            if Instant::now() >= until {
                return Err(self.fail(&missing(error)));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// An error was met that could be an exception. Not one of many of the file system, or of a root that is gone.
    pub(super) fn met(&self, who: Who, error: Errno) -> Result<(), Stopping> {
        if self.is_over() {
            return Err(Stopping);
        }
        if about(error) == About::File {
            return Ok(());
        }
        self.tally.note_error();
        if let Some(cause) = self.root_fault() {
            return Err(self.fail(&cause));
        }
        let in_a_row = self.in_a_row[who as usize].fetch_add(1, Ordering::Relaxed) + 1;
        if in_a_row < MOST_IN_A_ROW {
            return Ok(());
        }
        let cause = format!(
            "the file system failed {in_a_row} times one after another, the last time with: {}",
            std::io::Error::from(error)
        );
        Err(self.fail(&cause))
    }

    /// The item's root itself cannot be read.
    pub(super) fn root_failed(&self, what: &str, error: Errno) -> Stopping {
        self.fail(&format!("{what}: {}", std::io::Error::from(error)))
    }

    /// Whether it has to be asked at the end of the item how much it is worth.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.tally.errors.load(Ordering::Relaxed) > 0
    }

    /// At the end of the item: what it fails with after all. Asks the file system, which may take its time.
    pub(super) fn verdict(&self) -> Option<JobError> {
        let cause = self.root_fault().or_else(|| self.tally.verdict());
        cause.map(|cause| self.error(&cause))
    }

    fn root_fault(&self) -> Option<String> {
        let error = self.root.get()?.look_again().err()?;
        // That none is free now says nothing of the root.
        (about(error) != About::Host)
            .then(|| format!("it can no longer be read: {}", std::io::Error::from(error)))
    }

    fn fail(&self, cause: &str) -> Stopping {
        if !self.has_failed.swap(true, Ordering::Relaxed) {
            // Nobody listens only when the item is over.
            let _ = self.events.send(Event::Failed(self.error(cause)));
        }
        Stopping
    }

    fn error(&self, cause: &str) -> JobError {
        let path = self.root.get().map_or(&b""[..], |root| &root.path);
        JobError {
            code: StatusCode::FILE_READ_FAILED.0.into(),
            text: format!("{}: {cause}", shown(path)),
        }
    }
}

impl Tally {
    fn note_error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        self.done_before.get_or_init(|| self.done.load(Ordering::Relaxed));
    }

    /// Next to nothing done is not done with exceptions.
    fn verdict(&self) -> Option<String> {
        let (errors, done) = (
            self.errors.load(Ordering::Relaxed),
            self.done.load(Ordering::Relaxed),
        );
        let since = done - self.done_before.get().copied().unwrap_or(done).min(done);
        let is_failing = errors >= u64::from(MOST_IN_A_ROW) && errors > since;
        (errors > 0 && (done == 0 || is_failing)).then(|| {
            format!(
                "the file system failed {errors} times, and {since} files could be read since the first time"
            )
        })
    }
}

/// What is missing, and what to do.
fn missing(error: Errno) -> String {
    let what = match error {
        Errno::MFILE => "the client agent has no file descriptors left; raise LimitNOFILE of its unit",
        Errno::NFILE => {
            "the host has no file descriptors left; raise fs.file-max, or find out who holds them"
        }
        _ => "the host has no memory left for the kernel",
    };
    format!("{what} ({})", std::io::Error::from(error))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use outlast_kit::shutdown::Shutdown;
    use rustix::io::Errno;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::{About, Health, Stopping, Tally, Who, about};
    use crate::backup::event::Event;

    fn health() -> (Health, UnboundedReceiver<Event>) {
        let (told, events) = unbounded_channel();
        let patience = Duration::from_millis(300);
        let health = Health::new(told, Shutdown::new());
        (Health { patience, ..health }, events)
    }

    fn failure(events: &mut UnboundedReceiver<Event>) -> Option<String> {
        match events.try_recv().ok()? {
            Event::Failed(error) => Some(format!("{} {}", error.code, error.text)),
            _ => panic!("another event"),
        }
    }

    #[test]
    fn s02a_errors_are_about_what_they_are() {
        for (error, is) in [
            (Errno::ACCESS, About::File),
            (Errno::NOENT, About::File),
            (Errno::NXIO, About::File),
            (Errno::IO, About::FileSystem),
            (Errno::STALE, About::FileSystem),
            (Errno::NOTCONN, About::FileSystem),
            (Errno::MFILE, About::Host),
            (Errno::NFILE, About::Host),
            (Errno::NOMEM, About::Host),
        ] {
            assert_eq!(about(error), is, "{error}");
        }
    }

    #[test]
    fn t90_s02a_errors_in_a_row_are_not_of_single_files() {
        let (health, mut events) = health();
        for round in 0..5 {
            for _ in 0..9 {
                health.met(Who::Readers, Errno::IO).unwrap();
            }
            // What the walk still gets does not count.
            health.works(Who::Walk);
            health.met(Who::Walk, Errno::ACCESS).unwrap();
            if round < 4 {
                health.works(Who::Readers);
            }
        }
        assert_eq!(failure(&mut events), None);
        assert_eq!(health.met(Who::Readers, Errno::STALE), Err(Stopping));
        assert!(failure(&mut events).unwrap().starts_with("13 "));
        // Said once.
        assert_eq!(health.met(Who::Walk, Errno::STALE), Err(Stopping));
        assert_eq!(failure(&mut events), None);
        assert!(health.is_over());
    }

    #[test]
    fn t90_s02a_descriptors_are_waited_for_and_not_for_ever() {
        let (health, mut events) = health();
        let mut left = 2;
        let found = health.patiently(|| {
            left -= 1;
            if left > 0 { Err(Errno::MFILE) } else { Ok(7) }
        });
        assert_eq!(found, Ok(Ok(7)));
        assert_eq!(health.patiently(|| Err::<(), _>(Errno::IO)), Ok(Err(Errno::IO)));
        assert_eq!(failure(&mut events), None);
        assert_eq!(health.patiently(|| Err::<(), _>(Errno::MFILE)), Err(Stopping));
        assert!(failure(&mut events).unwrap().contains("LimitNOFILE"));
    }

    #[test]
    fn t90_s02a_next_to_nothing_done_is_a_failure() {
        // Done before the first error, errors, done since then.
        for (before, errors, since, fails) in [
            (0, 0, 0, false),
            (0, 1, 0, true),
            (1, 1, 0, false),
            (0, 1, 1, false),
            (0, 9, 1, false),
            (1000, 9, 0, false),
            (1000, 10, 9, true),
            (0, 10, 10, false),
            (1000, 43, 0, true),
        ] {
            let tally = Tally::default();
            tally.done.fetch_add(before, super::Ordering::Relaxed);
            for _ in 0..errors {
                tally.note_error();
            }
            tally.done.fetch_add(since, super::Ordering::Relaxed);
            assert_eq!(tally.verdict().is_some(), fails, "{before} {errors} {since}");
        }
    }
}
