//! Nodes in order that wait for the content of a file before them, and that file while it comes in.

use std::collections::VecDeque;
use std::sync::Arc;

use outlast_proto::v1::{FileData, FileEnd, Node};
use outlast_proto::words::limits::MOST_FILE;
use outlast_proto::words::{JobKey, StatusCode};
use prost::Message as _;
use rustix::io::Errno;

use super::content::{PieceBuffer, Writing};
use super::metadata;
use super::settle::Settling;
use super::step::{Leave, Step};
use crate::attempt::Violation;
use crate::host::beneath::Beneath;
use crate::host::paths::join;
use crate::progress::Progress;
use crate::unfinished::temporary_name;

/// Memory for what waits: about a million nodes.
const MOST_BYTES: usize = 512 << 20;

/// Where things are restored.
pub(super) struct Target {
    pub(super) beneath: Beneath,
    pub(super) settling: Settling,
}

/// What waits. The first is always a file whose content is still coming.
pub(super) struct Queue {
    job: JobKey,
    /// `TO`, for people.
    to: Vec<u8>,
    progress: Arc<Progress>,
    items: VecDeque<Waiting>,
    bytes: usize,
    /// The first file, once it is open.
    writing: Option<Result<Writing, Told>>,
    buffer: PieceBuffer,
}

/// The file could not be made or written, and that has been said.
struct Told;

enum Waiting {
    Content { folder: Arc<[u8]>, node: Node },
    Step(Step),
}

impl Waiting {
    fn bytes(&self) -> usize {
        let node = match self {
            Waiting::Content { node, .. }
            | Waiting::Step(
                Step::File { node, .. }
                | Step::Create { node, .. }
                | Step::Link { node, .. }
                | Step::Keep { node, .. },
            ) => node,
            Waiting::Step(Step::Leave(Leave { node, .. })) => node,
        };
        size_of::<Self>() + node.encoded_len()
    }
}

