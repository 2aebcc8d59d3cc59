//! Keeps the walk, the client's verdicts and the content in step.
//!
//! Entries run one batch ahead of the content. Called by `attempts::conduct`.

use std::collections::VecDeque;

use outlast_kit::stream::RestoreProtocol;
use outlast_media_core::ExceptionLog;
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::restore_down::Body as Down;
use outlast_proto::v1::restore_up::Body as Up;
use outlast_proto::v1::{
    self, Entries, EntriesEnd, Entry, FileException, ItemEnded, ItemStarted, LeaveDirectory, RestoreEnd,
    Stopped, Verdicts, entry,
};
use outlast_proto::words::{Counters, StatusCode};
use outlast_repository::{BlobId, BlobKind, NodeKind, SnapshotId};
use prost::Message as _;

use super::content::Readers;
use super::repeats::Repeats;
use super::walk::{Step, Walk};
use crate::attempts::{Done, End, Wire, counters_message};
use crate::backup::{Base, Silences};
use crate::fault::Fault;
use crate::storage::{Content, Found, find};
use crate::tree_builder::{ItemPath, node_from_tree};

const BATCH_ENTRIES: usize = 256;
const BATCH_BYTES: usize = 256 << 10;
/// Paths that are named of those that are not there.
const MOST_NAMED: usize = 10;
/// Batches whose verdicts are awaited while the content of an earlier one is sent.
const BATCHES_AHEAD: usize = 2;

pub(crate) struct RestoreWork {
    pub(crate) base: Base,
    pub(crate) snapshot: SnapshotId,
    pub(crate) content: Content,
    pub(crate) paths: Vec<String>,
    /// Where the client puts it.
    pub(crate) to: String,
}

/// A file whose entry was sent.
pub(super) struct File {
    pub(super) number: u64,
    pub(super) path: String,
    pub(super) content: Vec<BlobId>,
}

impl File {
    /// Its chunks; those that follow one another and are the same, as in a hole, are read once.
    pub(super) fn runs(&self) -> impl Iterator<Item = &[BlobId]> {
        self.content.chunk_by(|one, next| one == next)
    }
}

#[derive(Default)]
pub(super) struct Batch {
    entries: Vec<Entry>,
    pub(super) files: Vec<File>,
    through: u64,
}

pub(super) struct Engine<'a> {
    pub(super) base: &'a Base,
    pub(super) wire: &'a mut Wire<RestoreProtocol>,
    exceptions: ExceptionLog,
    pub(super) repeats: Repeats,
    /// The first thing that could not be read, and why.
    first_loss: Option<String>,
    pub(super) counters: Counters,
    /// Answers that came while something else was done.
    verdicts: VecDeque<Verdicts>,
    /// The client's last word. With an error it may come at any time, and nothing more is sent then.
    pub(super) end: Option<RestoreEnd>,
    /// Whether the client has everything.
    is_all_sent: bool,
    next_number: u64,
    silences: Silences,
}

/// Runs the restore to its end.
pub(crate) fn run(work: RestoreWork, mut wire: Wire<RestoreProtocol>) -> Result<Done, End> {
    let base = &work.base;
    let items = unfinished_items(base);
    let started = items
        .iter()
        .map(|item| What::ItemStarted(ItemStarted { item: *item }))
        .collect();
    base.journal(started)?;
    let mut engine = Engine {
        base,
        wire: &mut wire,
        exceptions: ExceptionLog::default(),
        repeats: Repeats::new(work.to),
        first_loss: None,
        counters: Counters::default(),
        verdicts: VecDeque::new(),
        end: None,
        is_all_sent: false,
        next_number: 0,
        silences: Silences::default(),
    };
    let found_before = base.repository.damage_found();
    let found = find(&base.repository, &work.snapshot, &work.content)
        .map_err(|error| crate::fault::restore_point(&base.context.unit.name, &work.snapshot, &error))?;
    let done = engine.restore(&work.snapshot, found, &work.paths)?;
    if base.repository.damage_found() > found_before {
        let text = "damage was found in the storage unit; what is damaged counts as absent from now on, so that the next backup stores \
                    anew what of it is still at the source";
        base.say(v1::Severity::Warning, text.to_owned())?;
    }
    engine.close_items(&items, &done)?;
    Ok(done)
}

