//! Shutdown as a value that is handed down: `run(config, shutdown)`.

use std::sync::{Arc, OnceLock};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Tells everyone who holds it that it is time to finish.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    begun: CancellationToken,
    /// Why it had to be, if it was not asked for.
    failure: Arc<OnceLock<String>>,
}

impl Shutdown {
    /// One that only [`Shutdown::begin`] triggers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that SIGTERM and SIGINT trigger.
    ///
    /// # Errors
    /// If the operating system refuses the signal handlers.
    pub fn on_signals() -> std::io::Result<Self> {
        let shutdown = Self::new();
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let begin = shutdown.clone();
        // Lives as long as the process; there is nothing it could fail at and nobody to tell.
        tokio::spawn(async move {
            let name = tokio::select! { _ = term.recv() => "SIGTERM", _ = int.recv() => "SIGINT" };
            tracing::info!(signal = name, "shutting down");
            begin.begin();
        });
        Ok(shutdown)
    }

    /// Starts the shutdown; repeated calls change nothing.
    pub fn begin(&self) {
        self.begun.cancel();
    }

    /// Starts the shutdown because a part failed that is needed. The first reason counts.
    pub fn fail(&self, reason: String) {
        let _ = self.failure.set(reason);
        self.begin();
    }

    /// Why it had to be, if it was not asked for.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Whether it has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Returns when it begins.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// A part of the house that can be shut on its own, and is shut with the whole.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            begun: self.begun.child_token(),
            failure: Arc::clone(&self.failure),
        }
    }
}
