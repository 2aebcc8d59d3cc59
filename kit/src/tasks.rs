//! No task without an owner and a kind: every spawned task has a name, and its kind says what its end or its panic means.
//!
//! - [`Tasks::vital`]: the daemon cannot do without it and ends, with exit code 1.
//! - [`Tasks::restarted`]: it begins again, after a pause that grows; the log says so, and whoever started it counts.
//! - [`Tasks::serving`]: one attempt or question stands and falls with it; who started it hears of the panic and ends that, with a code.
//! - [`Tasks::ordinary`]: a session, a connection, an errand: only it ends, and the log says so.
//!
//! Called by every daemon. Blocking threads of an attempt are its engine's.

mod caught;
mod planted;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::shutdown::Shutdown;

pub use caught::caught;
pub use planted::PLANTED;

/// Between a panic and the next beginning, doubled with each that comes soon after.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The tasks of one daemon.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    running: Arc<Mutex<BTreeMap<u64, String>>>,
    shutdown: Shutdown,
}

impl Tasks {
    /// A group whose vital tasks, when they fail, begin `shutdown`.
    #[must_use]
    pub fn new(shutdown: Shutdown) -> Self {
        Self {
            tracker: TaskTracker::new(),
            running: Arc::default(),
            shutdown,
        }
    }

    /// Starts a task the daemon cannot live without: an error or a panic in it shuts the daemon down.
    pub fn vital<F, E>(&self, name: impl Into<String>, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        let name = name.into();
        let (listed, shutdown) = (Listed::new(&self.running, name.clone()), self.shutdown.clone());
        self.tracker.spawn(async move {
            let _listed = listed;
            let failure = match caught(&name, future).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => format!("its {name} failed: {error}"),
                Err(panic) => format!("its {name} panicked: {panic}; the log says more"),
            };
            tracing::error!(
                task = name,
                failure,
                "a vital task has ended; so does the process"
            );
            shutdown.fail(failure);
        });
    }

    /// Starts a task that begins again when it panics, until `over`; `panicked` hears of each.
    pub fn restarted<F>(
        &self,
        name: &'static str,
        over: Shutdown,
        mut begin: impl FnMut() -> F + Send + 'static,
        panicked: impl Fn(&str) + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let listed = Listed::new(&self.running, name.into());
        self.tracker.spawn(async move {
            let _listed = listed;
            let mut pause = FIRST_PAUSE;
            loop {
                let began = Instant::now();
                let Err(panic) = caught(name, async { begin().await }).await else {
                    return;
                };
                if began.elapsed() > LONGEST_PAUSE {
                    pause = FIRST_PAUSE;
                }
                tracing::error!(
                    task = name,
                    panic,
                    again_in_seconds = pause.as_secs(),
                    "a task has panicked and is started again"
                );
                panicked(&panic);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = over.begun() => return,
                }
                pause = LONGEST_PAUSE.min(pause * 2);
            }
        });
    }

    /// Starts a task with which one attempt or question stands and falls: should it panic, `panicked` ends that.
    pub fn serving<F, P>(
        &self,
        name: impl Into<String>,
        future: F,
        panicked: impl FnOnce(String) -> P + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
        P: Future<Output = ()> + Send + 'static,
    {
        let name = name.into();
        let listed = Listed::new(&self.running, name.clone());
        self.tracker.spawn(async move {
            let _listed = listed;
            if let Err(panic) = caught(&name, future).await {
                tracing::error!(
                    task = name,
                    panic,
                    "a task has panicked; what it served ends with it"
                );
                panicked(panic).await;
            }
        });
    }

    /// Starts a task of which nothing else hangs: its end is ordinary, and its panic ends nothing but itself.
    pub fn ordinary<F>(&self, name: impl Into<String>, future: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let name = name.into();
        let listed = Listed::new(&self.running, name.clone());
        self.tracker.spawn(async move {
            let _listed = listed;
            let ended = caught(&name, future).await;
            ended
                .inspect_err(|panic| {
                    tracing::error!(task = name, panic, "a task has panicked; nothing else ends")
                })
                .ok()
        })
    }

    /// Waits until all tasks have ended, at most `deadline`; the names of those that have not.
    ///
    /// # Errors
    /// The stragglers.
    pub async fn finish(&self, deadline: Duration) -> Result<(), Vec<String>> {
        self.tracker.close();
        match tokio::time::timeout(deadline, self.tracker.wait()).await {
            Ok(()) => Ok(()),
            Err(_) => Err(lock(&self.running).values().cloned().collect()),
        }
    }
}

