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
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use outlast_kit::files::{close, create_folder, flush, remove_durably, write_durably};
use outlast_proto::v1::Node;
use outlast_proto::words::JobKey;
use parking_lot::Mutex;
use prost::Message as _;
use rustix::fs::Stat;

use self::leftovers::take_up;
pub(crate) use self::line::is_as_made;
use self::line::{Line, Made, Opened, Recorded, encoded, lines};
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
    /// By their absolute path. What was made there is removed and made anew by another job: each job knows its own.
    made: HashMap<Vec<u8>, Vec<Made>>,
    /// The topmost ones, from before they are made until they are described, and by which jobs.
    makes: HashMap<Vec<u8>, Vec<JobKey>>,
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
                let mut entries: Vec<_> = fs::read_dir(&folder).into_iter().flatten().flatten().collect();
                // Of two jobs that worked in one directory the later one says what it is to be.
                entries.sort_by_key(|entry| job_of(&entry.file_name()));
                for entry in entries {
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

/// Whose file that is.
fn job_of(name: &OsStr) -> Option<JobKey> {
    name.to_str()?.parse().ok()
}

impl Known {
    /// The jobs that were about to make the directory at `path`, or one above it.
    fn begun_by(&self, path: &[u8]) -> impl Iterator<Item = JobKey> {
        let ends = path
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .map(|(at, _)| at);
        let ends = (!self.makes.is_empty()).then(|| ends.chain([path.len()]));
        ends.into_iter()
            .flatten()
            .filter_map(|end| self.makes.get(&path[..end]))
            .flatten()
            .copied()
    }

    /// Whether one of the jobs made what is there now.
    fn is_ours(&self, path: &[u8], now: &Identity, there: &Stat) -> bool {
        let made = self.made.get(path).map_or(&[][..], Vec::as_slice);
        let told: Vec<_> = made.iter().map(|made| (made.job, made.is(now, there))).collect();
        let is_another = |job| told.contains(&(job, Some(false)));
        told.iter().any(|(_, is_it)| *is_it == Some(true))
            || (is_as_made(there) && self.begun_by(path).any(|job| !is_another(job)))
    }

    fn knows(&self, path: &[u8], job: JobKey, is_it: impl Fn(&Made) -> bool) -> bool {
        let mut made = self.made.get(path).into_iter().flatten();
        made.any(|made| made.job == job && is_it(made))
    }

    /// What a file of a job holds.
    fn lines<'a>(&'a self, job: JobKey, to: &'a [u8]) -> impl Iterator<Item = Line> + 'a {
        let made = self
            .made
            .iter()
            .flat_map(|(path, made)| made.iter().map(move |made| (path, made)));
        let makes = self
            .makes
            .iter()
            .flat_map(|(path, jobs)| jobs.iter().map(move |job| (path, *job)));
        lines(
            to,
            made.filter(move |(_, made)| made.job == job),
            makes.filter(move |(_, by)| *by == job).map(|(path, _)| path),
        )
    }
}

impl Ledger {
    /// The directory at `path`, in `parent`, is about to be made: durable when this returns.
    pub(crate) fn makes(&mut self, path: &[u8], parent: &[u8]) {
        let (path, parent) = (join(&self.to, path), join(&self.to, parent));
        let mut known = self.known.0.lock();
        // What is in one that was made is known by that.
        if known.knows(&parent, self.job, |_| true) {
            return;
        }
        let jobs = known.makes.entry(path.clone()).or_default();
        if jobs.contains(&self.job) {
            return;
        }
        jobs.push(self.job);
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
        let mut known = self.known.0.lock();
        let all = known.made.entry(path.clone()).or_default();
        all.retain(|made| made.job != self.job);
        all.push(made);
        drop(known);
        self.write(&Line::of_made(path, &made));
    }

    /// One that we made goes on: it is known again by what it is now.
    pub(crate) fn takes(&mut self, path: &[u8], folder: &OwnedFd, node: &Node) {
        let now = Identity::of_entry(folder, &node.name).map(|(now, _)| now);
        let is_it = |made: &Made| now == Ok(made.identity);
        let is_known = self.known.0.lock().knows(&join(&self.to, path), self.job, is_it);
        if !is_known {
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

    /// It was described: no job has anything left to do there.
    pub(crate) fn remove(&mut self, path: &[u8]) {
        let path = join(&self.to, path);
        let mut known = self.known.0.lock();
        let made = known.made.remove(&path).unwrap_or_default();
        let mut jobs = known.makes.remove(&path).unwrap_or_default();
        jobs.extend(made.iter().map(|made| made.job));
        let folder = known.folder.clone();
        drop(known);
        let line = Line {
            described: Some(path),
            ..Line::default()
        };
        jobs.sort_unstable();
        jobs.dedup();
        for job in jobs {
            if job == self.job {
                self.write(&line);
                continue;
            }
            // Of a job that ended without having described it.
            let append = |folder: &PathBuf| {
                let path = folder.join(job.to_string());
                let mut file = fs::OpenOptions::new().append(true).open(path)?;
                file.write_all(&line.encode_length_delimited_to_vec())?;
                close(file)
            };
            match folder.as_ref().map(append) {
                // Its file went with the last of its directories.
                Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%job, %error, "a directory is described once more by the next restore to its place");
                }
                Some(Ok(()) | Err(_)) | None => {}
            }
        }
    }

    /// Whether the directory `name` in `folder` is one we made, and not another that has its path now.
    pub(crate) fn contains(&self, path: &[u8], folder: &OwnedFd, name: &[u8]) -> bool {
        let path = join(&self.to, path);
        let Ok((now, there)) = Identity::of_entry(folder, name) else {
            return false;
        };
        self.known.0.lock().is_ours(&path, &now, &there)
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
        let lines = known.lines(self.job, &self.to).chain(working.map(|path| Line {
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
        let is_needed = known.made.values().flatten().any(|made| made.job == self.job);
        if !is_needed {
            known.makes.retain(|_, jobs| {
                jobs.retain(|job| *job != self.job);
                !jobs.is_empty()
            });
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
