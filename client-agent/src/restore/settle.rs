//! The last step of each node, in order and in batches: one sync for many files, then renames, links, directories left.
//!
//! A sync for each of a hundred thousand small files would take minutes; nothing gets its name before its data is on disk.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use outlast_proto::v1::{FileException, Node};
use outlast_proto::words::{JobId, Overwrite};
use rustix::fs::{AtFlags, RenameFlags, fstat, fsync, linkat, renameat, renameat_with, syncfs, unlinkat};
use rustix::io::Errno;

use super::content::{Writing, remove_leftover};
use super::restorer::Order;
use super::{create, metadata};
use crate::host::beneath::Beneath;
use crate::host::paths::{join, shown};
use crate::unfinished::{Ledger, temporary_name};

/// A batch is settled when it holds so many open files, bytes or steps.
const MOST_FILES: usize = 512;
const MOST_BYTES: u64 = 64 << 20;
const MOST_STEPS: usize = 4096;
/// Up to so many files, a sync for each is cheaper than one for the file system.
const FEW_FILES: usize = 3;

/// One node's last step.
pub(super) enum Step {
    /// Complete under its temporary name.
    File {
        folder: Arc<[u8]>,
        node: Node,
        writing: Writing,
    },
    /// To be made: it has no content.
    Create { folder: Arc<[u8]>, node: Node },
    /// Another name of a node that came earlier.
    Link { folder: Arc<[u8]>, node: Node },
    /// A directory is left; its metadata is set unless it was there and stays as it was.
    Leave {
        path: Arc<[u8]>,
        node: Box<Node>,
        is_described: bool,
    },
}

/// What was settled so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) files: u64,
    pub(super) directories: u64,
    pub(super) bytes: u64,
}

/// A directory below `TO` and a name in it.
type Place = (Arc<[u8]>, Vec<u8>);

/// The steps not taken yet.
pub(super) struct Settling {
    job: JobId,
    overwrite: Overwrite,
    pub(super) ledger: Ledger,
    to: Vec<u8>,
    beneath: Beneath,
    steps: Vec<Step>,
    files: usize,
    bytes: u64,
    /// Where the first name of each node with several names lies, once it is there.
    first_names: HashMap<(u64, u64), Place>,
    /// One directory of each file system that was written to.
    written: HashMap<u64, Arc<OwnedFd>>,
    pub(super) settled: Settled,
    pub(super) exceptions: Vec<FileException>,
}

impl Settling {
    pub(super) fn new(order: &Order, target: &Arc<OwnedFd>) -> Self {
        Self {
            job: order.job,
            overwrite: order.overwrite,
            ledger: order.made.ledger(order.job, &order.to),
            to: order.to.as_bytes().to_vec(),
            beneath: Beneath::new(Arc::clone(target)),
            steps: Vec::new(),
            files: 0,
            bytes: 0,
            first_names: HashMap::new(),
            written: HashMap::new(),
            settled: Settled::default(),
            exceptions: Vec::new(),
        }
    }

    /// Takes up the next step, and settles what is gathered if that is enough.
    pub(super) fn push(&mut self, step: Step) {
        if let Step::File { writing, .. } = &step {
            self.files += 1;
            self.bytes += writing.position();
        }
        self.steps.push(step);
        if self.files >= MOST_FILES || self.bytes >= MOST_BYTES || self.steps.len() >= MOST_STEPS {
            self.settle();
        }
    }

    /// Takes all steps gathered so far.
    pub(super) fn settle(&mut self) {
        let unsynced = self.sync_files();
        for (index, step) in std::mem::take(&mut self.steps).into_iter().enumerate() {
            match step {
                Step::File {
                    folder,
                    node,
                    writing,
                } => match unsynced.get(&index) {
                    None => self.file(&folder, &node, writing),
                    Some(error) => {
                        writing.abandon();
                        self.failed(&folder, &node, "its content could not be written", *error);
                    }
                },
                Step::Create { folder, node } => self.create(&folder, &node),
                Step::Link { folder, node } => self.link(&folder, &node),
                Step::Leave {
                    path,
                    node,
                    is_described,
                } => self.leave(&path, &node, is_described),
            }
        }
        (self.files, self.bytes) = (0, 0);
        self.ledger.settled();
    }

    /// Makes renames and metadata durable too. Nothing is gathered any more.
    pub(super) fn finish(&mut self) -> Result<(), Errno> {
        self.settle();
        self.written.values().try_for_each(syncfs)
    }

    /// Removes what is half done.
    pub(super) fn abandon(&mut self) {
        for step in std::mem::take(&mut self.steps) {
            if let Step::File { writing, .. } = step {
                writing.abandon();
            }
        }
    }

    /// Notes something that could not be restored as it should.
    pub(super) fn exception(&mut self, path: &[u8], reason: String) {
        let path = shown(&join(&self.to, path));
        self.exceptions.push(FileException { path, reason });
    }