fn unfinished_items(base: &Base) -> Vec<u32> {
    let numbered = (0..).zip(&base.ticket.items);
    numbered
        .filter(|(_, item)| !item.before.finished)
        .map(|(number, _)| number)
        .collect()
}

impl Engine<'_> {
    fn restore(&mut self, id: &SnapshotId, found: Found, paths: &[String]) -> Result<Done, End> {
        let base = self.base;
        let Found { snapshot, rewritten } = found;
        let paths: Vec<ItemPath> = match paths.iter().map(|p| ItemPath::parse(p).ok_or(p)).collect() {
            Ok(paths) => paths,
            Err(path) => return Ok(no_such_path(std::slice::from_ref(path), None)),
        };
        let items = snapshot.paths.iter().filter_map(|item| ItemPath::parse(item));
        let mut walk = Walk::new(&base.repository, snapshot.tree, items.collect(), &paths)
            .map_err(|error| base.reading_fault(&error))?;
        let missing: Vec<String> = walk.missing().iter().map(|index| show(&paths[*index])).collect();
        if let Some(how) = &rewritten {
            let text = format!("restore point {id}: {how}");
            base.say(v1::Severity::Warning, text)?;
            let item = snapshot.paths.first().cloned().unwrap_or_default();
            self.except(item, how.clone())?;
        }
        if !missing.is_empty() && missing.len() == paths.len() {
            return Ok(no_such_path(&missing, rewritten.as_deref()));
        }
        for path in missing {
            self.except(path, "it is not in this restore point".to_owned())?;
        }
        std::thread::scope(|scope| {
            let readers = Readers::start(scope, &base.repository);
            self.stream(&mut walk, &readers)
        })?;
        let end = self.last_word()?;
        (self.counters.files, self.counters.directories) = (end.files, end.directories);
        (self.counters.bytes, self.counters.left_alone) = (end.bytes, end.left_alone);
        self.publish();
        Ok(self.done(end))
    }

    /// Tells the client that it has everything, unless it has ended before, and waits for its last word.
    fn last_word(&mut self) -> Result<RestoreEnd, End> {
        if self.end.is_none() {
            self.is_all_sent = true;
            self.wire.send(Down::EntriesEnd(EntriesEnd {}))?;
        }
        loop {
            match self.end.take() {
                Some(end) => return Ok(end),
                None => {
                    let message = self.wire.receive()?;
                    self.handle(message)?;
                }
            }
        }
    }

    /// What the restore came to (S-14e).
    fn done(&self, end: RestoreEnd) -> Done {
        let is_nothing = end.files == 0 && end.left_alone == 0;
        let (code, text) = match (end.error, &self.first_loss) {
            (Some(error), _) => {
                let fault = Fault::of_client(error);
                (fault.code, fault.text)
            }
            (None, Some(loss)) if is_nothing => {
                let text = format!("nothing was restored; the first cause: {loss}");
                (StatusCode::STORAGE_UNIT_NOT_AVAILABLE, text)
            }
            (None, _) if self.exceptions.count() > 0 => (StatusCode::EXCEPTIONS, String::new()),
            (None, _) => (StatusCode::SUCCESSFUL, String::new()),
        };
        let stopped = Stopped::Unspecified;
        Done {
            code,
            text,
            stopped,
            storage: None,
        }
    }

    /// Sends entries and content until the walk is over and every wanted file was sent.
    fn stream(&mut self, walk: &mut Walk, readers: &Readers<'_>) -> Result<(), End> {
        let mut ahead: VecDeque<Batch> = VecDeque::new();
        let mut walking = true;
        while self.end.is_none() && (walking || !ahead.is_empty()) {
            if walking && ahead.len() < BATCHES_AHEAD {
                let (mut batch, more) = self.next_batch(walk)?;
                walking = more;
                if !batch.entries.is_empty() {
                    let entries = std::mem::take(&mut batch.entries);
                    self.wire.send(Down::Entries(Entries { entries }))?;
                    ahead.push_back(batch);
                }
                continue;
            }
            if let Some(batch) = ahead.pop_front() {
                let Some(verdicts) = self.verdicts_of(&batch)? else {
                    return Ok(());
                };
                self.send_files(batch, &verdicts.wanted, readers)?;
            }
        }
        Ok(())
    }

    fn next_batch(&mut self, walk: &mut Walk) -> Result<(Batch, bool), End> {
        let mut batch = Batch::default();
        let mut bytes = 0;
        while batch.entries.len() < BATCH_ENTRIES && bytes < BATCH_BYTES {
            let step = walk.next().map_err(|error| self.base.reading_fault(&error))?;
            let Some(step) = step else {
                batch.through = self.next_number.saturating_sub(1);
                return Ok((batch, false));
            };
            if let Some(kind) = self.entry(step, walk, &mut batch)? {
                let entry = Entry { kind: Some(kind) };
                bytes += entry.encoded_len();
                batch.entries.push(entry);
            }
        }
        batch.through = self.next_number.saturating_sub(1);
        Ok((batch, true))
    }

    fn entry(&mut self, step: Step, walk: &Walk, batch: &mut Batch) -> Result<Option<entry::Kind>, End> {
        let number = self.next_number;
        Ok(Some(match step {
            Step::Leave => entry::Kind::Leave(LeaveDirectory {}),
            Step::Unreadable { reason } => {
                self.lose(walk.path_of(None), reason)?;
                return Ok(None);
            }
            Step::Enter { node, on_the_way } => {
                self.next_number += 1;
                entry::Kind::Enter(v1::Node {
                    on_the_way,
                    ..node_from_tree(number, &node).unwrap_or_default()
                })
            }
            Step::Node(node) => {
                let path = walk.path_of(Some(&node));
                let Some(mut message) = node_from_tree(number, &node) else {
                    self.except(path, "its type is not known".to_owned())?;
                    return Ok(None);
                };
                self.next_number += 1;
                if node.kind == NodeKind::File {
                    let content = node.content.unwrap_or_default();
                    self.fit_size(&mut message, &content, &path)?;
                    batch.files.push(File {
                        number,
                        path,
                        content,
                    });
                }
                entry::Kind::Node(message)
            }
        }))
    }

    /// The content of a file is what counts; a size that is not its length is told and corrected.
    fn fit_size(&mut self, file: &mut v1::Node, content: &[BlobId], path: &str) -> Result<(), End> {
        let mut length = 0_u64;
        for run in content.chunk_by(|one, next| one == next) {
            let Some(each) = self.base.repository.blob_len(BlobKind::Data, &run[0]) else {
                // It is asked for, whatever it claims, and said to be lost when it is read.
                file.size = file.size.max(1);
                return Ok(());
            };
            length = length.saturating_add(u64::from(each) * run.len() as u64);
        }
        if file.size == length {
            return Ok(());
        }
        let reason = format!(
            "the restore point says that it has {} bytes, and names content of {length} bytes; that content is restored",
            file.size
        );
        file.size = length;
        self.except(path.to_owned(), reason)
    }

    /// The client's answer to a batch; none if it has said its last word instead.
    fn verdicts_of(&mut self, batch: &Batch) -> Result<Option<Verdicts>, End> {
        loop {
            if self.end.is_some() {
                return Ok(None);
            }
            if let Some(verdicts) = self.verdicts.pop_front() {
                let known = |number: &u64| batch.files.iter().any(|file| file.number == *number);
                let rising = verdicts.wanted.windows(2).all(|pair| pair[0] < pair[1]);
                if verdicts.through != batch.through || !rising || !verdicts.wanted.iter().all(known) {
                    return Err(protocol("verdicts do not fit the entries").into());
                }
                return Ok(Some(verdicts));
            }
            let message = self.wire.receive()?;
            self.handle(message)?;
        }
    }

    pub(super) fn take_what_came(&mut self) -> Result<(), End> {
        while let Some(message) = self.wire.try_receive()? {
            self.handle(message)?;
        }
        Ok(())
    }

    fn handle(&mut self, message: Up) -> Result<(), End> {
        match message {
            Up::Verdicts(verdicts) if self.verdicts.len() < BATCHES_AHEAD => {
                self.verdicts.push_back(verdicts)
            }
            Up::Exceptions(found) => {
                for said in found.exceptions {
                    if !self.repeats.take(&said) {
                        self.except(said.path, said.reason)?;
                    }
                }
            }
            Up::Progress(progress) => {
                self.counters.files = progress.files;
                self.counters.directories = progress.directories;
                self.counters.bytes = progress.bytes;
                self.counters.left_alone = progress.left_alone;
                self.base.progress.set_path(progress.path.clone());
                self.publish();
                let next = format!(
                    "if it does not for {} s, the restore fails",
                    progress.patience_seconds
                );
                let waits_for = (progress.waits_for, progress.seconds);
                self.silences.tell(self.base, progress.path, waits_for, &next)?;
            }
            Up::End(end) if self.end.is_none() && (self.is_all_sent || end.error.is_some()) => {
                self.end = Some(end);
            }
            // Of entries that were on their way when it said its last word.
            Up::Verdicts(_) if self.end.is_some() => {}
            Up::Verdicts(_) | Up::End(_) | Up::Hello(_) | Up::Goodbye(_) => {
                return Err(protocol("a message came out of turn").into());
            }
        }
        Ok(())
    }

    /// Something that cannot be read in the storage unit.
    pub(super) fn lose(&mut self, path: String, reason: String) -> Result<(), End> {
        self.base.remember_damage();
        self.first_loss.get_or_insert_with(|| format!("{path}: {reason}"));
        self.except(path, reason)
    }

    pub(super) fn except(&mut self, path: String, reason: String) -> Result<(), End> {
        self.exceptions.add(FileException { path, reason });
        self.publish();
        let batch = self.exceptions.take_batch(0);
        batch.map_or(Ok(()), |batch| self.base.journal(vec![batch]))
    }

    fn publish(&mut self) {
        self.counters.exceptions = self.exceptions.count();
        self.base.progress.set(self.counters);
    }

    fn close_items(&mut self, items: &[u32], done: &Done) -> Result<(), End> {
        use v1::ItemOutcome as Outcome;
        let mut events: Vec<What> = self.exceptions.take(0).into_iter().collect();
        let (outcome, error) = match done.code {
            StatusCode::SUCCESSFUL => (Outcome::Done, None),
            StatusCode::EXCEPTIONS => (Outcome::DoneWithExceptions, None),
            code => {
                let text = done.text.clone();
                let code = u32::from(code.0);
                (Outcome::Failed, Some(v1::JobError { code, text }))
            }
        };
        let mut counters = Some(counters_message(&self.counters));
        events.extend(items.iter().map(|item| {
            What::ItemEnded(ItemEnded {
                item: *item,
                outcome: outcome.into(),
                // A restore is one piece of work; its numbers are counted once.
                counters: Some(counters.take().unwrap_or_default()),
                error: error.clone(),
                ..ItemEnded::default()
            })
        }));
        self.base.journal(events)
    }
}

fn no_such_path(paths: &[String], rewritten: Option<&str>) -> Done {
    let named: Vec<_> = paths
        .iter()
        .take(MOST_NAMED)
        .map(|path| format!("\"{path}\""))
        .collect();
    let (named, more) = (named.join(", "), paths.len().saturating_sub(MOST_NAMED));
    let mut text = match (paths.len(), more) {
        (1, _) => format!("{named} is not in this restore point"),
        (_, 0) => format!("{named} are not in this restore point"),
        (_, more) => format!("{named} and {more} other paths are not in this restore point"),
    };
    text.extend(rewritten.into_iter().flat_map(|how| ["; ", how]));
    Done {
        code: StatusCode::NO_SUCH_PATH,
        text,
        stopped: Stopped::Unspecified,
        storage: None,
    }
}

fn show(path: &ItemPath) -> String {
    let names = path.parts().iter();
    names
        .map(|name| format!("/{}", crate::tree_builder::show_bytes(name)))
        .collect()
}

fn protocol(text: &str) -> Fault {
    Fault::access(format!("the client broke the protocol: {text}"))
}
