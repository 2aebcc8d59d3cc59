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
use rustix::fs::{AtFlags, Stat, statat};

use self::leftovers::take_up;
use self::line::{Line, Made, Recorded, encoded, identity, is_as_made, lines};
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
        let Ok(identity) = identity(folder, &node.name) else {
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
        let now = identity(folder, &node.name);
        let known = self.known.0.lock().made.get(&join(&self.to, path)).copied();
        if known.is_none_or(|made| now != Ok(made.identity)) {
            self.insert(path, folder, node);
        }
    }

    /// The directory at `path`, which was like this, is about to be opened for the time.
    pub(crate) fn opens(&mut self, path: &[u8], there: &Stat) {
        let path = join(&self.to, path);
        let line = Line::of_opened(path.clone(), there);
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
        let Ok(there) = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
            return false;
        };
        let known = self.known.0.lock();
        match known.made.get(&path) {
            Some(made) if made.identity == (there.st_dev, there.st_ino) => true,
            // Devices may have other numbers after each start of a host.
            Some(made) if made.identity.0 == there.st_dev => false,
            _ => known.is_begun(&path) && is_as_made(&there),
        }
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
mod tests {
    use std::os::fd::OwnedFd;
    use std::path::Path;
    use std::sync::Arc;

    use std::io::Write as _;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use outlast_proto::v1::{FileTime, Node};
    use outlast_proto::words::{JobId, JobKey, JobNonce};

    use outlast_test_filesystems::{Disk, can_mount};
    use prost::Message as _;

    use super::{FOLDER, File, MadeFolders, temporary_name};

    fn folder(path: &Path) -> OwnedFd {
        std::fs::File::open(path).unwrap().into()
    }

    fn node(name: &str) -> Node {
        Node {
            name: name.as_bytes().to_vec().into(),
            mode: 0o2751,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            modified: Some(FileTime {
                seconds: 1000,
                nanos: 7,
            }),
            ..Node::default()
        }
    }

    fn key(id: u64, nonce: u64) -> JobKey {
        JobKey {
            id: JobId(id),
            nonce: JobNonce(nonce),
        }
    }

    /// Temporary names of other jobs, with and without the same number, and what only looks like one.
    const OF_OTHERS: [&str; 4] = [
        ".outlast-restore-7-000000000000000b-2",
        ".outlast-restore-7-mine",
        ".outlast-restore-8-000000000000000a-2",
        ".outlast-restore-8-2",
    ];

    /// As a process leaves it that is killed.
    fn killed(data: &Path, to: &Path, job: JobKey) {
        let mut ledger = MadeFolders::open(data).ledger(job, to.to_str().unwrap());
        for name in ["ours", "described", "replaced"] {
            std::fs::create_dir(to.join(name)).unwrap();
            ledger.insert(name.as_bytes(), &folder(to), &node(name));
        }
        ledger.remove(b"described");
        ledger.works_in(&Arc::from(&b"ours"[..]));
        ledger.works_in(&Arc::from(&b""[..]));
        let name = |node| String::from_utf8(temporary_name(job, node)).unwrap();
        for file in [to.join("ours").join(name(1)), to.join(name(2))] {
            std::fs::write(file, b"half").unwrap();
        }
        for name in OF_OTHERS {
            std::fs::write(to.join(name), b"of others").unwrap();
        }
        // One of the user's, which is open for the time.
        let users = to.join("users");
        std::fs::create_dir(&users).unwrap();
        ledger.opens(b"users", &rustix::fs::stat(&users).unwrap());
        let (before, closed) = (0o555, 0o700);
        for line in ledger.opened.values_mut() {
            line.mode = before;
            let line = line.clone();
            std::fs::set_permissions(&users, std::fs::Permissions::from_mode(closed)).unwrap();
            ledger
                .file
                .as_mut()
                .unwrap()
                .write_all(&line.encode_length_delimited_to_vec())
                .unwrap();
        }
        std::mem::forget(ledger);
    }

    #[test]
    fn t90_f17_what_a_killed_restore_left_is_known_to_the_next_process() {
        left_and_taken_up(key(7, 10));
        // Of before jobs had nonces.
        left_and_taken_up(key(7, 0));
    }

