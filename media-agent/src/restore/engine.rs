//! Keeps the walk, the client's verdicts and the content in step.
//!
//! Entries run one batch ahead of the content. Called by `attempts::conduct`.

use std::collections::VecDeque;

use bytes::Bytes;
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::restore_down::Body as Down;
use outlast_proto::v1::restore_up::Body as Up;
use outlast_proto::v1::{
    self, Entries, EntriesEnd, Entry, FileData, FileEnd, FileEnds, FileException, ItemEnded, ItemStarted,
    LeaveDirectory, RestoreEnd, Stopped, Verdicts, WholeFile, WholeFiles, entry,
};
use outlast_proto::words::{Counters, MAX_EXCEPTIONS, StatusCode};
use outlast_repository::{BlobId, NodeKind, SnapshotId};
use prost::Message as _;

use super::content::{Answer, Readers};
use super::walk::{Step, Walk, is_damage};
use crate::attempts::{Done, End, RestoreProtocol, Wire, counters_message};
use crate::backup::{Base, ExceptionLog};
use crate::fault::{Fault, told_by_client};
use crate::tree_builder::{ItemPath, node_from_tree};

const BATCH_ENTRIES: usize = 256;
const BATCH_BYTES: usize = 256 << 10;
const PIECE: usize = 1 << 20;
/// Files up to this length go together, many in one message.
const SHORT_FILE: usize = 64 << 10;
const TOGETHER_BYTES: usize = 256 << 10;
/// So many zeros are only counted.
const MANY_ZEROS: usize = 64 << 10;
/// Batches whose verdicts are awaited while the content of an earlier one is sent.
const BATCHES_AHEAD: usize = 2;

pub(crate) struct RestoreWork {
    pub(crate) base: Base,
    pub(crate) snapshot: SnapshotId,
    pub(crate) paths: Vec<String>,
}

/// A file whose entry was sent.
struct File {
    number: u64,
    path: String,
    content: Vec<BlobId>,
}

impl File {
    /// Its chunks; those that follow one another and are the same, as in a hole, are read once.
    fn runs(&self) -> impl Iterator<Item = &[BlobId]> {
        self.content.chunk_by(|one, next| one == next)
    }
}

#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    files: Vec<File>,
    through: u64,
}

