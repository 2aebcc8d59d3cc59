//! What an attempt needs of the storage unit before it begins. While somebody else has the repository for himself, as a prune or a
//! check has, the attempt waits, and says for whom.
//!
//! Used by `conduct`.

use std::sync::Arc;
use std::time::Duration;

use outlast_media_core::contact::lost;
use outlast_media_core::{End, Halt};
use outlast_proto::v1::Stopped;
use outlast_proto::words::StatusCode;
use outlast_repository::{Repository, RepositoryError};
use tokio::time::Instant;

use super::conduct::Assignment;
use crate::fault::Fault;
use crate::storage::AttemptLock;
use crate::tickets::Work;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What it needs, or why there is nothing more to be waited for.
pub(super) async fn prepare(assignment: &Assignment) -> Result<(Repository, AttemptLock), End> {
    let context = &assignment.context;
    let until = Instant::now() + context.timing.lock_wait;
    let mut pause = FIRST_PAUSE;
    let mut waits_for = None;
    loop {
        let error = match once(assignment).await? {
            Ok(prepared) => {
                if waits_for.is_some() {
                    assignment.progress.goes_on();
                    tracing::info!(attempt = %assignment.ticket.id, "the lock that was waited for is gone");
                }
                return Ok(prepared);
            }
            Err(error) => error,
        };
        let by = match &error {
            RepositoryError::Locked { by, .. } if Instant::now() < until => by.to_string(),
            _ => return Err(crate::fault::unavailable(&context.unit.name, &error).into()),
        };
        // Who holds a lock long writes it anew every few minutes, under another name.
        if waits_for.as_ref() != Some(&by) {
            tracing::info!(attempt = %assignment.ticket.id, by, "an attempt waits for the lock of somebody else");
            let unit = &context.unit.name;
            assignment
                .progress
                .waits(format!("storage unit \"{unit}\" is locked: there is {by}"));
            waits_for = Some(by);
        }
        wait(assignment, pause).await?;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn once(assignment: &Assignment) -> Result<Result<(Repository, AttemptLock), RepositoryError>, End> {
    let unit = Arc::clone(&assignment.context.unit);
    let reads_only = matches!(assignment.ticket.work, Work::Restore { .. });
    let prepared = tokio::task::spawn_blocking(move || {
        unit.tidy();
        if reads_only {
            return unit.prepare_to_read();
        }
        let (repository, lock) = unit.prepare()?;
        repository.look_for_packs()?;
        Ok((repository, lock))
    });
    prepared.await.map_err(|error| {
        let code = StatusCode::STORAGE_UNIT_NOT_AVAILABLE;
        Fault::new(code, error.to_string()).into()
    })
}

/// For a while, unless the attempt is to end.
async fn wait(assignment: &Assignment, pause: Duration) -> Result<(), End> {
    let context = &assignment.context;
    let lost_contact = crate::contact::lost_too_long(context.contact.clone(), Arc::clone(&context.clock));
    tokio::select! {
        biased;
        () = assignment.control.wait() => return Err(End::Halted),
        grace = lost_contact => return Err(End::Fault(lost(grace, assignment.ticket.resilient))),
        () = tokio::time::sleep(pause) => {}
    }
    // No item has begun, and none is to begin.
    if assignment.control.is_stopping_gracefully() {
        assignment.control.halt(Halt::Stopped(Stopped::Graceful));
        return Err(End::Halted);
    }
    Ok(())
}
