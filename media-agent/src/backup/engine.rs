//! The loop over the items of a backup, and the result they add up to.
//!
//! See the module's head. Called by `attempts::conduct`.

use std::sync::Arc;

use outlast_proto::v1::backup_down::Body as Down;
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{BeginItem, ItemCommitted, ItemEnded, ItemStarted, JobError, Stopped};
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
        Fault::storage(&self.context.unit.name, error)
    }

    /// Durable when it returns.
    pub(crate) fn journal(&self, events: Vec<What>) -> Result<(), Fault> {
        let id = self.ticket.id;
        let records = events.into_iter().map(|what| self.context.event(id, what));
        Ok(self.context.journal.append_blocking(records.collect())?)
    }
}

/// What the items came to so far.
pub(super) struct Tally {
    /// Of items that are over.
    pub(super) counters: Counters,
    first_failure: Option<JobError>,
    begun: usize,
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
    let mut tally = Tally {
        counters: Counters::default(),
        first_failure: None,
        begun: 0,
    };
    let mut exceptions = ExceptionLog::default();
    let adopted = adopt::left_by_earlier_attempts(base)?;
    for item in &adopted {
        tally
            .counters
            .add(&crate::attempts::counters_of(item.counters.as_ref()));
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
        tally.begun += 1;
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
            tally.counters.add(&committed.counters);
            let snapshot = bytes::Bytes::copy_from_slice(committed.snapshot.as_bytes());
            (committed.ended(number), snapshot)
        }
        ItemResult::Failed(error) => {
            tally.counters.exceptions = tally.counters.exceptions.max(exceptions.count());
            tally.first_failure.get_or_insert_with(|| error.clone());
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

impl Tally {
    fn done(self, graceful: bool, left_out: usize) -> Done {
        let stopped = if graceful && left_out > 0 {
            Stopped::Graceful
        } else {
            Stopped::Unspecified
        };
        if stopped == Stopped::Graceful && self.begun == 0 {
            return Done::canceled(stopped);
        }
        let (code, text) = match self.first_failure {
            Some(error) => (
                StatusCode(u16::try_from(error.code).unwrap_or(StatusCode::FILE_READ_FAILED.0)),
                error.text,
            ),
            None if self.counters.exceptions > 0 => (StatusCode::EXCEPTIONS, String::new()),
            None => (StatusCode::SUCCESSFUL, String::new()),
        };
        Done { code, text, stopped }
    }
}
