//! Does the steps of a backup that the core's `Backup` asks for, one after the other.
//!
//! What comes after what is decided there. Called by `attempts::working`.

use std::collections::BTreeMap;
use std::sync::Arc;

use outlast_kit::stream::BackupProtocol;
use outlast_media_core::FoundItem;
use outlast_media_core::backup::{Backup, Came, Snapshot, Step};
use outlast_proto::v1::backup_down::Body as Down;
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{BeginItem, DetailSaid, ItemCommitted, JobError, Severity};
use outlast_proto::words::{SnapshotId, StatusCode, TreeId};
use outlast_repository::{IndexLook, Repository, Writer, WriterOptions};

use super::checkpoint::Checkpoints;
use super::chunks::Chunks;
use super::commit::Built;
use super::item::{ItemRun, Written};
use super::resume::{self, Starts};
use super::{adopt, damage};
use crate::attempts::{Done, End, Progress, Recorder, Wire};
use crate::context::Context;
use crate::fault::{Fault, shorten};
use crate::storage::{AttemptLock, FinishedItem};
use crate::tickets::Ticket;

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
        self.journal(vec![detail(severity, text)])
    }

    /// Durable when it returns; it waits for room while the journal's disk is full.
    pub(crate) fn journal(&self, events: Vec<What>) -> Result<(), End> {
        for event in &events {
            if let What::Detail(DetailSaid { text, .. }) = event {
                tracing::warn!(attempt = %self.ticket.id, "{text}");
            }
        }
        self.recorder.events(events)
    }
}

/// A line for the job's details.
pub(super) fn detail(severity: Severity, text: String) -> What {
    What::Detail(DetailSaid {
        severity: severity.into(),
        text: shorten(text, MOST_TEXT),
    })
}

/// One backup.
struct Engine<'a> {
    base: &'a Base,
    writer: &'a Writer,
    chunks: &'a Chunks<'a>,
    checkpoints: Checkpoints<'a>,
    /// What the index was found to be.
    index: IndexLook,
    damage_before: u64,
    /// What earlier attempts finished, by item.
    found: BTreeMap<u32, FinishedItem>,
    /// And what they left of others.
    starts: Starts,
    /// What the item that was begun last has stored, through all its walks.
    written: Option<(u32, Written)>,
    /// The walk through it.
    run: Option<ItemRun<'a>>,
    /// The tree it came to.
    built: Option<Built>,
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
    let items = base.ticket.items.iter().map(|item| item.before).collect();
    let mut backup = Backup::new(base.ticket.id, items, base.ticket.surveys);
    std::thread::scope(|scope| {
        let chunks = Chunks::start(scope, &base, &writer, &control);
        let mut engine = Engine {
            base: &base,
            writer: &writer,
            chunks: &chunks,
            checkpoints: Checkpoints::new(&base),
            index: IndexLook::default(),
            damage_before: 0,
            found: BTreeMap::new(),
            starts: Starts::default(),
            written: None,
            run: None,
            built: None,
        };
        let mut step = backup.begin();
        let done = loop {
            if let Step::Over(done) = step {
                break done;
            }
            let came = engine.perform(step, &mut backup, &mut wire);
            step = backup.next(came, control.course());
        };
        chunks.keep_own();
        if done.is_ok() {
            base.progress.set(backup.counters());
            // However that ends, the items are done.
            let _ = damage::tell_after(&base, &engine.index, writer.anew());
        }
        done
    })
}

