//! Puts right what a process left that was killed in a restore: temporary names go, directories get the modes and times they
//! are to have, as far as the file knows them. Called when the agent starts.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::Duration;

use outlast_kit::calls::{chmodat, lstat, openat, unlinkat};
use outlast_kit::files::{remove_durably, write_durably};
use outlast_proto::words::JobKey;
use outlast_proto::words::limits::MOST_LISTED;
use prost::Message as _;
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::line::{Line, Made, Opened, encoded, is_as_made, lines};
use super::{Known, TEMPORARY, job_of};
use crate::host::beneath::Beneath;
use crate::host::birth::Identity;
use crate::host::paths::by_descriptor;
use crate::restore::describe_folder;

/// What nobody restored again for so long is forgotten.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a file says.
#[derive(Default)]
struct Left {
    to: Vec<u8>,
    working: HashSet<Vec<u8>>,
    made: HashMap<Vec<u8>, Made>,
    makes: HashSet<Vec<u8>>,
    opened: HashMap<Vec<u8>, Opened>,
}

/// Takes up the file of an earlier process: removes temporary names, keeps which directories are ours.
pub(super) fn take_up(entry: &fs::DirEntry, known: &mut Known) -> io::Result<()> {
    let path = entry.path();
    let job = job_of(&entry.file_name());
    let is_old = entry
        .metadata()?
        .modified()?
        .elapsed()
        .is_ok_and(|age| age > KEPT);
    let Some(job) = job.filter(|_| !is_old) else {
        return fs::remove_file(path);
    };
    let mut left = Left::read(&fs::read(&path)?, job);
    // Before they are put right. One that was not made in the end is nobody's.
    left.makes.retain(|path| {
        let there = lstat(OsStr::from_bytes(path));
        there.is_ok_and(|there| is_as_made(&there))
    });
    left.put_right(job)?;
    if left.made.is_empty() && left.makes.is_empty() {
        remove_durably(&path)?;
    } else {
        write_durably(
            &path,
            &encoded(lines(&left.to, left.made.iter(), left.makes.iter())),
            0o600,
        )?;
    }
    for (path, made) in left.made {
        known.made.entry(path).or_default().push(made);
    }
    for path in left.makes {
        known.makes.entry(path).or_default().push(job);
    }
    Ok(())
}

impl Left {
    fn read(bytes: &[u8], job: JobKey) -> Self {
        let mut rest = bytes;
        let mut left = Self::default();
        while let Ok(line) = Line::decode_length_delimited(&mut rest) {
            left.take(line, job);
            if rest.is_empty() {
                break;
            }
        }
        left
    }

    fn take(&mut self, line: Line, job: JobKey) {
        let identity = line.identity();
        if let Some(to) = line.to {
            self.to = to;
        }
        if let Some(path) = line.made {
            let recorded = line.recorded;
            let made = Made {
                identity,
                job,
                recorded,
            };
            self.made.insert(path, made);
        }
        if let Some(path) = line.makes {
            self.makes.insert(path);
        }
        if let Some(path) = line.opened {
            let mode = line.mode;
            self.opened.insert(path, Opened { identity, mode });
        }
        if let Some(path) = line.described {
            self.made.remove(&path);
            self.makes.remove(&path);
            self.opened.remove(&path);
        }
        self.working.extend(line.working);
    }

    fn put_right(&self, job: JobKey) -> io::Result<()> {
        if self.working.is_empty() && self.made.is_empty() && self.opened.is_empty() {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let target = match openat(CWD, &self.to, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(()),
            opened => Arc::new(opened?),
        };
        let mut beneath = Beneath::new(target);
        for path in &self.working {
            // A directory that is gone, or is none any more, holds nothing of ours.
            if let Ok(folder) = beneath.folder(path) {
                remove_temporary_names(job, &folder)?;
            }
        }
        // The deepest first: those above them may not let anybody in afterwards.
        let made = self.made.iter().map(|(path, made)| (path, Folder::Made(made)));
        let opened = self
            .opened
            .iter()
            .map(|(path, opened)| (path, Folder::Opened(opened)));
        let mut folders: Vec<_> = made.chain(opened).collect();
        folders.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        for (path, left) in folders {
            beneath.forget();
            let below = path.strip_prefix(self.to.as_slice()).unwrap_or(path);
            let below = below.strip_prefix(b"/").unwrap_or(below);
            let Ok(folder) = beneath.folder(below) else {
                continue;
            };
            // Another one that has this path now is none of our business, also if it has the same number.
            if Identity::of_open(&folder).is_ok_and(|(now, there)| left.is(&now, &there)) {
                left.put_right(&folder);
            }
        }
        Ok(())
    }
}

/// A directory that was left half done.
enum Folder<'a> {
    Made(&'a Made),
    Opened(&'a Opened),
}

impl Folder<'_> {
    fn is(&self, now: &Identity, there: &Stat) -> bool {
        match self {
            Folder::Made(made) => made.is(now, there) == Some(true),
            Folder::Opened(opened) => opened.is(now, there),
        }
    }

    fn put_right(&self, folder: &OwnedFd) {
        match self {
            // What it cannot have, the next restore to its place says.
            Folder::Made(made) => {
                let recorded = made.recorded.as_ref();
                recorded
                    .into_iter()
                    .for_each(|it| describe_folder(folder, &it.node()));
            }
            Folder::Opened(opened) => {
                let (itself, mode) = (by_descriptor(folder), Mode::from_raw_mode(opened.mode));
                if let Err(error) = chmodat(CWD, itself, mode, AtFlags::empty()) {
                    tracing::warn!(%error, "a directory that was opened for a restore keeps mode u+rwx");
                }
            }
        }
    }
}

fn remove_temporary_names(job: JobKey, folder: &OwnedFd) -> io::Result<()> {
    let ours = format!("{TEMPORARY}{job}-").into_bytes();
    for entry in Dir::read_from(folder)?.take(MOST_LISTED) {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_bytes().strip_prefix(ours.as_slice());
        if number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit)) {
            unlinkat(folder, name, AtFlags::empty())?;
        }
    }
    Ok(())
}
