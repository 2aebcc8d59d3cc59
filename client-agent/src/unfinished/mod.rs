//! What restores have begun and not finished, also those of a process that was killed: directories that are not described yet
//! are ours and not the user's, those that were opened for the time are closed again, and temporary names go.
//!
//! One file for each job in `DATA_DIR/restores`. A line is written before anybody can see its consequence undone, but not
//! synced, but for one: that a directory is about to be made in one that was not. After a power cut what is there, or below it,
//! and is as restores make directories is ours, whether or not the lines about it were lost. What else is lost are left-over
//! names. Lines at the torn end of a file are ignored. Used by `restore` while it writes, and by the agent when it starts.

mod leftovers;
mod line;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use outlast_kit::files::{close, create_folder, flush, remove_durably, write_durably};
use outlast_proto::v1::Node;
use outlast_proto::words::JobKey;
use parking_lot::Mutex;
use prost::Message as _;

use self::leftovers::take_up;
use self::line::{Line, Made, Opened, Recorded, encoded, is_as_made, lines};
use crate::host::birth::Identity;
use crate::host::paths::join;

const FOLDER: &str = "restores";
/// A file that has grown so long is written anew, with what still counts.
const LONG: u64 = 4 << 20;
/// Names begin so until they are complete.
const TEMPORARY: &str = ".outlast-restore-";

/// The name a node has until it is complete.
pub(crate) fn temporary_name(job: JobKey, node: u64) -> Vec<u8> {
    format!("{TEMPORARY}{job}-{node}").into_bytes()
}

/// Whether it may be the name of something that is not complete.
pub(crate) fn is_temporary(name: &[u8]) -> bool {
    name.starts_with(TEMPORARY.as_bytes())
}

/// The directories restores have made and not described yet, of all jobs.
#[derive(Clone, Debug, Default)]
pub struct MadeFolders(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// Where files are; none: only in memory.
    folder: Option<PathBuf>,
    /// By their absolute path.
    made: HashMap<Vec<u8>, Made>,
    /// The topmost ones, from before they are made until they are described.
    makes: HashMap<Vec<u8>, JobKey>,
}

/// The directories below the `TO` of a job.
pub(crate) struct Ledger {
    known: MadeFolders,
    job: JobKey,
    to: Vec<u8>,
    /// None: it is not kept, or cannot be.
    file: Option<File>,
    working: HashSet<Arc<[u8]>>,
    /// Directories that are open for the time, by their absolute path.
    opened: HashMap<Vec<u8>, Line>,
    /// Bytes of the file when it was written anew.
    kept: u64,
}

impl MadeFolders {
    /// Reads what earlier processes left, and removes their temporary names. What cannot be read is left as it is.
    #[must_use]
    pub fn open(data_dir: &Path) -> Self {
        let folder = data_dir.join(FOLDER);
        let mut known = Known::default();
        match create_folder(&folder, 0o700) {
            Ok(()) => {
                for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                    if let Err(error) = take_up(&entry, &mut known) {
                        tracing::warn!(file = %entry.path().display(), %error, "what a restore left is not put right");
                    }
                }
                known.folder = Some(folder);
            }
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "restores are not noted: one that is killed leaves its temporary names");
            }
        }
        Self(Arc::new(Mutex::new(known)))
    }

    /// The part of a job that restores to `to`.
    pub(crate) fn ledger(&self, job: JobKey, to: &str) -> Ledger {
        let mut ledger = Ledger {
            known: self.clone(),
            job,
            to: to.as_bytes().to_vec(),
            file: None,
            working: HashSet::new(),
            opened: HashMap::new(),
            kept: 0,
        };
        ledger.rewrite();
        ledger
    }
}

impl Known {
    /// Whether a directory at `path`, or one above it, was about to be made.
    fn is_begun(&self, path: &[u8]) -> bool {
        let ends = path
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .map(|(at, _)| at);
        !self.makes.is_empty()
            && ends
                .chain([path.len()])
                .any(|end| self.makes.contains_key(&path[..end]))
    }
}

impl Ledger {
    /// The directory at `path`, in `parent`, is about to be made: durable when this returns.
    pub(crate) fn makes(&mut self, path: &[u8], parent: &[u8]) {
        let (path, parent) = (join(&self.to, path), join(&self.to, parent));
        let mut known = self.known.0.lock();
        // What is in one that was made is known by that.
        if known.made.contains_key(&parent) || known.makes.insert(path.clone(), self.job) == Some(self.job) {
            return;
        }
        drop(known);
        self.write(&Line::of_makes(path));
        let sync = |file: &File| file.sync_data().and_then(|()| flush(file));
        if let Some(Err(error)) = self.file.as_ref().map(sync) {
            tracing::warn!(job = %self.job, %error, "a restore is not noted any more");
            self.file = None;
        }
    }

    /// The directory `name` in `folder`, whose path is `path`, was made by us, to become `node`.
    pub(crate) fn insert(&mut self, path: &[u8], folder: &OwnedFd, node: &Node) {
        let Ok((identity, _)) = Identity::of_entry(folder, &node.name) else {
            return;
        };
        let path = join(&self.to, path);
        let made = Made {
            identity,
            job: self.job,
            recorded: Some(Recorded::of(node)),
        };
        self.known.0.lock().made.insert(path.clone(), made);
        self.write(&Line::of_made(path, &made));
    }

