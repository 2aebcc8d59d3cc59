//! The one end of an attempt is journalled (S-12), and before it goes what was kept for another. What it is, the core says.
//!
//! Used by `conduct`, `desk` and `survey`.

use std::time::Duration;

use outlast_media_core::{AttemptId, Ending};
use outlast_proto::words::Counters;
use outlast_repository::{Repository, RepositoryError};

use crate::context::Context;
use crate::storage::{self, AttemptLock};

/// Removes the checkpoints of a job that ends with this attempt; one that goes on in another needs them. Called before the end is
/// journalled: a crash in between costs checkpoints that nobody needs, and leaves none behind.
pub(super) async fn remove_checkpoints(
    cluster: &str,
    through: AttemptId,
    locked: impl FnOnce() -> Result<(Repository, AttemptLock), RepositoryError> + Send + 'static,
) {
    let cluster = cluster.to_owned();
    let remove = move || {
        let (repository, lock) = locked()?;
        storage::remove_checkpoints(&repository, &lock, &cluster, through)
    };
    match tokio::task::spawn_blocking(remove).await {
        Ok(Ok(removed)) => tracing::debug!(attempt = %through, removed, "checkpoints are removed"),
        Ok(Err(error)) => {
            tracing::warn!(attempt = %through, %error, "the job's checkpoints could not be removed");
        }
        Err(error) => tracing::error!(attempt = %through, %error, "removing checkpoints failed"),
    }
}

/// Journals the end. While the journal's disk is full it tries on: an attempt without an end would be run again.
/// Whether it is durable; if not, the attempt stays open and is surveyed at the next start.
pub(super) async fn journal_end(
    context: &Context,
    id: AttemptId,
    ending: &Ending,
    counters: &Counters,
) -> bool {
    let Some(what) = ending.event(counters) else {
        return true;
    };
    let record = context.event(id, what);
    let mut said = false;
    loop {
        match context.journal.append(vec![record.clone()]).await {
            Ok(()) => return true,
            Err(error) if error.is_full() && !context.shutdown.has_begun() => {
                if !said {
                    tracing::error!(attempt = %id, %error, "the end of an attempt cannot be journalled; trying on");
                    said = true;
                }
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                    () = context.shutdown.begun() => {}
                }
            }
            Err(error) => {
                tracing::error!(attempt = %id, %error, "the end of an attempt could not be journalled; it is settled at the next start");
                return false;
            }
        }
    }
}
