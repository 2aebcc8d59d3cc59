//! The restoring thread: takes the media agent's messages in order, decides what is wanted, and writes it.

use std::collections::{HashSet, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outlast_proto::v1::restore_down::Body as Down;
use outlast_proto::v1::restore_up::Body as Up;
use outlast_proto::v1::{
    Entries, Exceptions, FileData, FileEnd, JobError, Node, NodeType, RestoreEnd, RestoreProgress, Verdicts,
    entry,
};
use outlast_proto::words::{JobId, Overwrite, StatusCode};
use rustix::fs::{Mode, mkdirat};
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::Said;
use super::content::{Writing, temporary_name};
use super::metadata;
use super::place::{Place, look, open_target};
use super::settle::{Settling, Step, make_room};
use crate::attempt::Violation;
use crate::host::beneath::Beneath;
use crate::host::paths::{is_entry_name, join, shown};
use crate::progress::Progress;

/// Nodes that may wait for the content of files before them.
const MOST_WAITING: usize = 1_000_000;
const MOST_LEVELS: usize = 100_000;
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// What is to be restored.
pub(super) struct Order {
    pub(super) job: JobId,
    pub(super) to: String,
    pub(super) overwrite: Overwrite,
    pub(super) progress: Arc<Progress>,
}

/// The thread's state.
pub(super) struct Restorer {
    order: Order,
    say: mpsc::Sender<Said>,
    /// None if `TO` cannot be used: then nothing is wanted, and the end says why.
    target: Result<Target, JobError>,
    next_number: u64,
    levels: Vec<Level>,
    /// Nodes in order, the first of which is a file whose content is still coming.
    waiting: VecDeque<Waiting>,
    /// The file at the front, once it is open. An error is said at its end.
    writing: Option<Result<Writing, Errno>>,
    first_names: HashSet<(u64, u64)>,
    progress_said: Instant,
}

struct Target {
    beneath: Beneath,
    settling: Settling,
}

/// A directory that was entered and not left.
struct Level {
    path: Vec<u8>,
    node: Box<Node>,
    /// None: nothing below it is restored.
    folder: Option<Entered>,
}

#[derive(Clone, Copy)]
struct Entered {
    is_described: bool,
}

enum Waiting {
    Content { folder: Vec<u8>, node: Node },
    Step(Step),
}

/// The other side of the channel is gone.
struct Gone;

enum Trouble {
    Gone,
    Violation(Violation),
}

impl From<Violation> for Trouble {
    fn from(violation: Violation) -> Self {
        Trouble::Violation(violation)
    }
}

impl From<Gone> for Trouble {
    fn from(_: Gone) -> Self {
        Trouble::Gone
    }
}

impl Restorer {
    pub(super) fn new(order: Order, say: mpsc::Sender<Said>) -> Self {
        let target = open_target(&order.to).map(|target| Target {
            settling: Settling::new(order.job, order.overwrite, &order.to, &target),
            beneath: Beneath::new(target),
        });
        Self {
            order,
            say,
            target,
            next_number: 0,
            levels: Vec::new(),
            waiting: VecDeque::new(),
            writing: None,
            first_names: HashSet::new(),
            progress_said: Instant::now(),
        }
    }

    /// Works until the end is said or the channel is closed.
    pub(super) fn work(mut self, mut messages: mpsc::Receiver<Down>) {
        while let Some(message) = messages.blocking_recv() {
            match self.message(message) {
                Ok(false) => {}
                Ok(true) | Err(Trouble::Gone) => break,
                Err(Trouble::Violation(violation)) => {
                    // If nobody listens, the stream has ended for another reason.
                    let _ = self.say.blocking_send(Said::Failed(violation));
                    break;
                }
            }
        }
        if let Some(Ok(writing)) = self.writing.take() {
            writing.abandon();
        }
    }

    /// Takes up a message; true after the last.
    fn message(&mut self, message: Down) -> Result<bool, Trouble> {
        match message {
            Down::Entries(entries) => self.entries(entries)?,
            Down::Data(data) => self.data(&data)?,
            Down::FileEnds(ends) => ends.ends.iter().try_for_each(|end| self.file_end(end))?,
            Down::EntriesEnd(_) => {
                self.end()?;
                return Ok(true);
            }
            Down::Welcome(_) | Down::Over(_) => return Err(Violation::OutOfTurn { what: "a welcome" }.into()),
        }
        self.say_exceptions()?;
        self.say_progress()?;
        Ok(false)
    }

    fn entries(&mut self, entries: Entries) -> Result<(), Trouble> {
        let mut wanted = Vec::new();
        for entry in entries.entries {
            match entry.kind {
                Some(entry::Kind::Enter(node)) => self.enter(node)?,
                Some(entry::Kind::Leave(_)) => self.leave()?,
                Some(entry::Kind::Node(node)) => self.node(node, &mut wanted)?,
                None => {
                    return Err(Violation::OutOfTurn {
                        what: "an empty entry",
                    }
                    .into());
                }
            }
        }
        if self.waiting.len() > MOST_WAITING || self.levels.len() > MOST_LEVELS {
            return Err(Violation::TooMuch { what: "entries" }.into());
        }
        let through = self.next_number.saturating_sub(1);
        self.say(Up::Verdicts(Verdicts { through, wanted }))?;
        Ok(())
    }

    /// Checks a node's number and name: nothing it says can lead out of `TO`.
    fn check(&mut self, node: &Node) -> Result<(), Violation> {
        if node.number != self.next_number {
            return Err(Violation::UnknownNode { node: node.number });
        }
        self.next_number += 1;
        if !is_entry_name(&node.name) {
            return Err(Violation::BadName {
                name: shown(&node.name),
            });
        }
        Ok(())
    }

    /// The path of the directory entered last, unless nothing below it is restored.
    fn folder(&self) -> Option<Vec<u8>> {
        self.target.as_ref().ok()?;
        match self.levels.last() {
            None => Some(Vec::new()),
            Some(level) => level.folder.map(|_| level.path.clone()),
        }
    }

    fn enter(&mut self, node: Node) -> Result<(), Violation> {
        self.check(&node)?;
        if node.r#type() != NodeType::Directory {
            return Err(Violation::UnknownNode { node: node.number });
        }
        let parent = self.folder();
        let path = join(parent.as_deref().unwrap_or_default(), &node.name);
        let folder = parent.and_then(|parent| self.make_folder(&parent, &path, &node));
        self.levels.push(Level {
            path,
            node: Box::new(node),
            folder,
        });
        Ok(())
    }

    /// Makes the directory or takes the one that is there.
    fn make_folder(&mut self, parent: &[u8], path: &[u8], node: &Node) -> Option<Entered> {
        let overwrite = self.order.overwrite;
        let Target { beneath, settling } = self.target.as_mut().ok()?;
        let made = beneath.folder(parent).and_then(|folder| {
            let place = look(&folder, node, true, overwrite)?;
            if place == Place::Replace {
                make_room(&folder, &node.name)?;
            }
            if matches!(place, Place::Free | Place::Replace) {
                mkdirat(&folder, node.name.as_ref(), Mode::RWXU)?;
            }
            Ok((place, folder))
        });
        match made {
            Ok((Place::Free | Place::Replace, _)) => Some(Entered { is_described: true }),
            // The directory itself is overwritten as files are: never, always, or if the restored one is newer.
            Ok((Place::Folder, folder)) => Some(Entered {
                is_described: folder_is_described(&folder, node, overwrite),
            }),
            Ok((Place::InTheWay(what), _)) => {
                settling.exception(path, what.to_owned());
                None
            }
            Ok((Place::Keep, _)) => None,
            Err(error) => {
                let reason = format!("the directory could not be made: {}", std::io::Error::from(error));
                settling.exception(path, reason);
                None
            }
        }
    }

    fn leave(&mut self) -> Result<(), Violation> {
        let level = self.levels.pop().ok_or(Violation::OutOfTurn {
            what: "the end of a directory",
        })?;
        if let Some(Entered { is_described }) = level.folder {
            let Level { path, node, .. } = level;
            self.then(Step::Leave {
                path,
                node,
                is_described,
            });
        }
        Ok(())
    }

    fn node(&mut self, node: Node, wanted: &mut Vec<u64>) -> Result<(), Violation> {
        self.check(&node)?;
        if node.r#type() == NodeType::Directory {
            return Err(Violation::UnknownNode { node: node.number });
        }
        let Some(folder) = self.folder() else {
            return Ok(());
        };
        if !self.takes(&folder, &node) {
            return Ok(());
        }
        let is_further_name = node.links > 1 && !self.first_names.insert((node.device_id, node.inode));
        if is_further_name {
            self.then(Step::Link { folder, node });
        } else if node.r#type() == NodeType::File && node.size > 0 {
            wanted.push(node.number);
            self.waiting.push_back(Waiting::Content { folder, node });
        } else {
            self.then(Step::Create { folder, node });
        }
        Ok(())
    }

    /// Whether `node` shall be restored, given what is at its place.
    fn takes(&mut self, folder: &[u8], node: &Node) -> bool {
        let overwrite = self.order.overwrite;
        let Ok(Target { beneath, settling }) = &mut self.target else {
            return false;
        };
        let place = beneath
            .folder(folder)
            .and_then(|folder| look(&folder, node, false, overwrite));
        match place {
            Ok(Place::Free | Place::Replace) => true,
            Ok(Place::Keep | Place::Folder) => false,
            Ok(Place::InTheWay(what)) => {
                settling.exception(&join(folder, &node.name), what.to_owned());
                false
            }
            Err(error) => {
                let reason = format!("its place cannot be examined: {}", std::io::Error::from(error));
                settling.exception(&join(folder, &node.name), reason);
                false
            }
        }
    }

    /// Takes a step now, or after the files before it.
    fn then(&mut self, step: Step) {
        if self.waiting.is_empty() {
            if let Ok(target) = &mut self.target {
                target.settling.push(step);
            }
        } else {
            self.waiting.push_back(Waiting::Step(step));
        }
    }

    fn data(&mut self, data: &FileData) -> Result<(), Violation> {
        self.open_front(data.node)?;
        let Some(writing) = &mut self.writing else {
            return Ok(());
        };
        if let Ok(file) = writing {
            if data.offset != file.position() {
                return Err(Violation::OutOfTurn {
                    what: "a piece of a file",
                });
            }
            let written = file.write(&data.data);
            self.order.progress.read(data.data.len() as u64);
            if let Err(error) = written
                && let Ok(file) = std::mem::replace(writing, Err(error))
            {
                file.abandon();
            }
        }
        Ok(())
    }

    /// Makes sure that the file `number`, which must be the next one, is open.
    fn open_front(&mut self, number: u64) -> Result<(), Violation> {
        let unknown = Violation::UnknownNode { node: number };
        let Some(Waiting::Content { folder, node }) = self.waiting.front() else {
            return Err(unknown);
        };
        if node.number != number {
            return Err(unknown);
        }
        if self.writing.is_none() {
            let Ok(Target { beneath, settling }) = &mut self.target else {
                return Err(unknown);
            };
            let path = join(self.order.to.as_bytes(), &join(folder, &node.name));
            self.order.progress.set_path(&path);
            let mut open = || {
                let folder = beneath.folder(folder)?;
                Writing::create(folder, temporary_name(self.order.job, number))
            };
            let mut opened = open();
            if matches!(opened, Err(Errno::MFILE | Errno::NFILE)) {
                // The files waiting for a common sync are what fills the table.
                settling.settle();
                opened = open();
            }
            self.writing = Some(opened);
        }
        Ok(())
    }

    fn file_end(&mut self, end: &FileEnd) -> Result<(), Violation> {
        self.open_front(end.node)?;
        let (Some(Waiting::Content { folder, node }), Some(writing)) =
            (self.waiting.pop_front(), self.writing.take())
        else {
            return Ok(());
        };
        let Ok(Target { settling, .. }) = &mut self.target else {
            return Ok(());
        };
        let path = join(&folder, &node.name);
        match writing {
            Err(error) => {
                let reason = format!("it could not be written: {}", std::io::Error::from(error));
                settling.exception(&path, reason);
            }
            Ok(writing) if end.skipped => {
                writing.abandon();
                settling.exception(&path, "the media agent could not read its content".to_owned());
            }
            Ok(writing) if writing.position() != end.size => {
                let reason = format!("{} of its {} bytes came", writing.position(), end.size);
                writing.abandon();
                settling.exception(&path, reason);
            }
            Ok(writing) => match writing.finish() {
                Ok(()) => {
                    settling.problems(&path, &metadata::of_open(&writing.file, &node));
                    self.order.progress.file_done(0);
                    settling.push(Step::File {
                        folder,
                        node,
                        writing,
                    });
                }
                Err(error) => {
                    writing.abandon();
                    let reason = format!("it could not be written: {}", std::io::Error::from(error));
                    settling.exception(&path, reason);
                }
            },
        }
        while let Some(Waiting::Step(step)) =
            self.waiting.pop_front_if(|next| matches!(next, Waiting::Step(_)))
        {
            if let Ok(target) = &mut self.target {
                target.settling.push(step);
            }
        }
        Ok(())
    }

    /// Everything is here: brings it to disk and says so.
    fn end(&mut self) -> Result<(), Trouble> {
        if !self.waiting.is_empty() || !self.levels.is_empty() {
            return Err(Violation::OutOfTurn { what: "the end" }.into());
        }
        let mut end = RestoreEnd::default();
        match &mut self.target {
            Err(error) => end.error = Some(error.clone()),
            Ok(Target { settling, .. }) => {
                if let Err(error) = settling.finish() {
                    end.error = Some(JobError {
                        code: StatusCode::FILE_READ_FAILED.0.into(),
                        text: format!(
                            "what was restored cannot be synced: {}",
                            std::io::Error::from(error)
                        ),
                    });
                }
                let settled = settling.settled;
                (end.files, end.directories, end.bytes) = (settled.files, settled.directories, settled.bytes);
            }
        }
        self.say_exceptions()?;
        self.say(Up::End(end))?;
        Ok(())
    }

    fn say_exceptions(&mut self) -> Result<(), Gone> {
        let Ok(Target { settling, .. }) = &mut self.target else {
            return Ok(());
        };
        let exceptions = std::mem::take(&mut settling.exceptions);
        self.order.progress.exceptions(exceptions.len() as u64);
        for exceptions in exceptions.chunks(256) {
            let exceptions = exceptions.to_vec();
            self.say(Up::Exceptions(Exceptions { exceptions }))?;
        }
        Ok(())
    }

    fn say_progress(&mut self) -> Result<(), Gone> {
        let Ok(Target { settling, .. }) = &self.target else {
            return Ok(());
        };
        if self.progress_said.elapsed() < PROGRESS_EVERY {
            return Ok(());
        }
        self.progress_said = Instant::now();
        let settled = settling.settled;
        let path = self.order.progress.path();
        let progress = RestoreProgress {
            files: settled.files,
            directories: settled.directories,
            bytes: settled.bytes,
            path,
        };
        self.say(Up::Progress(progress))
    }

    fn say(&self, body: Up) -> Result<(), Gone> {
        self.say.blocking_send(Said::Up(body)).map_err(|_| Gone)
    }
}

fn folder_is_described(parent: &OwnedFd, node: &Node, overwrite: Overwrite) -> bool {
    let found = rustix::fs::statat(parent, node.name.as_ref(), rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
    found.is_ok_and(|found| super::place::replaces(node.modified.as_ref(), &found, overwrite))
}