struct Engine<'a> {
    base: &'a Base,
    wire: &'a mut Wire<RestoreProtocol>,
    exceptions: ExceptionLog,
    /// Files with damaged content, the first of them.
    left_out: Vec<String>,
    counters: Counters,
    /// Answers that came while something else was done.
    verdicts: VecDeque<Verdicts>,
    end: Option<RestoreEnd>,
    next_number: u64,
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
        left_out: Vec::new(),
        counters: Counters::default(),
        verdicts: VecDeque::new(),
        end: None,
        next_number: 0,
    };
    let done = engine.restore(work.snapshot, &work.paths)?;
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
    fn restore(&mut self, snapshot: SnapshotId, paths: &[String]) -> Result<Done, End> {
        let base = self.base;
        let paths: Vec<ItemPath> = match paths.iter().map(|p| ItemPath::parse(p).ok_or(p)).collect() {
            Ok(paths) => paths,
            Err(path) => return Ok(no_such_path(path)),
        };
        let snapshot = base
            .repository
            .snapshot(&snapshot)
            .map_err(|error| base.storage_fault(&error))?;
        let items = snapshot.paths.iter().filter_map(|item| ItemPath::parse(item));
        let mut walk = Walk::new(&base.repository, snapshot.tree, items.collect(), &paths)
            .map_err(|error| base.storage_fault(&error))?;
        std::thread::scope(|scope| {
            let readers = Readers::start(scope, &base.repository);
            self.stream(&mut walk, &readers)
        })?;
        let missing: Vec<usize> = (0..paths.len()).filter(|index| !walk.has_found(*index)).collect();
        for index in &missing {
            self.except(show(&paths[*index]), "it is not in this restore point".to_owned())?;
        }
        self.wire.send(Down::EntriesEnd(EntriesEnd {}))?;
        let end = loop {
            match self.end.take() {
                Some(end) => break end,
                None => {
                    let message = self.wire.receive()?;
                    self.handle(message)?;
                }
            }
        };
        (self.counters.files, self.counters.directories) = (end.files, end.directories);
        self.counters.bytes = end.bytes;
        self.publish();
        Ok(match end.error {
            Some(error) => {
                let error = told_by_client(error);
                Done {
                    code: StatusCode(u16::try_from(error.code).unwrap_or(StatusCode::ACCESS_NOT_ALLOWED.0)),
                    text: error.text,
                    stopped: Stopped::Unspecified,
                }
            }
            None if !missing.is_empty() && missing.len() == paths.len() => no_such_path(&show(&paths[0])),
            None => {
                let code = if self.exceptions.count() > 0 {
                    StatusCode::EXCEPTIONS
                } else {
                    StatusCode::SUCCESSFUL
                };
                let (text, stopped) = (String::new(), Stopped::Unspecified);
                Done { code, text, stopped }
            }
        })
    }

    /// Sends entries and content until the walk is over and every wanted file was sent.
    fn stream(&mut self, walk: &mut Walk<'_>, readers: &Readers<'_>) -> Result<(), End> {
        let mut ahead: VecDeque<Batch> = VecDeque::new();
        let mut walking = true;
        while walking || !ahead.is_empty() {
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
                let verdicts = self.verdicts_of(&batch)?;
                self.send_files(batch, &verdicts.wanted, readers)?;
            }
        }
        Ok(())
    }

    fn next_batch(&mut self, walk: &mut Walk<'_>) -> Result<(Batch, bool), End> {
        let mut batch = Batch::default();
        let mut bytes = 0;
        while batch.entries.len() < BATCH_ENTRIES && bytes < BATCH_BYTES {
            let step = walk.next().map_err(|error| self.base.storage_fault(&error))?;
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

    fn entry(&mut self, step: Step, walk: &Walk<'_>, batch: &mut Batch) -> Result<Option<entry::Kind>, End> {
        let number = self.next_number;
        Ok(Some(match step {
            Step::Leave => entry::Kind::Leave(LeaveDirectory {}),
            Step::Unreadable { reason } => {
                self.except(walk.path_of(None), reason)?;
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
                let Some(message) = node_from_tree(number, &node) else {
                    self.except(path, "its type is not known".to_owned())?;
                    return Ok(None);
                };
                self.next_number += 1;
                if node.kind == NodeKind::File {
                    let content = node.content.unwrap_or_default();
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

    /// The client's answer to a batch.
    fn verdicts_of(&mut self, batch: &Batch) -> Result<Verdicts, End> {
        loop {
            if let Some(verdicts) = self.verdicts.pop_front() {
                let known = |number: &u64| batch.files.iter().any(|file| file.number == *number);
                let rising = verdicts.wanted.windows(2).all(|pair| pair[0] < pair[1]);
                if verdicts.through != batch.through || !rising || !verdicts.wanted.iter().all(known) {
                    return Err(protocol("verdicts do not fit the entries").into());
                }
                return Ok(verdicts);
            }
            let message = self.wire.receive()?;
            self.handle(message)?;
        }
    }

    fn send_files(&mut self, batch: Batch, wanted: &[u64], readers: &Readers<'_>) -> Result<(), End> {
        let files: Vec<File> = batch
            .files
            .into_iter()
            .filter(|file| wanted.binary_search(&file.number).is_ok())
            .collect();
        let ids = files.iter().flat_map(File::runs).map(|run| run[0]).collect();
        let mut chunks = readers.read(ids).peekable();
        let mut together = Vec::new();
        let mut bytes = 0;
        for file in &files {
            let is_short = |answer: &Answer| matches!(answer, Ok(data) if data.len() <= SHORT_FILE);
            if file.content.len() == 1
                && let Some(Ok(data)) = chunks.next_if(is_short)
            {
                bytes += data.len();
                let node = file.number;
                together.push(WholeFile { node, data });
                if bytes < TOGETHER_BYTES {
                    continue;
                }
                self.send_together(&mut together)?;
            } else {
                self.send_together(&mut together)?;
                self.send_file(file, &mut chunks)?;
            }
            bytes = 0;
        }
        self.send_together(&mut together)
    }

    fn send_together(&mut self, together: &mut Vec<WholeFile>) -> Result<(), End> {
        let files = std::mem::take(together);
        self.take_what_came()?;
        if files.is_empty() {
            return Ok(());
        }
        self.counters.bytes_read += files.iter().map(|file| file.data.len() as u64).sum::<u64>();
        self.wire.send(Down::WholeFiles(WholeFiles { files }))
    }

    fn send_file(&mut self, file: &File, chunks: &mut impl Iterator<Item = Answer>) -> Result<(), End> {
        let mut offset = 0;
        let mut damage = None;
        for run in file.runs() {
            match chunks.next() {
                Some(Ok(bytes)) if damage.is_none() => {
                    offset = self.send_run(file, offset, &bytes, run.len())?;
                }
                Some(Ok(_)) | None => {}
                Some(Err(error)) if is_damage(&error) => damage = damage.or(Some(error)),
                Some(Err(error)) => return Err(self.base.storage_fault(&error).into()),
            }
        }
        let skipped = damage.is_some();
        if let Some(error) = damage {
            let reason = format!("its content is damaged in the storage unit: {error}");
            self.except(file.path.clone(), reason)?;
            if self.left_out.len() < MAX_EXCEPTIONS {
                self.left_out.push(file.path.clone());
            }
        }
        let end = FileEnd {
            node: file.number,
            size: offset,
            skipped,
            ..FileEnd::default()
        };
        self.wire.send(Down::FileEnds(FileEnds { ends: vec![end] }))?;
        self.take_what_came()
    }

    /// The same bytes so many times.
    fn send_run(&mut self, file: &File, mut offset: u64, bytes: &Bytes, times: usize) -> Result<u64, End> {
        if bytes.len() >= MANY_ZEROS && bytes.iter().all(|byte| *byte == 0) {
            let zeros = bytes.len() as u64 * times as u64;
            self.take_what_came()?;
            self.wire.send(Down::Data(FileData {
                node: file.number,
                offset,
                zeros,
                ..FileData::default()
            }))?;
            self.counters.bytes_read += zeros;
            return Ok(offset + zeros);
        }
        for _ in 0..times {
            offset = self.send_data(file, offset, bytes.clone())?;
        }
        Ok(offset)
    }

    fn send_data(&mut self, file: &File, mut offset: u64, mut bytes: Bytes) -> Result<u64, End> {
        while !bytes.is_empty() {
            let data = bytes.split_to(bytes.len().min(PIECE));
            let length = data.len() as u64;
            self.take_what_came()?;
            self.wire.send(Down::Data(FileData {
                node: file.number,
                offset,
                data,
                zeros: 0,
            }))?;
            offset += length;
            self.counters.bytes_read += length;
        }
        Ok(offset)
    }

    fn take_what_came(&mut self) -> Result<(), End> {
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
                for FileException { path, reason } in found.exceptions {
                    // The client names a file again that it was told to leave out.
                    if !self.left_out.iter().any(|known| path.ends_with(known)) {
                        self.except(path, reason)?;
                    }
                }
            }
            Up::Progress(progress) => {
                self.counters.files = progress.files;
                self.counters.directories = progress.directories;
                self.counters.bytes = progress.bytes;
                self.base.progress.set_path(progress.path);
                self.publish();
            }
            Up::End(end) if self.end.is_none() => self.end = Some(end),
            Up::Verdicts(_) | Up::End(_) | Up::Hello(_) | Up::Goodbye(_) => {
                return Err(protocol("a message came out of turn").into());
            }
        }
        Ok(())
    }

    fn except(&mut self, path: String, reason: String) -> Result<(), End> {
        self.exceptions.add(FileException { path, reason });
        self.publish();
        let batch = self.exceptions.take_batch(0);
        Ok(batch.map_or(Ok(()), |batch| self.base.journal(vec![batch]))?)
    }

    fn publish(&mut self) {
        self.counters.exceptions = self.exceptions.count();
        self.base.progress.set(self.counters);
    }

    fn close_items(&mut self, items: &[u32], done: &Done) -> Result<(), Fault> {
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

fn no_such_path(path: &str) -> Done {
    Done {
        code: StatusCode::NO_SUCH_PATH,
        text: format!("\"{path}\" is not in this restore point"),
        stopped: Stopped::Unspecified,
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