    fn left_and_taken_up(job: JobKey) {
        let temp = tempfile::tempdir().unwrap();
        let (data, to) = (temp.path().join("data"), temp.path().join("to"));
        std::fs::create_dir(&to).unwrap();
        killed(&data, &to, job);
        // Torn in the middle of a line.
        let file = data.join(FOLDER).join(job.to_string());
        let mut bytes = std::fs::read(&file).unwrap();
        bytes.extend_from_slice(&[200, 1, 2]);
        std::fs::write(&file, bytes).unwrap();
        std::fs::rename(to.join("replaced"), to.join("elsewhere")).unwrap();
        std::fs::create_dir(to.join("replaced")).unwrap();
        for _ in 0..2 {
            let made = MadeFolders::open(&data);
            let mut left: Vec<_> = std::fs::read_dir(&to)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name.starts_with('.'))
                .collect();
            left.sort();
            assert_eq!(left, OF_OTHERS);
            assert_eq!(std::fs::read_dir(to.join("ours")).unwrap().count(), 0);
            let found = |name: &str| to.join(name).metadata().unwrap();
            let ours = found("ours");
            assert_eq!((ours.mode() & 0o7777, ours.mtime()), (0o2751, 1000));
            assert_eq!(found("users").mode() & 0o7777, 0o555);
            assert_ne!(
                found("replaced").mode() & 0o7777,
                0o2751,
                "another one of that name"
            );
            let ledger = made.ledger(key(7, 11), to.to_str().unwrap());
            let is_ours = |name: &str| ledger.contains(name.as_bytes(), &folder(&to), name.as_bytes());
            assert_eq!(
                ["ours", "described", "replaced", "elsewhere"].map(is_ours),
                [true, false, false, false]
            );
        }
        // A later job describes them, and then there is nothing to remember.
        let made = MadeFolders::open(&data);
        let mut ledger = made.ledger(key(7, 11), to.to_str().unwrap());
        for name in ["ours", "replaced"] {
            ledger.remove(name.as_bytes());
        }
        drop(ledger);
        drop(MadeFolders::open(&data));
        assert_eq!(std::fs::read_dir(data.join(FOLDER)).unwrap().count(), 0);
    }

    /// None of the lines about directories that were made is synced, nor is the removal of the file.
    #[test]
    fn t90_directories_of_a_restore_are_known_after_a_power_cut() {
        if !can_mount() {
            return;
        }
        // The first disk forgets everything, the second content only, the others some.
        for seed in [6, 1, 0, 2, 4, 5] {
            let temp = tempfile::tempdir().unwrap();
            let mut disk = Disk::new(temp.path(), seed).unwrap();
            let (data, to) = (disk.path().join("data"), disk.path().join("to"));
            outlast_kit::files::create_folder(&to, 0o700).unwrap();
            let make = |path: &str, mode| {
                std::fs::create_dir(to.join(path)).unwrap();
                std::fs::set_permissions(to.join(path), std::fs::Permissions::from_mode(mode)).unwrap();
                File::open(to.join(path).parent().unwrap())
                    .unwrap()
                    .sync_all()
                    .unwrap();
            };
            make("users", 0o700);
            let mut ledger = MadeFolders::open(&data).ledger(key(7, 10), to.to_str().unwrap());
            for (path, parent) in [
                ("ours", ""),
                ("ours/below", "ours"),
                ("ours/below/it", "ours/below"),
            ] {
                ledger.makes(path.as_bytes(), parent.as_bytes());
                make(path, 0o700);
                let name = path.rsplit('/').next().unwrap();
                ledger.insert(path.as_bytes(), &folder(&to.join(parent)), &node(name));
            }
            make("ours/others", 0o755);
            std::mem::forget(ledger.file.take());
            std::mem::forget(ledger);
            disk.lose_power().unwrap();
            let ledger = MadeFolders::open(&data).ledger(key(7, 10), to.to_str().unwrap());
            let is_ours = |path: &str| {
                let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
                ledger.contains(path.as_bytes(), &folder(&to.join(parent)), name.as_bytes())
                    || to.join(path).metadata().unwrap().mode() & 0o7777 == 0o2751
            };
            let found = ["ours", "ours/below", "ours/below/it", "ours/others", "users"].map(is_ours);
            assert_eq!(found, [true, true, true, false, false], "seed {seed}");
        }
    }
}
