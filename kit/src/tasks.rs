//! No task without an owner: every spawned task has a name, and its end is noticed.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::shutdown::Shutdown;

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

    /// Starts a task whose end is ordinary.
    pub fn spawn<F>(&self, name: impl Into<String>, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let name = name.into();
        let listed = Listed::new(&self.running, name);
        self.tracker.spawn(async move {
            let _listed = listed;
            future.await
        })
    }

    /// Starts a task the daemon cannot live without: an error or a panic in it shuts the daemon down.
    pub fn spawn_vital<F, E>(&self, name: &'static str, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        let (listed, shutdown) = (Listed::new(&self.running, name.into()), self.shutdown.clone());
        let inner = tokio::spawn(future);
        self.tracker.spawn(async move {
            let _listed = listed;
            let failure = match inner.await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => format!("its {name} failed: {error}"),
                Err(error) => format!("its {name} failed: {error}; the log says more"),
            };
            tracing::error!(
                task = name,
                failure,
                "a vital task has ended; so does the process"
            );
            shutdown.fail(failure);
        });
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
    use std::time::Duration;

    use super::Tasks;
    use crate::shutdown::Shutdown;

    #[tokio::test]
    async fn stragglers_are_named() {
        let tasks = Tasks::new(Shutdown::new());
        tasks.spawn("quick", async {});
        tasks.spawn("sleeper", std::future::pending::<()>());
        let stragglers = tasks.finish(Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(stragglers, ["sleeper"]);
    }

    #[tokio::test]
    async fn a_failed_vital_task_shuts_the_daemon_down() {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        tasks.spawn_vital("journal", async { Err::<(), _>("disk gone") });
        shutdown.begun().await;
        assert_eq!(shutdown.failure(), Some("its journal failed: disk gone"));
        assert_eq!(tasks.finish(Duration::from_secs(5)).await, Ok(()));
    }
}