impl<'a> Engine<'a> {
    /// Does a step; what came of it.
    fn perform(
        &mut self,
        step: Step,
        backup: &mut Backup,
        wire: &mut Wire<BackupProtocol>,
    ) -> Result<Came, End> {
        let base = self.base;
        let fault = |error| End::Fault(base.storage_fault(&error));
        match step {
            Step::MendIndex => self.mend_index()?,
            Step::Look => return self.look(backup),
            Step::Examine(found) => return self.examine(&found),
            Step::CheckLock => base.lock.check().map_err(fault)?,
            Step::Save(snapshot) => return self.save(snapshot),
            Step::TakeBack(id) => self.take_back(id),
            Step::Journal(events) => {
                base.progress.set(backup.counters());
                base.journal(events)?;
            }
            Step::JournalIfRoom(event) => return self.journal_if_room(event),
            Step::Remove(id) => self.checkpoints.remove(id),
            Step::Begin(number) => return self.begin(number, wire),
            Step::Receive => return self.receive(backup, wire),
            Step::AwaitChunks => return self.await_chunks(wire),
            Step::Settle => self.chunks.settle()?,
            Step::SavePartial { exceptions } => return self.save_partial(exceptions, backup),
            Step::FinishTree => return self.finish_tree(),
            // The writer checks the lock before each index file.
            Step::Flush => drop(self.writer.flush().map_err(fault)?),
            Step::LookAgain => return self.look_again(),
            Step::Tell(committed) => self.tell(committed, wire)?,
            Step::LookAtEnd => damage::look_at_the_end(base),
            Step::LookAtFinished(finished) => {
                let missing = damage::of_finished(base, &finished, self.damage_before);
                return Ok(Came::Missing(missing));
            }
            // The loop's.
            Step::Over(_) => {}
        }
        Ok(Came::Done)
    }

    fn mend_index(&mut self) -> Result<(), End> {
        self.index = damage::mend_index(self.base)?;
        damage::tell_before(self.base)?;
        self.damage_before = self.base.repository.damage_found();
        Ok(())
    }

    fn look(&mut self, backup: &mut Backup) -> Result<Came, End> {
        self.found = adopt::left_by_earlier_attempts(self.base)?;
        let items = &self.base.ticket.items;
        let is_to_run = |number: u32| {
            let item = items.get(number as usize);
            item.is_some_and(|item| !item.before.finished) && !self.found.contains_key(&number)
        };
        self.starts = resume::look(self.base, is_to_run)?;
        backup.goes_on_from(self.starts.first());
        Ok(Came::Found(self.found.values().map(adopt::found).collect()))
    }

    fn examine(&self, found: &FoundItem) -> Result<Came, End> {
        let number = found.finished.item;
        let Some(item) = self.found.get(&number) else {
            return Ok(Came::Sound(false));
        };
        let is_sound = damage::is_sound(&self.base.repository, item.snapshot.tree);
        let is_sound = is_sound.map_err(|error| self.base.storage_fault(&error))?;
        if !is_sound {
            let text = format!(
                "item {number} was finished by an earlier attempt, but damage was found in it since: it is backed up again"
            );
            self.base.say(Severity::Warning, text)?;
        }
        Ok(Came::Sound(is_sound))
    }

    /// Gives a snapshot its name.
    fn save(&self, snapshot: Snapshot) -> Result<Came, End> {
        let made = match snapshot {
            Snapshot::Adopted(found) => self
                .found
                .get(&found.finished.item)
                .map(|item| adopt::under_own_name(self.base, item)),
            Snapshot::Item {
                item,
                outcome,
                counters,
            } => self
                .built
                .as_ref()
                .map(|built| built.snapshot(self.base, item, outcome, counters)),
            Snapshot::Checkpoint { item, number } => self.checkpoints.snapshot(item, number),
        };
        let Some(made) = made else {
            return Err(nothing_built());
        };
        let id = self.base.repository.save_snapshot(&made);
        let id = id.map_err(|error| self.base.storage_fault(&error))?;
        Ok(Came::Saved {
            snapshot: SnapshotId(*id.as_bytes()),
            at: crate::stamps::of_repository(made.time),
        })
    }

    fn take_back(&self, id: SnapshotId) {
        let id = outlast_repository::SnapshotId::from_bytes(id.0);
        if let Err(error) = self.base.repository.take_back_snapshot(&id) {
            tracing::error!(
                snapshot = %id, %error,
                "a snapshot written without a valid lock could not be removed yet; that is tried again until this agent ends"
            );
        }
    }

    fn journal_if_room(&self, event: What) -> Result<Came, End> {
        let base = self.base;
        let is_checkpoint = matches!(event, What::Checkpoint(_));
        match base.recorder.try_event(event) {
            Ok(()) => {
                if is_checkpoint {
                    base.progress.checkpoint_made(base.context.clock.now());
                }
                Ok(Came::Done)
            }
            Err(error) if error.is_full() => {
                tracing::warn!(
                    attempt = %base.ticket.id, is_checkpoint, %error,
                    "there is no room in the journal: a checkpoint is given up, exceptions go with the end of their item"
                );
                Ok(Came::NoRoom)
            }
            Err(error) => Err(Fault::from(error).into()),
        }
    }