/// Keeps a task's name in the list while it runs, also when it panics.
struct Listed {
    list: Arc<Mutex<BTreeMap<u64, String>>>,
    key: u64,
}

impl Listed {
    fn new(list: &Arc<Mutex<BTreeMap<u64, String>>>, name: String) -> Self {
        let mut names = lock(list);
        let key = names.last_key_value().map_or(0, |(key, _)| key + 1);
        names.insert(key, name);
        Self {
            list: Arc::clone(list),
            key,
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        lock(&self.list).remove(&self.key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::Tasks;
    use crate::shutdown::Shutdown;

    #[tokio::test]
    async fn stragglers_are_named() {
        let tasks = Tasks::new(Shutdown::new());
        tasks.ordinary("quick", async {});
        tasks.ordinary("sleeper", std::future::pending::<()>());
        let stragglers = tasks.finish(Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(stragglers, ["sleeper"]);
    }

    #[tokio::test]
    async fn a_failed_vital_task_shuts_the_daemon_down() {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        tasks.vital("journal", async { Err::<(), _>("disk gone") });
        shutdown.begun().await;
        assert_eq!(shutdown.failure(), Some("its journal failed: disk gone"));
        assert_eq!(tasks.finish(Duration::from_secs(5)).await, Ok(()));
    }

    #[tokio::test]
    async fn t90_b01_the_panic_of_a_vital_task_shuts_the_daemon_down() {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        tasks.vital("manager", async {
            assert!(std::hint::black_box(false), "on purpose");
            Ok::<(), String>(())
        });
        shutdown.begun().await;
        assert_eq!(
            shutdown.failure(),
            Some("its manager panicked: on purpose; the log says more")
        );
        assert_eq!(tasks.finish(Duration::from_secs(5)).await, Ok(()));
    }

    #[tokio::test]
    async fn t90_b01_a_task_that_panics_is_started_again_until_it_is_over() {
        let (tasks, over) = (Tasks::new(Shutdown::new()), Shutdown::new());
        let (begun, heard) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (number, hears) = (Arc::clone(&begun), Arc::clone(&heard));
        let begin = move || {
            let number = Arc::clone(&number);
            async move {
                let number = number.fetch_add(1, Ordering::Relaxed);
                assert!(number >= 1, "on purpose");
            }
        };
        let panicked = move |panic: &str| {
            assert_eq!(panic, "on purpose");
            hears.fetch_add(1, Ordering::Relaxed);
        };
        tasks.restarted("dispatcher", over.clone(), begin, panicked);
        assert_eq!(tasks.finish(Duration::from_secs(3600)).await, Ok(()));
        assert_eq!(begun.load(Ordering::Relaxed), 2);
        assert_eq!(heard.load(Ordering::Relaxed), 1);

        let tasks = Tasks::new(Shutdown::new());
        tasks.restarted("dispatcher", over.clone(), || async { panic!("always") }, |_| {});
        over.begin();
        assert_eq!(tasks.finish(Duration::from_secs(3600)).await, Ok(()));
    }

    #[tokio::test]
    async fn t90_b01_who_started_a_task_for_somebody_hears_of_its_panic() {
        let (tasks, shutdown) = (Tasks::default(), Shutdown::new());
        let (tell, told) = oneshot::channel();
        let panicked = |panic| async move { drop(tell.send(panic)) };
        tasks.serving("attempt 1", async { panic!("on {}", "purpose") }, panicked);
        assert_eq!(told.await.as_deref(), Ok("on purpose"));
        assert!(
            tasks
                .ordinary("session", async { panic!("on purpose") })
                .await
                .unwrap()
                .is_none()
        );
        assert_eq!(tasks.finish(Duration::from_secs(5)).await, Ok(()));
        assert!(!shutdown.has_begun());
    }
}
