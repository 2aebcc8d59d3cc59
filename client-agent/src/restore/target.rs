//! The folder that is restored to: made, opened and tested before anything is read for it, and tested again when an error may be its own.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outlast_kit::calls::{fchmod, fstat, fstatvfs, fsync, futimens, openat, unlinkat};
use outlast_kit::data_folder::user_above;
use outlast_kit::files::create_folder;
use outlast_kit::human::size;
use outlast_proto::v1::JobError;
use outlast_proto::words::limits::MOST_LISTED;
use outlast_proto::words::{JobKey, StatusCode};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use super::content::{Writing, remove_leftover};
use super::faults::{code, words};
use super::folder::open_for_the_time;
use super::unsynced::sync_folder;
use super::way::Way;
use crate::host::paths::by_descriptor;
use crate::unfinished::{Ledger, temporary_name};

/// One that has passed its test is not tested again for so long.
const TESTED_FOR: Duration = Duration::from_secs(1);
/// The number in the temporary name of tests: no node has it.
const TEST: u64 = u64::MAX;
/// More than file systems keep beside a file's own description.
const TEST_BYTES: [u8; 4096] = [b'o'; 4096];
/// A time of which every coarser grain leaves something else.
const ODD_TIME: Timespec = Timespec {
    tv_sec: 1_000_000_001,
    tv_nsec: 987_654_321,
};
/// What file systems keep times in, in nanoseconds: of ext4, NTFS, FUSE's, exFAT, ext3, FAT.
const GRAINS: [i128; 7] = [1, 100, 1_000, 1_000_000, 10_000_000, 1_000_000_000, 2_000_000_000];

/// `TO`, open.
pub(super) struct Root {
    job: JobKey,
    to: String,
    pub(super) folder: Arc<OwnedFd>,
    way: Way,
    /// The mode that it had before it was opened for the time.
    mode_before: Option<u32>,
    /// It passed a test.
    was_fit: bool,
    /// When it passed its last test.
    tested: Option<Instant>,
    /// File systems below it where nothing can be made any more, by device.
    lost: HashMap<u64, Errno>,
    /// What the times of a file system are kept in, by device.
    grains: HashMap<u64, i128>,
}

impl Root {
    /// Opens `TO`, making it if need be. Links in `TO` itself are the administrator's own.
    pub(super) fn open(job: JobKey, to: &str, ledger: &mut Ledger) -> Result<Self, JobError> {
        let fault = |error: std::io::Error| {
            let error = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            JobError {
                code: code(error).0.into(),
                text: format!("cannot restore to {to}: {}", words(error)),
            }
        };
        if let Some(whom) = in_use(Path::new(to)) {
            return Err(JobError {
                code: StatusCode::TARGET_NOT_WRITABLE.0.into(),
                text: format!(
                    "cannot restore to {to}: it is the data folder of the {whom} that runs on this host, or in it; stop that one first, or restore to another place"
                ),
            });
        }
        create_folder(Path::new(to), 0o777).map_err(fault)?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path_only = openat(CWD, to, flags | OFlags::PATH, Mode::empty());
        let path_only = path_only.map_err(|error| fault(error.into()))?;
        let mode_before = open_for_the_time(ledger, b"", &path_only);
        let opened = openat(
            CWD,
            by_descriptor(&path_only),
            flags | OFlags::RDONLY,
            Mode::empty(),
        );
        let folder = Arc::new(opened.map_err(|error| fault(error.into()))?);
        Ok(Self {
            job,
            to: to.to_owned(),
            way: Way::new(Path::new(to), &folder),
            folder,
            mode_before,
            was_fit: false,
            tested: None,
            lost: HashMap::new(),
            grains: HashMap::new(),
        })
    }

    /// Gives it back the mode it had. Nothing is made in it any more.
    pub(super) fn close(&mut self, ledger: &mut Ledger) -> Result<(), Errno> {
        let Some(mode) = self.mode_before else {
            return Ok(());
        };
        fchmod(&self.folder, Mode::from_raw_mode(mode))?;
        self.mode_before = None;
        ledger.closed(b"");
        sync_folder(&self.folder)
    }

    /// What `TO` leads to by now, if that is something else.
    pub(super) fn strays(&self) -> Option<String> {
        self.way.strays()
    }

    /// Makes, writes and removes a file.
    pub(super) fn test(&mut self) -> Result<(), JobError> {
        let tested = test_in(&self.folder, self.job).and_then(|grain| {
            let device = fstat(&self.folder)?.st_dev;
            self.grains.insert(device, grain);
            Ok(())
        });
        match tested {
            Ok(()) => self.was_fit = true,
            // Restored to "/", say: what is mounted below it, or belongs to who restores, may well take things.
            Err(Errno::ROFS | Errno::ACCESS | Errno::PERM) if !self.was_fit && self.has_folders() => {}
            Err(error) => {
                let code = code(error).0.into();
                let text = format!(
                    "cannot restore to {}: {}{}",
                    self.to,
                    words(error),
                    self.room(None)
                );
                return Err(JobError { code, text });
            }
        }
        Ok(())
    }

