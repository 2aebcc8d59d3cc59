//! The loop over the items of a backup, and the result they add up to.
//!
//! See the module's head. Called by `attempts::conduct`.

use std::sync::Arc;

use outlast_media_core::Tally;
use outlast_proto::v1::backup_down::Body as Down;
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{BeginItem, DetailSaid, ItemCommitted, ItemEnded, ItemStarted, JobError, Severity};
use outlast_proto::words::{Counters, StatusCode};
use outlast_repository::{Repository, SnapshotId, Writer, WriterOptions};

use super::checkpoint::Checkpoints;
use super::chunks::Chunks;
use super::commit::{Committed, Walked};
use super::exceptions::ExceptionLog;
use super::item::{ItemRun, Written};
use super::{adopt, commit, damage};
use crate::attempts::{BackupProtocol, Done, End, Progress, Recorder, Wire, counters_message};
use crate::context::Context;
use crate::fault::{Fault, shorten};
use crate::storage::AttemptLock;
use crate::tickets::{Item, Ticket};

/// So often an item is walked in one attempt, if damage comes that touches what it relies on.
const MOST_WALKS: u32 = 3;
/// Of a line of details.
const MOST_TEXT: usize = 2048;

/// What every engine has.
pub(crate) struct Base {
    pub(crate) context: Context,
    pub(crate) ticket: Ticket,
    pub(crate) repository: Repository,
    pub(crate) lock: AttemptLock,
    pub(crate) progress: Arc<Progress>,
    pub(crate) recorder: Arc<Recorder>,
}

pub(crate) struct BackupWork {
    pub(crate) base: Base,
}

impl Base {
    pub(crate) fn storage_fault(&self, error: &outlast_repository::RepositoryError) -> Fault {
        crate::fault::storage(&self.context.unit.name, error)
    }

    /// Of who only reads.
    pub(crate) fn reading_fault(&self, error: &outlast_repository::RepositoryError) -> Fault {
        crate::fault::reading(&self.context.unit.name, error)
    }

    /// Found damage is known over restarts when this returns. A storage unit that takes no writes keeps nobody from reading on.
    pub(crate) fn remember_damage(&self) {
        if let Err(error) = self.repository.remember_damage() {
            tracing::error!(attempt = %self.ticket.id, %error, "found damage cannot be written down; it is known until this agent ends");
        }
    }

    /// Adds a line to the job's details.
    pub(crate) fn say(&self, severity: Severity, text: String) -> Result<(), End> {
        tracing::warn!(attempt = %self.ticket.id, "{text}");
        self.journal(vec![What::Detail(DetailSaid {
            severity: severity.into(),
            text: shorten(text, MOST_TEXT),
        })])
    }

    /// Durable when it returns; it waits for room while the journal's disk is full.
    pub(crate) fn journal(&self, events: Vec<What>) -> Result<(), End> {
        self.recorder.events(events)
    }
}

/// One backup.
struct Engine<'a> {
    base: &'a Base,
    writer: &'a Writer,
    chunks: &'a Chunks<'a>,
    tally: Tally,
    /// Restore points of this attempt.
    finished: Vec<(u32, SnapshotId)>,
    exceptions: ExceptionLog,
    checkpoints: Checkpoints<'a>,
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
        lock: base.lock.guard(),
        ..WriterOptions::default()
    };
    let writer = base
        .repository
        .writer(options)
        .map_err(|error| base.storage_fault(&error))?;
    let control = Arc::clone(&wire.control);
    std::thread::scope(|scope| {
        let chunks = Chunks::start(scope, &base, &writer, &control);
        let engine = Engine {
            base: &base,
            writer: &writer,
            chunks: &chunks,
            tally: Tally::default(),
            finished: Vec::new(),
            exceptions: ExceptionLog::default(),
            checkpoints: Checkpoints::new(&base),
        };
        let index = damage::mend_index(&base)?;
        damage::tell_before(&base)?;
        let done = engine.run_items(&mut wire);
        chunks.keep_own();
        if done.is_ok() {
            // However that ends, the items are done.
            let _ = damage::tell_after(&base, &index, writer.anew());
        }
        done
    })
}