    /// One that we made goes on: it is known again by what it is now.
    pub(crate) fn takes(&mut self, path: &[u8], folder: &OwnedFd, node: &Node) {
        let now = Identity::of_entry(folder, &node.name).map(|(now, _)| now);
        let known = self.known.0.lock().made.get(&join(&self.to, path)).copied();
        if known.is_none_or(|made| now != Ok(made.identity)) {
            self.insert(path, folder, node);
        }
    }

    /// The directory at `path`, which had this mode, is about to be opened for the time.
    pub(crate) fn opens(&mut self, path: &[u8], identity: Identity, mode: u32) {
        let path = join(&self.to, path);
        let line = Line::of_opened(path.clone(), &Opened { identity, mode });
        self.write(&line);
        self.opened.insert(path, line);
    }

    /// It was closed again.
    pub(crate) fn closed(&mut self, path: &[u8]) {
        let path = join(&self.to, path);
        if self.opened.remove(&path).is_some() {
            self.write(&Line {
                described: Some(path),
                ..Line::default()
            });
        }
    }

    /// It was described.
    pub(crate) fn remove(&mut self, path: &[u8]) {
        let path = join(&self.to, path);
        let mut known = self.known.0.lock();
        known.makes.remove(&path);
        let Some(Made { job, .. }) = known.made.remove(&path) else {
            return;
        };
        let of_other = known.folder.as_ref().map(|folder| folder.join(job.to_string()));
        drop(known);
        let line = Line {
            described: Some(path),
            ..Line::default()
        };
        if job == self.job {
            return self.write(&line);
        }
        // Of a job that ended without having described it.
        let append = |path| {
            let mut file = fs::OpenOptions::new().append(true).open(path)?;
            file.write_all(&line.encode_length_delimited_to_vec())?;
            close(file)
        };
        if let Some(Err(error)) = of_other.map(append) {
            tracing::warn!(%job, %error, "a directory is described once more by the next restore to its place");
        }
    }

    /// Whether the directory `name` in `folder` is one we made, and not another that has its path now.
    pub(crate) fn contains(&self, path: &[u8], folder: &OwnedFd, name: &[u8]) -> bool {
        let path = join(&self.to, path);
        let Ok((now, there)) = Identity::of_entry(folder, name) else {
            return false;
        };
        let known = self.known.0.lock();
        let is_it = known.made.get(&path).and_then(|made| made.is(&now, &there));
        is_it.unwrap_or_else(|| known.is_begun(&path) && is_as_made(&there))
    }

    /// A temporary name is about to be made in the directory at `path`.
    pub(crate) fn works_in(&mut self, path: &Arc<[u8]>) {
        if self.working.insert(Arc::clone(path)) {
            self.write(&Line {
                working: Some(path.to_vec()),
                ..Line::default()
            });
        }
    }

    /// Temporary names gathered so far are gone, but perhaps one.
    pub(crate) fn settled(&mut self) {
        let length = self.file.as_ref().and_then(|file| file.metadata().ok());
        if length.is_some_and(|metadata| metadata.len() > LONG + 2 * self.kept) {
            self.rewrite();
            self.working.clear();
        }
    }

    fn write(&mut self, line: &Line) {
        let Some(file) = &mut self.file else { return };
        if let Err(error) = file.write_all(&line.encode_length_delimited_to_vec()) {
            tracing::warn!(job = %self.job, %error, "a restore is not noted any more");
            self.file = None;
        }
    }

    /// Writes the file anew, with what still counts.
    fn rewrite(&mut self) {
        let known = self.known.0.lock();
        let Some(path) = known
            .folder
            .as_ref()
            .map(|folder| folder.join(self.job.to_string()))
        else {
            return;
        };
        let working = self.working.iter().map(|path| path.to_vec());
        let lines = lines(self.job, &self.to, &known.made, &known.makes).chain(working.map(|path| Line {
            working: Some(path),
            ..Line::default()
        }));
        let bytes = encoded(lines.chain(self.opened.values().cloned()));
        self.kept = bytes.len() as u64;
        let opened = write_durably(&path, &bytes, 0o600)
            .and_then(|()| fs::OpenOptions::new().append(true).open(&path));
        self.file = match opened {
            Ok(file) => Some(file),
            Err(error) => {
                tracing::warn!(job = %self.job, %error, "a restore is not noted");
                None
            }
        };
    }
}

impl Drop for Ledger {
    /// The attempt is over, and its temporary names are gone: only directories that are not described are worth a file.
    fn drop(&mut self) {
        self.working.clear();
        let mut known = self.known.0.lock();
        let is_needed = known.made.values().any(|made| made.job == self.job);
        if !is_needed {
            known.makes.retain(|_, by| *by != self.job);
        }
        let path = known
            .folder
            .as_ref()
            .map(|folder| folder.join(self.job.to_string()));
        drop(known);
        match path {
            Some(_) if is_needed => self.rewrite(),
            // One that stays is taken up by the next process.
            Some(path) => drop(remove_durably(&path)),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;
