//! What restores have begun and not finished, also those of a process that was killed: directories that are not described yet
//! are ours and not the user's, and temporary names go.
//!
//! One file for each job in `DATA_DIR/restores`. A line is written before anybody can see its consequence undone, but not
//! synced: this is about processes that end, and costs a power failure no more than some left-over names. Lines at the torn end
//! of a file are ignored. Used by `restore` while it writes, and by the agent when it starts.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use outlast_kit::files::write_durably;
use outlast_proto::words::JobId;
use parking_lot::Mutex;
use prost::Message as _;
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, statat, unlinkat};
use rustix::io::Errno;

use crate::host::beneath::Beneath;
use crate::host::paths::join;

const FOLDER: &str = "restores";
/// What nobody restored again for so long is forgotten.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// A file that has grown so long is written anew, with what still counts.
const LONG: u64 = 4 << 20;
/// Names begin so until they are complete.
const TEMPORARY: &str = ".outlast-restore-";

/// The name a node has until it is complete.
pub(crate) fn temporary_name(job: JobId, node: u64) -> Vec<u8> {
    format!("{TEMPORARY}{job}-{node}").into_bytes()
}

/// One fact. Directories that were made have absolute paths, those of temporary names paths below `TO`.
#[derive(Clone, PartialEq, prost::Message)]
struct Line {
    /// First: where to.
    #[prost(bytes = "vec", optional, tag = "1")]
    to: Option<Vec<u8>>,
    /// A directory was made...
    #[prost(bytes = "vec", optional, tag = "2")]
    made: Option<Vec<u8>>,
    /// ...which is this one.
    #[prost(uint64, tag = "3")]
    device: u64,
    #[prost(uint64, tag = "4")]
    inode: u64,
    /// It has its metadata now.
    #[prost(bytes = "vec", optional, tag = "5")]
    described: Option<Vec<u8>>,
    /// Temporary names are made in this directory.
    #[prost(bytes = "vec", optional, tag = "6")]
    working: Option<Vec<u8>>,
}

/// The directories restores have made and not described yet, of all jobs.
#[derive(Clone, Debug, Default)]
pub struct MadeFolders(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// Where files are; none: only in memory.
    folder: Option<PathBuf>,
    /// By their absolute path: device, inode, and whose.
    made: HashMap<Vec<u8>, (u64, u64, JobId)>,
}

/// The directories below the `TO` of a job.
pub(crate) struct Ledger {
    known: MadeFolders,
    job: JobId,
    to: Vec<u8>,
    /// None: it is not kept, or cannot be.
    file: Option<File>,
    working: HashSet<Arc<[u8]>>,
    /// Bytes of the file when it was written anew.
    kept: u64,
}

impl MadeFolders {
    /// Reads what earlier processes left, and removes their temporary names. What cannot be read is left as it is.
    #[must_use]
    pub fn open(data_dir: &Path) -> Self {
        let folder = data_dir.join(FOLDER);
        let mut known = Known::default();
        match fs::create_dir_all(&folder) {
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
    pub(crate) fn ledger(&self, job: JobId, to: &str) -> Ledger {
        let mut ledger = Ledger {
            known: self.clone(),
            job,
            to: to.as_bytes().to_vec(),
            file: None,
            working: HashSet::new(),
            kept: 0,
        };
        ledger.rewrite();
        ledger
    }
}

impl Ledger {
    /// The directory `name` in `folder`, whose path is `path`, was made by us.
    pub(crate) fn insert(&mut self, path: &[u8], folder: &OwnedFd, name: &[u8]) {
        let Ok((device, inode)) = identity(folder, name) else {
            return;
        };
        let path = join(&self.to, path);
        let value = (device, inode, self.job);
        self.known.0.lock().made.insert(path.clone(), value);
        self.write(&Line {
            made: Some(path),
            device,
            inode,
            ..Line::default()
        });
    }

    /// It was described.
    pub(crate) fn remove(&mut self, path: &[u8]) {
        let path = join(&self.to, path);
        let mut known = self.known.0.lock();
        let Some((_, _, job)) = known.made.remove(&path) else {
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
            file.write_all(&line.encode_length_delimited_to_vec())
        };
        if let Some(Err(error)) = of_other.map(append) {
            tracing::warn!(%job, %error, "a directory is described once more by the next restore to its place");
        }
    }

    /// Whether the directory `name` in `folder` is one we made, and not another that has its path now.
    pub(crate) fn contains(&self, path: &[u8], folder: &OwnedFd, name: &[u8]) -> bool {
        let made = self.known.0.lock().made.get(&join(&self.to, path)).copied();
        made.is_some_and(|(device, inode, _)| identity(folder, name) == Ok((device, inode)))
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
        let lines = lines(self.job, &self.to, &known.made).chain(working.map(|path| Line {
            working: Some(path),
            ..Line::default()
        }));
        let bytes = encoded(lines);
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
        let known = self.known.0.lock();
        let is_needed = known.made.values().any(|(_, _, job)| *job == self.job);
        let path = known
            .folder
            .as_ref()
            .map(|folder| folder.join(self.job.to_string()));
        drop(known);
        match path {
            Some(_) if is_needed => self.rewrite(),
            // One that stays is taken up by the next process.
            Some(path) => drop(fs::remove_file(path)),
            None => {}
        }
    }
}

fn lines<'a>(
    job: JobId,
    to: &'a [u8],
    made: &'a HashMap<Vec<u8>, (u64, u64, JobId)>,
) -> impl Iterator<Item = Line> + 'a {
    let first = Line {
        to: Some(to.to_vec()),
        ..Line::default()
    };
    let of_job = made.iter().filter(move |(_, (_, _, of))| *of == job);
    let made = of_job.map(|(path, (device, inode, _))| Line {
        made: Some(path.clone()),
        device: *device,
        inode: *inode,
        ..Line::default()
    });
    std::iter::once(first).chain(made)
}