    /// Whether nothing can be made in it any more.
    pub(super) fn is_unfit(&mut self) -> bool {
        if self.tested.is_some_and(|at| at.elapsed() < TESTED_FOR) {
            return false;
        }
        let tested = self.test();
        self.tested = tested.is_ok().then(Instant::now);
        tested.is_err()
    }

    /// Something failed in a folder of it, and not because of all of it: perhaps the file system there is gone.
    pub(super) fn doubt(&mut self, folder: &Arc<OwnedFd>) {
        let devices = fstat(folder).and_then(|there| Ok((there.st_dev, fstat(&self.folder)?.st_dev)));
        let Ok((device, own)) = devices else { return };
        let is_tested = self.was_fit && device == own;
        if !is_tested && let Err(error) = test_in(folder, self.job) {
            self.lost.insert(device, error);
        }
    }

    /// Why nothing can be made any more in a folder of it, if that is known.
    pub(super) fn lost(&self, folder: &OwnedFd) -> Option<Errno> {
        if self.lost.is_empty() {
            return None;
        }
        self.lost.get(&fstat(folder).ok()?.st_dev).copied()
    }

    fn has_folders(&self) -> bool {
        let Ok(entries) = Dir::read_from(&self.folder) else {
            return false;
        };
        for entry in entries.take(MOST_LISTED).map_while(Result::ok) {
            let is_other = matches!(entry.file_name().to_bytes(), b"." | b"..");
            if !is_other && matches!(entry.file_type(), FileType::Directory | FileType::Unknown) {
                return true;
            }
        }
        false
    }

    /// What is left on the file system, for people, when what was begun is removed; and what the file needs that found too little.
    pub(super) fn room(&self, needed: Option<u64>) -> String {
        let needed = needed.map(|needed| format!("; the file needs {}", size(needed)));
        let free = fstatvfs(&self.folder).ok().map(|stat| {
            let free = size(stat.f_bavail.saturating_mul(stat.f_frsize));
            let without = needed.as_ref().map_or("", |_| " without it");
            format!(
                "; free there{without}: {free}, and room for {} files",
                stat.f_favail
            )
        });
        needed.into_iter().chain(free).collect()
    }

    /// What times are kept in where `there` is, in nanoseconds, if that was found out.
    pub(super) fn known_grain(&self, there: &Stat) -> Option<i128> {
        self.grains.get(&there.st_dev).copied()
    }

    /// Finds it out, in its folder.
    pub(super) fn grain(&mut self, folder: &Arc<OwnedFd>, there: &Stat) -> i128 {
        // Where nothing can be made nothing was restored before, coarsely or not.
        let grain = test_in(folder, self.job).unwrap_or(1);
        self.grains.insert(there.st_dev, grain);
        grain
    }
}

/// Which daemon's data folder a target is, or lies in, that may not be there yet.
fn in_use(to: &Path) -> Option<String> {
    let there = to.ancestors().find_map(|path| path.canonicalize().ok())?;
    user_above(&there)
}

/// What the file system of `folder` keeps times in, if a file can be made and written there.
fn test_in(folder: &Arc<OwnedFd>, job: JobKey) -> Result<i128, Errno> {
    let name = temporary_name(job, TEST);
    remove_leftover(folder, &name)?;
    let mut file = Writing::create(Arc::clone(folder), name.clone())?;
    let tested = file.write(&TEST_BYTES).and_then(|()| fsync(&file.file));
    let times = Timestamps {
        last_access: ODD_TIME,
        last_modification: ODD_TIME,
    };
    let kept = futimens(&file.file, &times).and_then(|()| fstat(&file.file));
    file.close().and_then(|closed| {
        unlinkat(folder, name.as_slice(), AtFlags::empty())?;
        drop(closed);
        tested
    })?;
    Ok(kept.map_or(1, |kept| grain_of(nanos(kept.st_mtime, kept.st_mtime_nsec))))
}

/// The finest grain that makes this of the odd time.
fn grain_of(kept: i128) -> i128 {
    let odd = nanos(ODD_TIME.tv_sec, ODD_TIME.tv_nsec.unsigned_abs());
    let is_kept_in = |grain: &i128| kept % grain == 0 && (odd - kept).abs() < *grain;
    GRAINS.into_iter().find(is_kept_in).unwrap_or(1)
}

/// A time in nanoseconds since 1970.
pub(super) fn nanos(seconds: i64, nanos: u64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanos)
}

#[cfg(test)]
mod tests {
    use super::{grain_of, nanos};

    #[test]
    fn s14e_the_grain_of_a_targets_times_is_found_out() {
        for (seconds, kept, grain) in [
            (1_000_000_001, 987_654_321, 1),
            (1_000_000_001, 987_654_300, 100),
            (1_000_000_001, 987_654_000, 1_000),
            (1_000_000_001, 987_000_000, 1_000_000),
            (1_000_000_001, 980_000_000, 10_000_000),
            (1_000_000_001, 0, 1_000_000_000),
            (1_000_000_002, 0, 1_000_000_000),
            (1_000_000_000, 0, 2_000_000_000),
            // Not kept at all.
            (1_700_000_000, 5, 1),
        ] {
            assert_eq!(grain_of(nanos(seconds, kept)), grain, "{seconds} {kept}");
        }
    }
}
