//! A disk that keeps what was synced, and of the rest what chance leaves: for tests of power cuts.
//!
//! While the power is on it is the mirrored folder. [`Disk::cut`] is the moment the power goes: nothing is taken in any more.
//! [`Disk::come_back`] shows what outlived it:
//! - content and size of a file as they were at its last `fsync` or `fdatasync`, page for page;
//! - names as they were at the last `fsync` of the folder they are in: creating, renaming, linking and removing are changes of
//!   a folder, and a folder's own name is its parent's matter;
//! - of what came later, by a seed, nothing, or the names without the content, or some of it: the first so many changes of each
//!   folder, any of the pages, halves of pages, a size in between.
//!
//! `syncfs`, `sync` and `sync_file_range` are never told to a FUSE server, so they keep nothing. Modes, owners, times and
//! attributes are kept at once. The order between folders, and between names and content, is left to chance on purpose: file
//! systems promise none.

mod aftermath;
mod chance;
mod layer;
mod unsynced;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::mount::{Mounted, mount};
use chance::Chance;
use layer::Forgetful;

/// What a disk takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Condition {
    #[default]
    Sound,
    /// Nothing more: what is there may be written over, renamed and removed.
    Full,
    /// Nothing at all: so the kernel has it when it has met an error.
    ReadOnly,
}

/// A mounted disk, with its backing folder.
pub struct Disk {
    backing: PathBuf,
    at: PathBuf,
    chance: Chance,
    layer: Arc<Forgetful>,
    mounted: Option<Mounted>,
}

impl Disk {
    /// In an empty folder of its own. Needs root and `/dev/fuse`.
    pub fn new(folder: &Path, seed: u64) -> io::Result<Self> {
        let (backing, at) = (folder.join("platters"), folder.join("disk"));
        std::fs::create_dir(&backing)?;
        std::fs::create_dir(&at)?;
        let layer = Arc::new(Forgetful::default());
        let mounted = mount(&backing, &at, layer.clone())?;
        Ok(Self {
            backing,
            at,
            chance: Chance::of(seed),
            layer,
            mounted: Some(mounted),
        })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// From now on, until it is told otherwise or comes back from a cut.
    pub fn be(&self, condition: Condition) {
        self.layer.be(condition);
    }

    /// The power goes: every operation fails from now on. Whoever has files open is to be killed then.
    pub fn cut(&self) {
        self.layer.cut();
    }

    /// Mounts what outlived the cut. Nobody may have the disk open any more.
    pub fn come_back(&mut self) -> io::Result<()> {
        self.layer.cut();
        drop(self.mounted.take());
        let unsynced = self.layer.take();
        aftermath::leave(&self.backing, unsynced, &mut self.chance)?;
        self.layer = Arc::new(Forgetful::default());
        self.mounted = Some(mount(&self.backing, &self.at, self.layer.clone())?);
        Ok(())
    }

    /// Both at once.
    pub fn lose_power(&mut self) -> io::Result<()> {
        self.cut();
        self.come_back()
    }
}
