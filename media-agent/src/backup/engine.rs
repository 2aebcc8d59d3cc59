//! The loop over the items of a backup, and the result they add up to.
//!
//! See the module's head. Called by `attempts::conduct`.

use std::sync::Arc;

use outlast_media_core::Tally;
use outlast_proto::v1::backup_down::Body as Down;
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{BeginItem, ItemCommitted, ItemEnded, ItemStarted, JobError};
use outlast_proto::words::{Counters, StatusCode};
use outlast_repository::{Repository, Writer, WriterOptions};

use super::chunks::Chunks;
use super::commit::Committed;
use super::exceptions::ExceptionLog;
use super::item::ItemRun;
use super::{adopt, commit};
use crate::attempts::{BackupProtocol, Done, End, Progress, Wire, counters_message};
use crate::context::Context;
use crate::fault::Fault;
use crate::storage::AttemptLock;
use crate::tickets::{Item, Ticket};

/// What every engine has.
pub(crate) struct Base {
    pub(crate) context: Context,
    pub(crate) ticket: Ticket,
    pub(crate) repository: Repository,
    pub(crate) lock: AttemptLock,
    pub(crate) progress: Arc<Progress>,
}

pub(crate) struct BackupWork {
    pub(crate) base: Base,
}

impl Base {
    pub(crate) fn storage_fault(&self, error: &outlast_repository::RepositoryError) -> Fault {
        crate::fault::storage(&self.context.unit.name, error)
    }

    /// Durable when it returns.
    pub(crate) fn journal(&self, events: Vec<What>) -> Result<(), Fault> {
        let id = self.ticket.id;
        let records = events.into_iter().map(|what| self.context.event(id, what));
        Ok(self.context.journal.append_blocking(records.collect())?)
    }
}

/// How an item ended.
pub(super) enum ItemResult {
    Finished(Committed),
    Failed(JobError),
}

/// Runs the backup to its end.
pub(crate) fn run(work: BackupWork, mut wire: Wire<BackupProtocol>) -> Result<Done, End> {
    let base = work.base;
    let options = WriterOptions {
        lock: Some(base.lock.guard()),
        ..WriterOptions::default()
    };
    let writer = base
        .repository
        .writer(options)
        .map_err(|error| base.storage_fault(&error))?;
    let control = Arc::clone(&wire.control);
    std::thread::scope(|scope| {
        let chunks = Chunks::start(scope, &base, &writer, &control);
        let done = run_items(&base, &writer, &chunks, &mut wire);
        chunks.keep_own();
        done
    })
}

fn run_items(
    base: &Base,
    writer: &Writer,
    chunks: &Chunks<'_>,
    wire: &mut Wire<BackupProtocol>,
) -> Result<Done, End> {
    let mut tally = Tally::default();
    let mut exceptions = ExceptionLog::default();
    let adopted = adopt::left_by_earlier_attempts(base)?;
    for item in &adopted {
        tally.finished(&crate::attempts::counters_of(item.counters.as_ref()));
    }
    base.progress.set(tally.counters);
    let mut left_out = 0;
    for (number, item) in (0..).zip(&base.ticket.items) {
        if item.finished || adopted.iter().any(|a| a.item == number) {
            continue;
        }
        if wire.control.is_stopping_gracefully() {
            left_out += 1;
            continue;
        }
        tally.begin();
        base.journal(vec![What::ItemStarted(ItemStarted { item: number })])?;
        let result = one_item(
            base,
            writer,
            chunks,
            (number, item),
            wire,
            &tally,
            &mut exceptions,
        )?;
        settle_item(base, wire, number, result, &mut tally, &mut exceptions)?;
    }
    Ok(tally.done(wire.control.is_stopping_gracefully(), left_out))
}

#[expect(
    clippy::too_many_arguments,
    reason = "the parts of one engine, each borrowed on its own"
)]
fn one_item(
    base: &Base,
    writer: &Writer,
    chunks: &Chunks<'_>,
    (number, item): (u32, &Item),
    wire: &mut Wire<BackupProtocol>,
    tally: &Tally,
    exceptions: &mut ExceptionLog,
) -> Result<ItemResult, End> {
    let Some(mut run) = ItemRun::new(base, writer, chunks, item)? else {
        return Ok(ItemResult::Failed(JobError {
            code: u32::from(StatusCode::NO_SUCH_PATH.0),
            text: format!("\"{}\" is not a plain absolute path", item.path),
        }));
    };
    wire.send(Down::BeginItem(BeginItem { item: number }))?;
    let before = exceptions.count();
    let error = run.receive(number, wire, tally, exceptions)?;
    let found = exceptions.count() - before;
    match error {
        Some(error) => {
            chunks.forget_missing();
            Ok(ItemResult::Failed(error))
        }
        None => commit::commit(run, number, found),
    }
}

/// Journals how the item ended and tells the client.
fn settle_item(
    base: &Base,
    wire: &Wire<BackupProtocol>,
    number: u32,
    result: ItemResult,
    tally: &mut Tally,
    exceptions: &mut ExceptionLog,
) -> Result<(), End> {
    let mut events: Vec<What> = exceptions.take(number).into_iter().collect();
    let (ended, snapshot) = match result {
        ItemResult::Finished(committed) => {
            tally.finished(&committed.counters);
            let snapshot = bytes::Bytes::copy_from_slice(committed.snapshot.as_bytes());
            (committed.ended(number), snapshot)
        }
        ItemResult::Failed(error) => {
            tally.failed(&error, exceptions.count());
            let ended = ItemEnded {
                item: number,
                outcome: outlast_proto::v1::ItemOutcome::Failed.into(),
                counters: Some(counters_message(&Counters::default())),
                error: Some(error),
                ..ItemEnded::default()
            };
            (ended, bytes::Bytes::new())
        }
    };
    base.progress.set(tally.counters);
    events.push(What::ItemEnded(ended));
    base.journal(events)?;
    wire.send(Down::ItemCommitted(ItemCommitted {
        item: number,
        snapshot,
    }))
}
