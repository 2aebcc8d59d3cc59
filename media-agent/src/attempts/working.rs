//! The mark of an attempt, and its work over its client's streams.
//!
//! Starts the engines on their blocking threads and keeps the lock fresh meanwhile. Used by `conduct`.

use std::convert::Infallible;
use std::sync::Arc;

use outlast_media_core::{Done, End};
use outlast_proto::v1::AttemptMarked;
use outlast_proto::v1::journal_event::What;

use super::conduct::{Assignment, Held, Outcome};
use super::line::{Line, LineContext};
use super::link::{AnyLink, Link, Protocol};
use super::record::Recorder;
use super::wire::Wire;
use crate::backup::{self, BackupWork};
use crate::fault::{self, Fault};
use crate::journal::NewRecord;
use crate::restore::{self, RestoreWork};
use crate::storage::AttemptLock;
use crate::tickets::Work;

/// Makes the mark durable.
pub(super) async fn mark(assignment: &Assignment, recorder: &Recorder, link: AnyLink) -> Outcome {
    let marked = journal_mark(assignment, recorder, &link).await;
    Outcome::Marked(marked, link)
}

/// Whether the mark makes the attempt resilient, still.
async fn journal_mark(assignment: &Assignment, recorder: &Recorder, link: &AnyLink) -> Result<bool, End> {
    let Assignment { context, ticket, .. } = assignment;
    let marked = What::Marked(AttemptMarked {
        resilient: ticket.resilient,
        client_start_id: link.greeting().client_start.clone(),
        primary_version: ticket.primary_version.clone(),
    });
    let records = [
        NewRecord::Admitted(ticket.signed.clone()),
        context.event(ticket.id, marked),
    ];
    recorder.records(&records).await?;
    // A primary of another version may have answered since the attempt was dispatched. A session that opens just now does
    // the same after it has made the version known: one of the two sees the mark.
    recorder.with_room(|| context.meet_primary()).await?;
    let resilient = context.journal.is_resilient(ticket.id).await;
    Ok(resilient.map_err(Fault::from)?)
}

/// Runs the attempt's engine over the stream and those that follow it.
pub(super) async fn work(
    assignment: &Assignment,
    (repository, lock): Held,
    recorder: Arc<Recorder>,
    link: AnyLink,
) -> Outcome {
    let base = backup::Base {
        context: assignment.context.clone(),
        ticket: assignment.ticket.clone(),
        repository,
        lock: lock.clone(),
        progress: Arc::clone(&assignment.progress),
        recorder,
    };
    match (link, assignment.ticket.work.clone()) {
        (AnyLink::Backup(link), Work::Backup) => {
            let engine = move |wire| backup::run(BackupWork { base }, wire);
            converse(assignment, link, lock, engine).await
        }
        (
            AnyLink::Restore(link),
            Work::Restore {
                snapshot,
                content,
                paths,
                to,
            },
        ) => {
            let work = RestoreWork {
                base,
                snapshot,
                content,
                paths,
                to,
            };
            converse(assignment, link, lock, move |wire| restore::run(work, wire)).await
        }
        (link, _) => {
            let text = "the ticket is not for this kind of stream: backup and restore have one each";
            Outcome::Worked(Err(End::Fault(Fault::access(text))), Some(link))
        }
    }
}

/// Runs the engine on a blocking thread.
async fn converse<P: Protocol>(
    assignment: &Assignment,
    link: Link<P>,
    lock: AttemptLock,
    engine: impl FnOnce(Wire<P>) -> Result<Done, End> + Send + 'static,
) -> Outcome {
    let context = &assignment.context;
    let line = LineContext {
        attempt: assignment.ticket.id,
        client: assignment.ticket.client.to_string(),
        start_id: context.start_id.clone(),
        contact: context.contact.clone(),
        silence: context.timing.client_silence,
        control: Arc::clone(&assignment.control),
        progress: Arc::clone(&assignment.progress),
        clock: Arc::clone(&context.clock),
        entrance: Arc::clone(&assignment.entrance),
        tasks: context.tasks.clone(),
    };
    let kind = &assignment.ticket.work;
    let started = |wire| async move {
        tokio::task::spawn_blocking(move || engine(wire))
            .await
            .unwrap_or_else(|error| Err(End::Fault(fault::panicked(kind, &error.to_string()))))
    };
    let (outcome, link) = tokio::select! {
        ended = Line::open(line, link).carry(started) => ended,
        never = keep_lock(assignment, lock) => match never {},
    };
    Outcome::Worked(outcome, link)
}

/// Beside the engine until it ends.
async fn keep_lock(assignment: &Assignment, lock: AttemptLock) -> Infallible {
    loop {
        tokio::time::sleep(assignment.context.timing.lock_refresh).await;
        let lock = lock.clone();
        let refreshed = tokio::task::spawn_blocking(move || lock.refresh()).await;
        if let Ok(Err(error)) = refreshed {
            // The engine checks the lock itself before anything becomes final.
            tracing::warn!(attempt = %assignment.ticket.id, %error, "the lock could not be refreshed");
        }
    }
}
