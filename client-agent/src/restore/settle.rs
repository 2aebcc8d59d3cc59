//! The last step of each node, in order and in batches: one sync for many files, then renames, links, directories left.
//!
//! A sync for each of a hundred thousand small files would take minutes, so `unsynced` does many at once where it can; nothing gets its
//! name before its data is on disk.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use outlast_kit::calls::{fchmod, fstat, renameat, renameat_with, statat};
use outlast_proto::v1::Node;
use outlast_proto::words::{JobKey, Overwrite, StatusCode};
use rustix::fs::{AtFlags, RenameFlags, Stat};
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;

use super::account::Account;
use super::content::{Writing, remove_leftover};
use super::faults::{Reach, reach, words};
use super::filled::Filled;
use super::links::{Links, Place};
use super::place::{differs, found, has_time, replaces};
use super::pulse::Pulse;
use super::restorer::Order;
use super::step::{Care, Leave, Step};
use super::target::Root;
use super::unsynced::{Unsynced, sync_files};
use super::{create, metadata};
use crate::attempt::Ends;
use crate::host::beneath::Beneath;
use crate::host::paths::join;
use crate::unfinished::Ledger;

/// A batch is settled when it holds so many open files, bytes or steps.
const MOST_FILES: usize = 512;
const MOST_BYTES: u64 = 64 << 20;
const MOST_STEPS: usize = 4096;

/// The steps not taken yet.
pub(super) struct Settling {
    pub(super) job: JobKey,
    overwrite: Overwrite,
    pub(super) root: Root,
    pub(super) ledger: Ledger,
    pub(super) account: Account,
    pub(super) filled: Filled,
    pub(super) beneath: Beneath,
    steps: Vec<Step>,
    files: usize,
    bytes: u64,
    pub(super) links: Links,
    pub(super) unsynced: Unsynced,
    pub(super) ends: Ends,
    pub(super) pulse: Arc<Pulse>,
}