impl Queue {
    pub(super) fn new(job: JobKey, to: &str, progress: Arc<Progress>) -> Self {
        Self {
            job,
            to: to.as_bytes().to_vec(),
            progress,
            items: VecDeque::new(),
            bytes: 0,
            writing: None,
            buffer: PieceBuffer::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether the media agent has sent more than it should without content.
    pub(super) fn is_too_long(&self) -> bool {
        self.bytes > MOST_BYTES
    }

    /// A file whose content will come after that of the files before it.
    pub(super) fn content(&mut self, folder: Arc<[u8]>, node: Node) {
        self.push(Waiting::Content { folder, node });
    }

    /// Takes a step now, or after the files before it.
    pub(super) fn then(&mut self, step: Step, target: &mut Target) {
        if self.items.is_empty() {
            target.settling.push(step);
        } else {
            self.push(Waiting::Step(step));
        }
    }

    /// The next piece of the first file.
    pub(super) fn data(&mut self, data: &FileData, target: &mut Target) -> Result<(), Violation> {
        let size = self.open_front(data.node, target)?;
        let Some(Ok(mut file)) = self.writing.take() else {
            self.writing = Some(Err(Told));
            return Ok(());
        };
        // Zeros cost nothing to say: no more of them than any file is long. What this one is said to have may be wrong.
        let too_many = data.zeros > MOST_FILE.saturating_sub(data.offset);
        if data.offset != file.position() || too_many {
            file.abandon();
            return Err(Violation::OutOfTurn {
                what: "a piece of a file",
            });
        }
        let written = file.write(&data.data).and_then(|()| file.write_zeros(data.zeros));
        self.progress.read(data.data.len() as u64 + data.zeros);
        self.writing = Some(match written {
            Ok(()) => Ok(file),
            Err(error) => {
                file.abandon();
                let path = self.front_path();
                target.settling.unwritten(&path, size, error);
                Err(Told)
            }
        });
        Ok(())
    }

    /// The end of the first file; then the steps that waited for it.
    pub(super) fn file_end(&mut self, end: &FileEnd, target: &mut Target) -> Result<(), Violation> {
        self.open_front(end.node, target)?;
        if let (Some(Waiting::Content { folder, node }), Some(writing)) = (self.pop(), self.writing.take()) {
            let path = join(&folder, &node.name);
            let settling = &mut target.settling;
            match writing.map(|writing| complete(writing, end, &mut self.buffer)) {
                Ok(Ok(writing)) => {
                    let problems = metadata::of_open(&writing.file, &node);
                    settling.account.problems(&path, problems);
                    let (said, came) = (node.size, writing.position());
                    if said != came {
                        let reason = format!(
                            "the restore point says that it has {said} bytes, and its content has {came}; that content is restored"
                        );
                        settling.account.exception(&path, reason);
                    }
                    settling.push(Step::File {
                        folder,
                        node,
                        writing,
                    });
                    self.progress.file_done(0);
                }
                Ok(Err(Incomplete::Unwritten(error))) => settling.unwritten(&path, node.size, error),
                Ok(Err(Incomplete::Unread)) => settling.account.unread(&path),
                Ok(Err(Incomplete::Short(reason))) => {
                    settling
                        .account
                        .failed(&path, StatusCode::STORAGE_WRITE_ERROR, reason);
                }
                Err(Told) => {}
            }
        }
        while matches!(self.items.front(), Some(Waiting::Step(_))) {
            if let Some(Waiting::Step(step)) = self.pop() {
                target.settling.push(step);
            }
        }
        Ok(())
    }

    /// Removes what is half written, and forgets what waits for it but the directories that are left.
    pub(super) fn abandon(&mut self) -> Vec<Leave> {
        if let Some(Ok(writing)) = self.writing.take() {
            writing.abandon();
        }
        self.bytes = 0;
        let left = self.items.drain(..).filter_map(|waiting| match waiting {
            Waiting::Step(Step::Leave(leave)) => Some(leave),
            Waiting::Step(_) | Waiting::Content { .. } => None,
        });
        left.collect()
    }

    fn front_path(&self) -> Vec<u8> {
        match self.items.front() {
            Some(Waiting::Content { folder, node }) => join(folder, &node.name),
            Some(Waiting::Step(_)) | None => Vec::new(),
        }
    }

    fn push(&mut self, waiting: Waiting) {
        self.bytes += waiting.bytes();
        self.items.push_back(waiting);
    }

    fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.items.pop_front()?;
        self.bytes -= waiting.bytes();
        Some(waiting)
    }

    /// Makes sure that the file `number`, which must be the first, is open; the size it is said to have.
    fn open_front(&mut self, number: u64, target: &mut Target) -> Result<u64, Violation> {
        let unknown = Violation::UnknownNode { node: number };
        let Some(Waiting::Content { folder, node }) = self.items.front() else {
            return Err(unknown);
        };
        if node.number != number {
            return Err(unknown);
        }
        let (size, has_holes) = (node.size, node.has_holes);
        if self.writing.is_some() {
            return Ok(size);
        }
        self.progress.set_path(&join(&self.to, &join(folder, &node.name)));
        let Target { beneath, settling } = target;
        settling.ledger.works_in(folder);
        let mut open = || Writing::create(beneath.folder(folder)?, temporary_name(self.job, number));
        let mut opened = open();
        if matches!(opened, Err(Errno::MFILE | Errno::NFILE)) {
            // The files that wait for a common sync are what fills the table.
            settling.settle();
            opened = open();
        }
        self.writing = Some(match opened {
            Ok(mut writing) => {
                writing.expect(size, has_holes, &mut self.buffer);
                Ok(writing)
            }
            Err(error) => {
                let path = self.front_path();
                settling.unwritten(&path, size, error);
                Err(Told)
            }
        });
        Ok(size)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// Why a file is not whole.
enum Incomplete {
    Unwritten(Errno),
    /// The media agent could not read it.
    Unread,
    /// Less or more of it came than there is.
    Short(String),
}

/// The file if it is whole.
fn complete(mut writing: Writing, end: &FileEnd, buffer: &mut PieceBuffer) -> Result<Writing, Incomplete> {
    let wrong = if end.skipped {
        Some(Incomplete::Unread)
    } else if writing.position() != end.size {
        let reason = format!("{} of its {} bytes came", writing.position(), end.size);
        Some(Incomplete::Short(reason))
    } else {
        writing.finish(buffer).err().map(Incomplete::Unwritten)
    };
    match wrong {
        None => Ok(writing),
        Some(reason) => {
            writing.abandon();
            Err(reason)
        }
    }
}
