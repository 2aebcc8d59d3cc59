//! The places that this restore has filled, so that none is filled twice: some file systems take two names for one (README and
//! readme).
//!
//! By inode, of the directories that are open: what can collide lies in one directory. Bounded.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use outlast_proto::words::limits::MOST_LISTED;
use rustix::fs::{Dir, Stat};

use crate::host::paths::shown;
use crate::unfinished::is_temporary;

/// Places that are kept in mind at once: about 40 MiB.
const MOST: usize = 2_000_000;
/// For so many places the other name is looked up; a directory has to be listed for each.
const MOST_LOOKED_UP: u32 = 100;

/// What was filled, by the path of the directory.
#[derive(Default)]
pub(super) struct Filled {
    folders: HashMap<Arc<[u8]>, HashSet<u64>>,
    count: usize,
    looked_up: u32,
}

impl Filled {
    /// What `folder` has there now is ours.
    pub(super) fn note(&mut self, folder: &Arc<[u8]>, there: &Stat) {
        if self.count < MOST {
            let places = self.folders.entry(Arc::clone(folder)).or_default();
            self.count += usize::from(places.insert(key(there)));
        }
    }

    pub(super) fn contains(&self, folder: &[u8], there: &Stat) -> bool {
        let places = self.folders.get(folder);
        places.is_some_and(|places| places.contains(&key(there)))
    }

    /// Nothing more comes in this directory.
    pub(super) fn left(&mut self, folder: &[u8]) {
        if let Some(places) = self.folders.remove(folder) {
            self.count -= places.len();
        }
    }

    /// Why nothing is put there: by which name it was filled.
    pub(super) fn reason(&mut self, folder: &OwnedFd, name: &[u8], there: &Stat) -> String {
        self.looked_up += 1;
        let other = (self.looked_up <= MOST_LOOKED_UP)
            .then(|| other_name(folder, name, there.st_ino))
            .flatten();
        let other = other.map_or("another name".to_owned(), |other| {
            format!("\"{}\"", shown(&other))
        });
        format!(
            "left alone: its place is that of {other}, which this restore has filled; the target takes both names for one"
        )
    }
}

fn key(there: &Stat) -> u64 {
    // Numbers of inodes and devices are small; multiplied they lie apart.
    there.st_ino.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ there.st_dev.wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
}

fn other_name(folder: &OwnedFd, name: &[u8], inode: u64) -> Option<Vec<u8>> {
    let entries = Dir::read_from(folder).ok()?;
    for entry in entries.take(MOST_LISTED).map_while(Result::ok) {
        let found = entry.file_name().to_bytes();
        if entry.ino() == inode && found != name && !is_temporary(found) {
            return Some(found.to_vec());
        }
    }
    None
}