impl Settling {
    pub(super) fn new(order: &Order, root: Root, ledger: Ledger) -> Self {
        Self {
            job: order.job,
            overwrite: order.overwrite,
            ledger,
            account: Account::new(&order.to),
            filled: Filled::default(),
            beneath: Beneath::new(Arc::clone(&root.folder)),
            root,
            steps: Vec::new(),
            files: 0,
            bytes: 0,
            links: Links::default(),
            unsynced: Unsynced::default(),
            ends: order.ends.clone(),
            pulse: Arc::clone(&order.pulse),
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

    /// Takes all steps gathered so far. Files that are complete get their names even after the restore's end, if that is possible.
    pub(super) fn settle(&mut self) {
        self.look_for_the_target();
        let unsynced = self.sync_files();
        for (index, step) in std::mem::take(&mut self.steps).into_iter().enumerate() {
            self.pulse.steps();
            match step {
                Step::File {
                    folder,
                    node,
                    writing,
                } => match unsynced.get(&index) {
                    None => self.file(&folder, &node, writing),
                    Some(error) => {
                        writing.abandon();
                        let path = join(&folder, &node.name);
                        self.unwritten(&path, node.size, *error);
                    }
                },
                Step::Leave(leave) => self.leave(&leave),
                Step::Create { .. } | Step::Link { .. } | Step::Keep { .. } if self.account.has_ended() => {}
                Step::Create { folder, node } => self.create(&folder, &node),
                Step::Link { folder, node } => self.link(&folder, &node),
                Step::Keep {
                    folder,
                    node,
                    there,
                    apart,
                } => self.keep(&folder, &node, there, apart),
            }
        }
        (self.files, self.bytes) = (0, 0);
        self.ledger.settled();
    }

    /// Makes renames and metadata durable too. Nothing is gathered any more.
    pub(super) fn finish(&mut self) {
        self.settle();
        self.links.close(&mut self.beneath);
        while let Some(path) = self.unsynced.any_folder() {
            self.sync_folder(&path);
        }
        if let Err(error) = self.unsynced.devices(|| self.pulse.steps()) {
            let reason = format!("what was restored cannot be synced: {}", words(error));
            self.account.ends(b"", super::faults::code(error), &reason);
        }
        self.look_for_the_target();
    }

    /// What nobody finds where it was to be is not restored.
    fn look_for_the_target(&mut self) {
        self.pulse.steps();
        if let Some(what) = self.root.strays() {
            self.account.ends(
                b"",
                StatusCode::TARGET_NOT_WRITABLE,
                &format!("cannot restore there any more: {what}"),
            );
        }
    }

    /// Makes what was done in a directory durable, if nothing else does.
    fn sync_folder(&mut self, path: &[u8]) {
        self.pulse.steps();
        let Self {
            unsynced, beneath, ..
        } = self;
        if let Err(error) = unsynced.folder(path, || beneath.folder(path)) {
            self.failed(path, "what was restored in it cannot be synced", error);
        }
    }

    /// Nothing is made any more.
    pub(super) fn close(&mut self) {
        if let Err(error) = self.root.close(&mut self.ledger) {
            let reason = format!("it could not get its mode back: {}", words(error));
            self.account.exception(b"", reason);
        }
        self.account.close();
    }

    /// Removes what is half done; directories that are left get what they are to have all the same.
    pub(super) fn abandon(&mut self) {
        for step in std::mem::take(&mut self.steps) {
            match step {
                Step::File { writing, .. } => writing.abandon(),
                Step::Leave(leave) => self.put_right(&leave),
                Step::Create { .. } | Step::Link { .. } | Step::Keep { .. } => {}
            }
        }
        self.links.close(&mut self.beneath);
    }

    /// Gives a directory that the restore does not come back to the modes and times it would have got, and keeps in mind that not all of
    /// it is there: the next attempt, or restore to its place, describes it again.
    pub(super) fn put_right(&mut self, leave: &Leave) {
        let care = leave.care;
        if !care.is_made && care.mode_before.is_none() && care.time_before.is_none() {
            return;
        }
        self.pulse.steps();
        self.beneath.forget();
        let Ok(folder) = self.beneath.folder(&leave.path) else {
            return;
        };
        if care.is_made {
            drop(metadata::of_open(&folder, &leave.node));
        } else {
            self.close_folder(&leave.path, &folder, care);
        }
    }

    /// Something could not be done for a node: ends the restore if that is the target's fault.
    pub(super) fn failed(&mut self, path: &[u8], what: &str, error: Errno) {
        self.failed_to_fit(path, what, None, error);
    }

    /// The content of a file of this size could not be written; what was, is removed.
    pub(super) fn unwritten(&mut self, path: &[u8], size: u64, error: Errno) {
        self.failed_to_fit(path, "its content could not be written", Some(size), error);
    }

    fn failed_to_fit(&mut self, path: &[u8], what: &str, needed: Option<u64>, error: Errno) {
        if error == Errno::CANCELED || self.account.has_ended() {
            return;
        }
        let reason = format!("{what}: {}", words(error));
        match reach(error) {
            Reach::Full => {
                let reason = reason + &self.root.room(needed);
                self.account.ends(path, StatusCode::TARGET_FULL, &reason);
            }
            Reach::Doubtful if self.root.is_unfit() => {
                self.account.ends(path, StatusCode::TARGET_NOT_WRITABLE, &reason);
            }
            Reach::Doubtful => {
                let parent = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                if let Ok(folder) = self.beneath.folder(&path[..parent]) {
                    self.root.doubt(&folder);
                }
                self.account.failed(path, StatusCode::TARGET_NOT_WRITABLE, reason);
            }
            Reach::OneNode => self.account.failed(path, StatusCode::TARGET_NOT_WRITABLE, reason),
        }
    }

    /// A node is not restored since `there` is at its place; true if that is as it was to become.
    pub(super) fn stays(&mut self, path: &[u8], folder: &Arc<OwnedFd>, node: &Node, there: &Stat) -> bool {
        let whole = join(path, &node.name);
        if self.filled.contains(path, there) {
            let reason = self.filled.reason(folder, &node.name, there);
            self.account.in_the_way(&whole, reason);
            return false;
        }
        if FileType::from_raw_mode(there.st_mode) == FileType::Directory {
            let reason = "left alone: a directory is in the way".to_owned();
            self.account.in_the_way(&whole, reason);
            return false;
        }
        // Another name of the same inode is no other name of the same place.
        if there.st_nlink == 1 {
            self.filled.note(&Arc::from(path), there);
        }
        if !differs(folder, node, there, self.grain(path, folder, there)) {
            self.account.kept();
            return true;
        }
        let what = match FileType::from_raw_mode(there.st_mode) {
            FileType::RegularFile => "file",
            FileType::Symlink => "symbolic link",
            _ => "special file",
        };
        if self.overwrite == Overwrite::IfNewer {
            let reason = format!("left alone: a differing {what} is there, which is not older");
            self.account.kept_though_it_differs(&whole, reason);
            return false;
        }
        let reason = format!("left alone: a differing {what} is there");
        self.account.in_the_way(&whole, reason);
        false
    }

    /// Why `there`, which stays and is equal, is nevertheless no other name of the file that `node` is a name of.
    pub(super) fn apart(
        &mut self,
        path: &[u8],
        folder: &Arc<OwnedFd>,
        node: &Node,
        there: &Stat,
    ) -> Option<&'static str> {
        let grain = self.grain(path, folder, there);
        match has_time(node, there, grain) {
            true => metadata::other_than_set(node, there),
            false => Some("another time of modification"),
        }
    }

    /// What times are kept in at `path`, where `there` lies.
    fn grain(&mut self, path: &[u8], folder: &Arc<OwnedFd>, there: &Stat) -> i128 {
        if let Some(grain) = self.root.known_grain(there) {
            return grain;
        }
        self.ledger.works_in(&Arc::from(path));
        self.root.grain(folder, there)
    }

    /// Brings the content of all files to disk; the errors of those for which that failed.
    fn sync_files(&self) -> HashMap<usize, Errno> {
        let files = self
            .steps
            .iter()
            .enumerate()
            .filter_map(|(index, step)| match step {
                Step::File { writing, .. } => Some((index, writing)),
                _ => None,
            });
        sync_files(&files.collect::<Vec<_>>(), || self.pulse.steps())
    }

    pub(super) fn file(&mut self, path: &Arc<[u8]>, node: &Node, writing: Writing) {
        let there = match fstat(&writing.file) {
            Ok(there) => there,
            Err(error) => {
                writing.abandon();
                return self.failed(&join(path, &node.name), "it could not be examined", error);
            }
        };
        let closed = match writing.close() {
            Ok(closed) => closed,
            Err(error) => return self.unwritten(&join(path, &node.name), node.size, error),
        };
        if self.named(path, &closed.folder, &closed.temporary, node, &there) {
            self.account.settled.bytes += closed.bytes;
            self.restored(path, node, there);
        } else if !self.waits(path, node, &closed.temporary, there) {
            self.remove(path, &closed.folder, &closed.temporary);
        }
    }

    pub(super) fn create(&mut self, path: &Arc<[u8]>, node: &Node) {
        if let Some(reason) = create::impossible(node) {
            let path = join(path, &node.name);
            return self
                .account
                .failed(&path, StatusCode::TARGET_NOT_WRITABLE, reason);
        }
        self.ledger.works_in(path);
        let made = self.beneath.folder(path).and_then(|folder| {
            let (temporary, problems) = create::create(&folder, node, self.job)?;
            let there = statat(&folder, temporary.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
            Ok((temporary, problems, folder, there))
        });
        let whole = join(path, &node.name);
        let (temporary, problems, folder, there) = match made {
            Ok(made) => made,
            Err(error) => return self.failed(&whole, "it could not be made", error),
        };
        if self.named(path, &folder, &temporary, node, &there) {
            self.restored(path, node, there);
            self.account.problems(&whole, problems);
        } else if !self.waits(path, node, &temporary, there) {
            self.remove(path, &folder, &temporary);
        }
    }

    /// Removes what did not get its name. A folder that only takes (`chattr +a`, a server that keeps everything) does not give it back.
    fn remove(&mut self, path: &[u8], folder: &OwnedFd, temporary: &[u8]) {
        if let Err(error) = remove_leftover(folder, temporary) {
            let reason = format!(
                "this is what did not get its name; it stays, for it could not be removed: {}; remove it",
                words(error)
            );
            self.account.exception(&join(path, temporary), reason);
        }
    }

    fn leave(&mut self, leave: &Leave) {
        let Leave { path, node, care } = leave;
        self.account.directory(!node.on_the_way);
        self.filled.left(path);
        if care.is_needed() {
            self.describe(leave);
        }
        self.sync_folder(path);
    }

    fn describe(&mut self, leave: &Leave) {
        let Leave { path, node, care } = leave;
        // The one remembered may be a directory of that name that is no longer there.
        self.beneath.forget();
        match self.beneath.folder(path) {
            Ok(folder) if care.is_described => {
                let problems = metadata::of_open(&folder, node);
                self.ledger.remove(path);
                self.ledger.closed(path);
                self.unsynced.note(path, &folder);
                self.account.problems(path, problems);
            }
            Ok(folder) => {
                self.close_folder(path, &folder, *care);
                self.unsynced.note(path, &folder);
            }
            Err(error) => {
                let reason = format!("its metadata could not be set: {}", words(error));
                self.account.exception(path, reason);
            }
        }
    }

    /// Gives a directory back what it had: its mode if it was opened for the time, and the time that it is to have.
    fn close_folder(&mut self, path: &[u8], folder: &OwnedFd, care: Care) {
        if let Some(time) = care.time_before {
            let problems = metadata::time_again(folder, time);
            self.account.problems(path, problems);
        }
        let Some(mode) = care.mode_before else { return };
        match fchmod(folder, Mode::from_raw_mode(mode)) {
            Ok(()) => self.ledger.closed(path),
            Err(error) => {
                let reason = format!("it could not get its mode {mode:o} back: {}", words(error));
                self.account.exception(path, reason);
            }
        }
    }

    /// Gives what is complete its name; false if it has none, for a reason that is noted then.
    pub(super) fn named(
        &mut self,
        path: &Arc<[u8]>,
        folder: &Arc<OwnedFd>,
        temporary: &[u8],
        node: &Node,
        ours: &Stat,
    ) -> bool {
        match self.rename(path, folder, temporary, node) {
            Ok(None) => {
                self.filled.note(path, ours);
                self.unsynced.note(path, folder);
                return true;
            }
            // It was not there when it was looked for.
            Ok(Some(there)) => {
                if self.stays(path, folder, node, &there) {
                    let apart = self.apart(path, folder, node, &there);
                    self.keep(path, node, there, apart);
                }
            }
            Err(error) => self.failed(&join(path, &node.name), "it could not get its name", error),
        }
        false
    }

    /// Renames to the node's name, unless something is there that stays.
    fn rename(
        &self,
        path: &[u8],
        folder: &OwnedFd,
        temporary: &[u8],
        node: &Node,
    ) -> Result<Option<Stat>, Errno> {
        let name = node.name.as_ref();
        let there = match renameat_with(folder, temporary, folder, name, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(None),
            // Not every file system can do that.
            Err(Errno::EXIST | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => found(folder, name)?,
            Err(error) => return Err(error),
        };
        let stays = there.filter(|there| {
            let is_folder = FileType::from_raw_mode(there.st_mode) == FileType::Directory;
            let replaces = replaces(node.modified.as_ref(), there, self.overwrite);
            is_folder || !replaces || self.filled.contains(path, there)
        });
        if stays.is_none() {
            renameat(folder, temporary, folder, name)?;
        }
        Ok(stays)
    }

    fn restored(&mut self, folder: &Arc<[u8]>, node: &Node, there: Stat) {
        self.account.settled.files += 1;
        if node.links > 1 {
            self.links.add(node, Place::new(folder, &node.name, there));
            self.tell_apart(node);
        }
    }

    /// Whether what has no name is of use for further names of its node: then it stays until the end.
    fn waits(&mut self, folder: &Arc<[u8]>, node: &Node, temporary: &[u8], there: Stat) -> bool {
        let waits = node.links > 1 && !self.account.has_ended() && !self.links.has_kept(node);
        if waits {
            self.links.add(node, Place::temporary(folder, temporary, there));
        }
        waits
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        self.abandon();
        self.close();
    }
}