fn encoded(lines: impl Iterator<Item = Line>) -> Vec<u8> {
    lines
        .flat_map(|line| line.encode_length_delimited_to_vec())
        .collect()
}

/// Takes up the file of an earlier process: removes temporary names, keeps which directories are ours.
fn take_up(entry: &fs::DirEntry, known: &mut Known) -> io::Result<()> {
    let path = entry.path();
    let name = entry.file_name();
    let job = name.to_str().and_then(|name| name.parse::<JobId>().ok());
    let is_old = entry
        .metadata()?
        .modified()?
        .elapsed()
        .is_ok_and(|age| age > KEPT);
    let Some(job) = job.filter(|_| !is_old) else {
        return fs::remove_file(path);
    };
    let bytes = fs::read(&path)?;
    let mut rest = bytes.as_slice();
    let (mut to, mut working) = (Vec::new(), HashSet::new());
    let mut made: HashMap<Vec<u8>, (u64, u64, JobId)> = HashMap::new();
    while let Ok(line) = Line::decode_length_delimited(&mut rest) {
        to = line.to.unwrap_or(to);
        if let Some(path) = line.made {
            made.insert(path, (line.device, line.inode, job));
        }
        if let Some(path) = line.described {
            made.remove(&path);
        }
        working.extend(line.working);
        if rest.is_empty() {
            break;
        }
    }
    remove_temporary_names(job, &to, &working)?;
    if made.is_empty() {
        fs::remove_file(&path)?;
    } else {
        write_durably(&path, &encoded(lines(job, &to, &made)), 0o600)?;
    }
    known.made.extend(made);
    Ok(())
}

fn remove_temporary_names(job: JobId, to: &[u8], working: &HashSet<Vec<u8>>) -> io::Result<()> {
    if working.is_empty() {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let target = match openat(CWD, to, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        opened => Arc::new(opened?),
    };
    let mut beneath = Beneath::new(target);
    let ours = format!("{TEMPORARY}{job}-").into_bytes();
    for path in working {
        // A directory that is gone, or is none any more, holds nothing of ours.
        let Ok(folder) = beneath.folder(path) else {
            continue;
        };
        let mut entries = Dir::read_from(&folder)?;
        while let Some(entry) = entries.read() {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_bytes().strip_prefix(ours.as_slice());
            if number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit)) {
                unlinkat(&folder, name, AtFlags::empty())?;
            }
        }
    }
    Ok(())
}

fn identity(folder: &OwnedFd, name: &[u8]) -> Result<(u64, u64), Errno> {
    statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| (stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::path::Path;
    use std::sync::Arc;

    use outlast_proto::words::JobId;

    use super::{FOLDER, MadeFolders, temporary_name};

    fn folder(path: &Path) -> OwnedFd {
        std::fs::File::open(path).unwrap().into()
    }

    /// As a process leaves it that is killed.
    fn killed(data: &Path, to: &Path) {
        let mut ledger = MadeFolders::open(data).ledger(JobId(7), to.to_str().unwrap());
        for name in ["ours", "described", "replaced"] {
            std::fs::create_dir(to.join(name)).unwrap();
            ledger.insert(name.as_bytes(), &folder(to), name.as_bytes());
        }
        ledger.remove(b"described");
        ledger.works_in(&Arc::from(&b"ours"[..]));
        ledger.works_in(&Arc::from(&b""[..]));
        let name = |job, node| String::from_utf8(temporary_name(JobId(job), node)).unwrap();
        for file in [
            to.join("ours").join(name(7, 1)),
            to.join(name(7, 2)),
            to.join(name(8, 2)),
        ] {
            std::fs::write(file, b"half").unwrap();
        }
        std::fs::write(to.join(".outlast-restore-7-mine"), b"the user's").unwrap();
        std::mem::forget(ledger);
    }

    #[test]
    fn t90_f17_what_a_killed_restore_left_is_known_to_the_next_process() {
        let temp = tempfile::tempdir().unwrap();
        let (data, to) = (temp.path().join("data"), temp.path().join("to"));
        std::fs::create_dir(&to).unwrap();
        killed(&data, &to);
        // Torn in the middle of a line.
        let file = data.join(FOLDER).join("7");
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
            assert_eq!(left, [".outlast-restore-7-mine", ".outlast-restore-8-2"]);
            assert_eq!(std::fs::read_dir(to.join("ours")).unwrap().count(), 0);
            let ledger = made.ledger(JobId(9), to.to_str().unwrap());
            let is_ours = |name: &str| ledger.contains(name.as_bytes(), &folder(&to), name.as_bytes());
            assert_eq!(
                ["ours", "described", "replaced", "elsewhere"].map(is_ours),
                [true, false, false, false]
            );
        }
        // A later job describes them, and then there is nothing to remember.
        let made = MadeFolders::open(&data);
        let mut ledger = made.ledger(JobId(9), to.to_str().unwrap());
        for name in ["ours", "replaced"] {
            ledger.remove(name.as_bytes());
        }
        drop(ledger);
        drop(MadeFolders::open(&data));
        assert_eq!(std::fs::read_dir(data.join(FOLDER)).unwrap().count(), 0);
    }
}
