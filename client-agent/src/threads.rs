//! The blocking threads of one attempt: named, stopped together, waited for. Async tasks live in kit's `Tasks`.

use std::io;
use std::time::Duration;

use outlast_kit::shutdown::Shutdown;
use tokio::sync::mpsc;

/// Threads that belong together; when one panics, all are told to stop.
pub(crate) struct Threads {
    stop: Shutdown,
    alive: mpsc::Sender<()>,
    ended: mpsc::Receiver<()>,
}

impl Threads {
    pub(crate) fn new(stop: Shutdown) -> Self {
        let (alive, ended) = mpsc::channel(1);
        Self { stop, alive, ended }
    }

    /// Starts a thread. It must end soon after `stop` begins.
    pub(crate) fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let guard = Guard {
            stop: self.stop.clone(),
            _alive: self.alive.clone(),
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _guard = guard;
            work();
        })?;
        Ok(())
    }

    /// Waits until all have ended; false if some still hang after `deadline`, in a read that does not return.
    pub(crate) async fn finished(self, deadline: Duration) -> bool {
        let Self { alive, mut ended, .. } = self;
        drop(alive);
        tokio::time::timeout(deadline, ended.recv()).await.is_ok()
    }
}

/// Held by a thread while it lives.
struct Guard {
    stop: Shutdown,
    _alive: mpsc::Sender<()>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.stop.begin();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use outlast_kit::shutdown::Shutdown;

    use super::Threads;

    #[tokio::test]
    async fn a_panic_stops_the_others_and_all_are_waited_for() {
        let stop = Shutdown::new();
        let threads = Threads::new(stop.clone());
        let other = stop.clone();
        threads
            .spawn("waits", move || {
                while !other.has_begun() {
                    std::thread::yield_now();
                }
            })
            .unwrap();
        threads.spawn("panics", || panic!("on purpose")).unwrap();
        stop.begun().await;
        assert!(threads.finished(Duration::from_secs(10)).await);
    }
}
