//! The one end of an attempt is journalled (S-12), and before it goes what was kept for another. What it is, and what comes before what,
//! the core says.
//!
//! Used by `conduct`, `manager` and `survey`.

use std::sync::Arc;

use outlast_media_core::{AttemptId, Ending};
use outlast_proto::v1::journal_event::What;
use outlast_proto::words::StatusCode;
use outlast_repository::{Repository, RepositoryError};

use super::progress::Progress;
use super::record::{Pauses, waits_for_room};
use crate::context::Context;
use crate::journal::NewRecord;
use crate::storage::{self, AttemptLock, Chore, StorageUnit};

/// Removes the checkpoints of a job that ends with this attempt; one that goes on in another needs them. Called before the end is
/// journalled: a crash in between costs checkpoints that nobody needs, and leaves none behind.
pub(super) async fn remove_checkpoints(
    unit: &Arc<StorageUnit>,
    cluster: &str,
    through: AttemptId,
    locked: impl FnOnce() -> Result<(Repository, AttemptLock), RepositoryError> + Send + 'static,
) {
    let (unit, cluster) = (Arc::clone(unit), cluster.to_owned());
    let remove = move || {
        let removed = locked().and_then(|(repository, lock)| {
            storage::remove_checkpoints(&repository, &lock, &cluster, through)
        });
        if removed.is_err() {
            unit.later(Chore::Checkpoints { cluster, through });
        }
        removed
    };
    match tokio::task::spawn_blocking(remove).await {
        Ok(Ok(removed)) => tracing::debug!(attempt = %through, removed, "checkpoints are removed"),
        Ok(Err(error)) => {
            tracing::warn!(attempt = %through, %error, "the job's checkpoints could not be removed yet; that is tried again until this agent ends");
        }
        Err(error) => tracing::error!(attempt = %through, %error, "removing checkpoints failed"),
    }
}

/// Says in the log how an attempt has ended, for who reads it at night: a failure is a warning.
pub(super) fn log_end(id: AttemptId, ending: &Ending) {
    let AttemptId { job, attempt, .. } = id;
    match ending {
        Ending::Ended(done) => {
            let (code, text) = (done.code.0, done.text.as_str());
            match done.code {
                StatusCode::SUCCESSFUL => tracing::info!(%job, %attempt, code, "attempt is over"),
                StatusCode::EXCEPTIONS | StatusCode::CANCELED => {
                    tracing::info!(%job, %attempt, code, text, "attempt is over");
                }
                _ => tracing::warn!(%job, %attempt, code, text, "attempt has failed"),
            }
        }
        Ending::Interrupted(reason) => {
            tracing::warn!(%job, %attempt, reason, "attempt is interrupted; its job goes on in another");
        }
        Ending::Left(reason) => {
            tracing::info!(%job, %attempt, reason, "attempt is over: it made room, and its job goes on in another");
        }
        Ending::Lost(fault, cause) => {
            let (code, text) = (fault.code.0, fault.text.as_str());
            tracing::warn!(%job, %attempt, %cause, code, text, "attempt cannot go on here; the primaries decide what follows");
        }
        Ending::Fenced => tracing::info!(%job, %attempt, "attempt is over: it was superseded"),
    }
}

/// What the attempt found damaged is known over restarts when this returns.
pub(super) async fn remember_damage(id: AttemptId, repository: Repository) {
    match tokio::task::spawn_blocking(move || repository.remember_damage()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::error!(attempt = %id, %error, "found damage cannot be written down; it is known until this agent ends");
        }
        Err(error) => tracing::error!(attempt = %id, %error, "writing down found damage failed"),
    }
}

/// Journals the last events of an attempt, in one piece. While the journal's disk is full it tries on, and says so in `progress`, if
/// somebody looks: an attempt without an end would be run again. Whether it is durable; if not, the attempt stays open and is surveyed
/// at the next start.
pub(super) async fn journal_end(
    context: &Context,
    id: AttemptId,
    events: Vec<What>,
    progress: Option<&Progress>,
) -> bool {
    if events.is_empty() {
        return true;
    }
    let records: Vec<NewRecord> = events.into_iter().map(|what| context.event(id, what)).collect();
    let mut pauses = Pauses::new();
    loop {
        match context.journal.append(records.clone()).await {
            Ok(()) => return true,
            Err(error) if error.is_full() && !context.shutdown.has_begun() => {
                if pauses.is_first() {
                    tracing::error!(attempt = %id, %error, "the end of an attempt cannot be journalled; trying on");
                }
                if let Some(progress) = progress {
                    progress.waits(waits_for_room("the end of the attempt", &error));
                }
                tokio::select! {
                    () = pauses.next() => {}
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
