//! What was restored and may not be on the disk yet, and how it gets there: by one call for a whole file system where the kernel hands
//! that on, else by one for each file and directory. Called by `settle`.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use outlast_kit::calls::{fstat, fstatfs, fsync, syncfs};
use rustix::io::Errno;

use super::content::Writing;

/// File systems of which one `syncfs` brings everything to the disk: ext2 to ext4, xfs, btrfs, f2fs, bcachefs, ZFS, tmpfs (nothing to
/// do), NFS (writes are committed, names are the server's at once), Ceph, OCFS2, GFS2. Of others it may do nothing and succeed: the
/// kernel does not tell a FUSE server, nor servers of SMB and 9p, nor what lies below overlayfs on one of these or below ecryptfs.
const SYNCED_AT_ONCE: [u64; 12] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0xf2f5_2010,
    0xca45_1a4e,
    0x2fc1_2fc1,
    0x0102_1994,
    0x6969,
    0x00c3_6400,
    0x7461_636f,
    0x0116_1970,
    // ramfs
    0x8584_58f6,
];

/// Up to so many files, a sync for each is cheaper than one for the file system.
const FEW_FILES: usize = 3;

/// What a restore has written to and not synced yet.
#[derive(Default)]
pub(super) struct Unsynced {
    /// The file systems, by device.
    devices: HashMap<u64, Device>,
    /// Directories on those that are not synced at once. Each goes when it is left, so it is those that are entered.
    folders: HashSet<Arc<[u8]>>,
    /// The directory that was noted last.
    last: Option<Arc<OwnedFd>>,
}

/// A file system: one directory of it if all of it is synced at once.
enum Device {
    AtOnce(Arc<OwnedFd>),
    EachOne,
}

impl Unsynced {
    /// Names in the directory at `path` were made, or its description was changed.
    pub(super) fn note(&mut self, path: &[u8], folder: &Arc<OwnedFd>) {
        if self.last.as_ref().is_some_and(|last| Arc::ptr_eq(last, folder)) {
            return;
        }
        let Ok(stat) = fstat(folder) else { return };
        self.last = Some(Arc::clone(folder));
        let device = self.devices.entry(stat.st_dev);
        let device = device.or_insert_with(|| match is_synced_at_once(folder) {
            true => Device::AtOnce(Arc::clone(folder)),
            false => Device::EachOne,
        });
        if matches!(device, Device::EachOne) && !self.folders.contains(path) {
            self.folders.insert(path.into());
        }
    }

    /// Syncs the directory at `path`, which `open` opens, if that is still to be done.
    pub(super) fn folder(
        &mut self,
        path: &[u8],
        open: impl FnOnce() -> Result<Arc<OwnedFd>, Errno>,
    ) -> Result<(), Errno> {
        self.last = None;
        if self.folders.remove(path) {
            return sync_folder(&*open()?);
        }
        Ok(())
    }

    /// Any directory that is not synced.
    pub(super) fn any_folder(&self) -> Option<Arc<[u8]>> {
        self.folders.iter().next().cloned()
    }

    /// Syncs the file systems of which that is enough. `step` is called before each.
    pub(super) fn devices(&self, step: impl Fn()) -> Result<(), Errno> {
        self.devices.values().try_for_each(|device| match device {
            Device::AtOnce(folder) => {
                step();
                syncfs(folder)
            }
            Device::EachOne => Ok(()),
        })
    }
}

/// Brings the content of files to the disk; the errors of those for which that failed, by what they are called here. `step` is called before
/// each.
pub(super) fn sync_files(files: &[(usize, &Writing)], step: impl Fn()) -> HashMap<usize, Errno> {
    let mut is_synced: HashMap<u64, bool> = HashMap::new();
    let mut unsynced = HashMap::new();
    // Files that were made in one directory lie in one file system.
    let mut last: Option<(&Arc<OwnedFd>, u64)> = None;
    for &(index, Writing { file, folder, .. }) in files {
        step();
        let at_once = files.len() > FEW_FILES && {
            let known = last.filter(|(last, _)| Arc::ptr_eq(last, folder));
            let device =
                known.map_or_else(|| fstat(file).map_or(0, |stat| stat.st_dev), |(_, device)| device);
            last = Some((folder, device));
            // What the whole could not do, each file is asked for, to know which ones failed.
            let sync = || is_synced_at_once(file) && syncfs(file).is_ok();
            *is_synced.entry(device).or_insert_with(sync)
        };
        if let Err(error) = if at_once { Ok(()) } else { fsync(file) } {
            unsynced.insert(index, error);
        }
    }
    unsynced
}

/// Brings the names in a directory to the disk, and its own description.
pub(super) fn sync_folder(folder: impl AsFd) -> Result<(), Errno> {
    match fsync(folder) {
        // Some file systems cannot; then there is nothing more we could do.
        Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        synced => synced,
    }
}

fn is_synced_at_once(file: impl AsFd) -> bool {
    // The kernel's numbers have 32 bits; the word that carries them is signed on some machines.
    fstatfs(file).is_ok_and(|found| SYNCED_AT_ONCE.contains(&(found.f_type as u64 & 0xffff_ffff)))
}