    /// Begins a walk through an item.
    fn begin(&mut self, number: u32, wire: &Wire<BackupProtocol>) -> Result<Came, End> {
        let base = self.base;
        let Some(item) = base.ticket.items.get(number as usize) else {
            return Err(nothing_built());
        };
        let written = match self.written.take() {
            Some((of, written)) if of == number => written,
            _ => Written::since(self.chunks.stored()),
        };
        self.written = Some((number, written.clone()));
        let before = (written, self.starts.of(number, item));
        self.run = ItemRun::new(base, self.writer, self.chunks, (number, item), before)?;
        if self.run.is_none() {
            return Ok(Came::Failed(JobError {
                code: u32::from(StatusCode::NO_SUCH_PATH.0),
                text: format!("\"{}\" is not a plain absolute path", item.path),
            }));
        }
        let config = base.repository.config_sha256();
        let config = config.map_err(|error| base.storage_fault(&error))?;
        wire.send(Down::BeginItem(BeginItem {
            item: number,
            repository_config_sha256: bytes::Bytes::copy_from_slice(config.as_bytes()),
        }))?;
        Ok(Came::Done)
    }

    fn receive(&mut self, backup: &mut Backup, wire: &mut Wire<BackupProtocol>) -> Result<Came, End> {
        let run = self.run.as_mut().ok_or_else(nothing_built)?;
        self.checkpoints.put_off_after_one();
        let came = run.receive(wire, backup, &self.checkpoints)?;
        if let Came::Failed(_) = came {
            self.chunks.forget_missing();
            self.run = None;
        }
        Ok(came)
    }

    fn await_chunks(&mut self, wire: &mut Wire<BackupProtocol>) -> Result<Came, End> {
        self.checkpoints.begin();
        let run = self.run.as_mut().ok_or_else(nothing_built)?;
        let is_worth_it = run.got_on() && run.chunks_have_come(wire)?;
        Ok(if is_worth_it { Came::Done } else { Came::NotNow })
    }

    fn save_partial(&mut self, exceptions: u64, backup: &Backup) -> Result<Came, End> {
        let run = self.run.as_mut().ok_or_else(nothing_built)?;
        let Some(marked) = run.mark(exceptions, backup.exceptions().of_item())? else {
            return Ok(Came::NotNow);
        };
        self.checkpoints.save_tree(self.writer, marked)
    }

    fn finish_tree(&mut self) -> Result<Came, End> {
        let run = self.run.take().ok_or_else(nothing_built)?;
        let built = match Built::finish(run)? {
            Ok(built) => built,
            Err(error) => return Ok(Came::Failed(error)),
        };
        let (tree, counters) = (TreeId(*built.tree.as_bytes()), built.counters);
        self.built = Some(built);
        Ok(Came::Tree { tree, counters })
    }

    /// What damage has taken meanwhile from the tree that was finished.
    fn look_again(&self) -> Result<Came, End> {
        let built = self.built.as_ref().ok_or_else(nothing_built)?;
        damage::look_again(self.base)?;
        let lacks = damage::taken_from(self.base, built.tree, built.damage_before)?;
        if lacks.is_empty() {
            return Ok(Came::Done);
        }
        Ok(Came::Suffers {
            said: damage::said_again(self.base, &built.path, &lacks),
            fault: damage::keeps_coming(self.base, &lacks),
        })
    }

    fn tell(&mut self, committed: ItemCommitted, wire: &Wire<BackupProtocol>) -> Result<(), End> {
        let built = self.built.take();
        let id = committed.snapshot.as_ref().try_into();
        if let (Some(built), Ok(id)) = (built, id) {
            let id = outlast_repository::SnapshotId::from_bytes(id);
            self.chunks.committed(id, built.parent);
        }
        wire.send(Down::ItemCommitted(committed))
    }
}

/// Steps come in another order than they can be done in.
fn nothing_built() -> End {
    let text = "the media agent failed: there is nothing yet to be saved; report this";
    End::Fault(Fault::new(StatusCode::STORAGE_WRITE_ERROR, text))
}