    /// Brings the content of all files to disk; the errors of those for which that failed.
    fn sync_files(&mut self) -> HashMap<usize, Errno> {
        let mut files = Vec::new();
        for (index, step) in self.steps.iter().enumerate() {
            if let Step::File { writing, .. } = step {
                let device = fstat(&writing.file).map_or(0, |stat| stat.st_dev);
                self.written
                    .entry(device)
                    .or_insert_with(|| Arc::clone(&writing.folder));
                files.push((index, device, &writing.file));
            }
        }
        let mut is_synced: HashMap<u64, bool> = HashMap::new();
        let mut unsynced = HashMap::new();
        for &(index, device, file) in &files {
            // What the whole could not do, each file is asked for, to know which ones failed.
            let at_once =
                files.len() > FEW_FILES && *is_synced.entry(device).or_insert_with(|| syncfs(file).is_ok());
            if let Err(error) = if at_once { Ok(()) } else { fsync(file) } {
                unsynced.insert(index, error);
            }
        }
        unsynced
    }

    fn file(&mut self, folder: &Arc<[u8]>, node: &Node, writing: Writing) {
        let bytes = writing.position();
        match self.named(&writing.folder, &writing.temporary, &node.name) {
            Ok(true) => {
                self.settled.bytes += bytes;
                self.restored(folder, node);
            }
            Ok(false) => writing.abandon(),
            Err(error) => {
                writing.abandon();
                self.failed(folder, node, "it could not get its name", error);
            }
        }
    }

    fn create(&mut self, path: &Arc<[u8]>, node: &Node) {
        self.ledger.works_in(path);
        let made = self
            .beneath
            .folder(path)
            .and_then(|folder| Ok((create::create(&folder, node, self.job)?, folder)));
        let ((temporary, problems), folder) = match made {
            Ok(made) => made,
            Err(error) => return self.failed(path, node, "it could not be made", error),
        };
        self.wrote_to(&folder);
        match self.named(&folder, &temporary, &node.name) {
            Ok(true) => {
                self.restored(path, node);
                self.problems(&join(path, &node.name), &problems);
            }
            Ok(false) => drop(remove_leftover(&folder, &temporary)),
            Err(error) => {
                // The first error is the one to report.
                let _ = remove_leftover(&folder, &temporary);
                self.failed(path, node, "it could not get its name", error);
            }
        }
    }

    fn link(&mut self, path: &Arc<[u8]>, node: &Node) {
        self.ledger.works_in(path);
        let Some((first_path, first_name)) = self.first_names.get(&(node.device_id, node.inode)).cloned()
        else {
            let reason = "the file it is another name of could not be restored".to_owned();
            return self.exception(&join(path, &node.name), reason);
        };
        let temporary = temporary_name(self.job, node.number);
        let linked = self.beneath.folder(&first_path).and_then(|first| {
            let folder = self.beneath.folder(path)?;
            remove_leftover(&folder, &temporary)?;
            let first_name = first_name.as_slice();
            linkat(
                &first,
                first_name,
                &folder,
                temporary.as_slice(),
                AtFlags::empty(),
            )?;
            let named = self.named(&folder, &temporary, &node.name);
            // A rename onto another name of the same file does nothing and leaves both.
            remove_leftover(&folder, &temporary)?;
            named
        });
        match linked {
            Ok(true) => self.settled.files += 1,
            Ok(false) => {}
            Err(error) => self.failed(path, node, "it could not be linked", error),
        }
    }

    fn leave(&mut self, path: &[u8], node: &Node, is_described: bool) {
        self.settled.directories += 1;
        if !is_described {
            return;
        }
        // The one remembered may be a directory of that name that is no longer there.
        self.beneath.forget();
        match self.beneath.folder(path) {
            Ok(folder) => {
                let problems = metadata::of_open(&folder, node);
                self.ledger.remove(path);
                self.wrote_to(&folder);
                self.problems(path, &problems);
            }
            Err(error) => {
                let reason = format!("its metadata could not be set: {}", std::io::Error::from(error));
                self.exception(path, reason);
            }
        }
    }

    /// Gives what is complete its name; false if something is there that stays.
    fn named(&self, folder: &OwnedFd, temporary: &[u8], name: &[u8]) -> Result<bool, Errno> {
        if self.overwrite == Overwrite::Never {
            match renameat_with(folder, temporary, folder, name, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(true),
                Err(Errno::EXIST) => return Ok(false),
                // Not every file system can do that; the place was free when we looked.
                Err(Errno::INVAL | Errno::NOSYS) => {}
                Err(error) => return Err(error),
            }
        }
        renameat(folder, temporary, folder, name).map(|()| true)
    }

    fn restored(&mut self, folder: &Arc<[u8]>, node: &Node) {
        self.settled.files += 1;
        if node.links > 1 {
            let place = (Arc::clone(folder), node.name.to_vec());
            self.first_names.insert((node.device_id, node.inode), place);
        }
    }

    fn wrote_to(&mut self, folder: &Arc<OwnedFd>) {
        if let Ok(stat) = fstat(folder) {
            self.written
                .entry(stat.st_dev)
                .or_insert_with(|| Arc::clone(folder));
        }
    }

    fn failed(&mut self, folder: &[u8], node: &Node, what: &str, error: Errno) {
        let reason = format!("{what}: {}", std::io::Error::from(error));
        self.exception(&join(folder, &node.name), reason);
    }

    /// Notes what of a node's metadata could not be set.
    pub(super) fn problems(&mut self, path: &[u8], problems: &[String]) {
        if !problems.is_empty() {
            self.exception(path, problems.join("; "));
        }
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// Removes something that is no directory, to make room for one.
pub(super) fn make_room(folder: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    unlinkat(folder, name, AtFlags::empty())
}