impl Engine<'_> {
    fn run_items(mut self, wire: &mut Wire<BackupProtocol>) -> Result<Done, End> {
        let damage_before = self.base.repository.damage_found();
        let left = adopt::look(self.base)?;
        if let Some(tally) = left.tell(self.base)? {
            return Ok(tally.done(false, 0));
        }
        let adopted = left.take_over(self.base)?;
        for item in &adopted {
            self.tally
                .finished(&crate::attempts::counters_of(item.counters.as_ref()));
        }
        self.base.progress.set(self.tally.counters);
        let mut left_out = 0;
        // The storage unit is looked at for each snapshot.
        let mut has_looked = false;
        for (number, item) in (0..).zip(&self.base.ticket.items) {
            if item.before.finished {
                self.tally.finished_before(item.before.with_exceptions);
                continue;
            }
            if adopted.iter().any(|a| a.item == number) {
                continue;
            }
            if wire.control.is_stopping_gracefully() {
                left_out += 1;
                continue;
            }
            self.tally.begin();
            self.exceptions.begin_item();
            self.base
                .journal(vec![What::ItemStarted(ItemStarted { item: number })])?;
            let result = self.run_item(number, item, wire)?;
            has_looked = matches!(result, ItemResult::Finished(_));
            self.settle_item(wire, number, result)?;
        }
        let is_to_look = !has_looked && (!adopted.is_empty() || !self.finished.is_empty());
        if is_to_look {
            damage::look_at_the_end(self.base);
        }
        self.look_at_finished(&adopted, damage_before)?;
        Ok(self.tally.done(wire.control.is_stopping_gracefully(), left_out))
    }

    /// What went missing of finished items while others were backed up is not passed over in silence.
    fn look_at_finished(&mut self, adopted: &[ItemEnded], damage_before: u64) -> Result<(), End> {
        let adopted = adopted.iter().filter_map(|item| {
            let id = item.snapshot.as_ref().try_into().ok()?;
            Some((item.item, SnapshotId::from_bytes(id)))
        });
        let finished: Vec<_> = adopted.chain(self.finished.iter().copied()).collect();
        for (item, exception) in damage::of_finished(self.base, &finished, damage_before) {
            self.exceptions.add(exception);
            self.tally.counters.exceptions += 1;
            let found = self.exceptions.take(item);
            found.map_or(Ok(()), |found| self.base.journal(vec![found]))?;
        }
        self.base.progress.set(self.tally.counters);
        Ok(())
    }

    /// Walks the item until nothing is missing of what it relies on. Whatever goes missing while it is walked, only the client has.
    fn run_item(
        &mut self,
        number: u32,
        item: &Item,
        wire: &mut Wire<BackupProtocol>,
    ) -> Result<ItemResult, End> {
        let written = Written::since(self.chunks.stored());
        let mut walks = 1;
        loop {
            let lacks = match self.walk(number, item, wire, &written)? {
                Walked::Over(result) => return Ok(result),
                Walked::Suffers(lacks) => lacks,
            };
            if walks == MOST_WALKS {
                return Err(damage::keeps_coming(self.base, walks, &lacks).into());
            }
            walks += 1;
            damage::tell_again(self.base, &item.path, &lacks)?;
            self.exceptions.begin_item_again();
        }
    }

    fn walk(
        &mut self,
        number: u32,
        item: &Item,
        wire: &mut Wire<BackupProtocol>,
        written: &Written,
    ) -> Result<Walked, End> {
        let numbered = (number, item);
        let run = ItemRun::new(self.base, self.writer, self.chunks, numbered, written.clone())?;
        let Some(mut run) = run else {
            return Ok(Walked::Over(ItemResult::Failed(JobError {
                code: u32::from(StatusCode::NO_SUCH_PATH.0),
                text: format!("\"{}\" is not a plain absolute path", item.path),
            })));
        };
        let config = self.base.repository.config_sha256();
        let config = config.map_err(|error| self.base.storage_fault(&error))?;
        wire.send(Down::BeginItem(BeginItem {
            item: number,
            repository_config_sha256: bytes::Bytes::copy_from_slice(config.as_bytes()),
        }))?;
        let error = run.receive(wire, &self.tally, &mut self.exceptions, &mut self.checkpoints)?;
        match error {
            Some(error) => {
                self.chunks.forget_missing();
                Ok(Walked::Over(ItemResult::Failed(error)))
            }
            None => commit::commit(run, self.exceptions.count_of_item()),
        }
    }

    /// Journals how the item ended and tells the client.
    fn settle_item(
        &mut self,
        wire: &Wire<BackupProtocol>,
        number: u32,
        result: ItemResult,
    ) -> Result<(), End> {
        let mut events: Vec<What> = self.exceptions.take(number).into_iter().collect();
        let (ended, snapshot) = match result {
            ItemResult::Finished(committed) => {
                self.tally.finished(&committed.counters);
                self.finished.push((number, committed.snapshot));
                let snapshot = bytes::Bytes::copy_from_slice(committed.snapshot.as_bytes());
                (committed.ended(number), snapshot)
            }
            ItemResult::Failed(error) => {
                self.tally.failed(&error, self.exceptions.count());
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
        self.base.progress.set(self.tally.counters);
        events.push(What::ItemEnded(ended));
        self.base.journal(events)?;
        wire.send(Down::ItemCommitted(ItemCommitted {
            item: number,
            snapshot,
        }))
    }
}
