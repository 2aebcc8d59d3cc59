//! Whether a path still leads to the folder that a restore has open: where a file system was unmounted, or a folder moved, it goes on to
//! write into what nobody finds any more. Called by `target`.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use outlast_kit::calls::statx;
use rustix::fs::{AtFlags, CWD, Statx, StatxFlags};
use rustix::io::Errno;

use super::faults::words;

/// A folder, and the path that led to it.
pub(super) struct Way {
    path: PathBuf,
    folder: Arc<OwnedFd>,
}

impl Way {
    pub(super) fn new(path: &Path, folder: &Arc<OwnedFd>) -> Self {
        Self {
            path: path.to_owned(),
            folder: Arc::clone(folder),
        }
    }

    /// What is at the path if it is not that folder. What both are is asked for now: some file systems change their numbers.
    pub(super) fn strays(&self) -> Option<String> {
        let Ok(held) = seen(&self.folder, Path::new(""), AtFlags::EMPTY_PATH) else {
            // Whatever is done there says so itself.
            return None;
        };
        let there = match seen(CWD, &self.path, AtFlags::empty()) {
            Ok(there) if is_same(&held, &there) => return None,
            Ok(there) if is_same_mount(&held, &there) => "another folder is there by now".to_owned(),
            Ok(_) => {
                "another file system is there by now: that one was unmounted, or another was mounted over it"
                    .to_owned()
            }
            Err(Errno::NOENT | Errno::NOTDIR) => "nothing is there any more".to_owned(),
            Err(error) => format!("what is there cannot be looked at: {}", words(error)),
        };
        Some(format!(
            "{there}; it does not lead to the folder that was being restored to, and what was restored is in that one; see what became \
             of it, and restore again"
        ))
    }
}

fn seen(at: impl AsFd, path: &Path, flags: AtFlags) -> Result<Statx, Errno> {
    let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
    statx(&at, path, flags, wanted)
}

fn is_same(one: &Statx, other: &Statx) -> bool {
    is_same_mount(one, other) && one.stx_ino == other.stx_ino
}

fn is_same_mount(one: &Statx, other: &Statx) -> bool {
    // Kernels before 5.8 tell no mount: 0.
    (one.stx_dev_major, one.stx_dev_minor, one.stx_mnt_id)
        == (other.stx_dev_major, other.stx_dev_minor, other.stx_mnt_id)
}
