//! Builds what is on the disk after the power went: the names that outlived it, and below them the content that did. Files and folders
//! keep their inode numbers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, Metadata};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    DirBuilderExt as _, FileExt as _, MetadataExt as _, PermissionsExt as _, lchown, symlink,
};
use std::path::{Path, PathBuf};

use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, getxattr, listxattr, setxattr, utimensat};

use super::chance::{Chance, Mood};
use super::unsynced::{Content, PAGE, Unsynced};
use crate::nodes::ROOT;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
/// As much as Linux lets names or a value of extended attributes be.
const ATTRIBUTES: usize = 64 << 10;

/// What a folder holds, by inode number.
type Names = BTreeMap<OsString, u64>;

/// The backing folder as it is now.
#[derive(Default)]
struct Now {
    folders: HashMap<u64, Names>,
    /// One path of each.
    paths: HashMap<u64, PathBuf>,
    described: HashMap<u64, Metadata>,
}

/// Leaves in `backing` what outlived the cut.
pub(super) fn leave(backing: &Path, unsynced: Unsynced, chance: &mut Chance) -> io::Result<()> {
    let mood = chance.mood();
    let mut now = Now::default();
    now.look(ROOT, backing)?;
    let Unsynced {
        mut files,
        folders,
        held,
        ..
    } = unsynced;
    // In the order of paths, so that a seed leaves the same each time.
    let mut folders: Vec<_> = folders.into_iter().collect();
    folders.sort_by_key(|(folder, _)| now.paths.get(folder).cloned());
    for (folder, changes) in folders {
        let names = now.folders.entry(folder).or_default();
        let all = changes.len();
        let outlive = match mood {
            Mood::Nothing => 0,
            Mood::NamesOnly => all,
            Mood::Some => usize::try_from(chance.up_to(all as u64)).unwrap_or(all),
        };
        for change in changes[outlive..].iter().rev() {
            for (name, before) in change.0.iter().rev() {
                match before {
                    Some(id) => names.insert(name.clone(), *id),
                    None => names.remove(name),
                };
            }
        }
    }
    let aside = backing.with_extension("aside");
    now.put_aside(&aside)?;
    let mut building = Building {
        now: &now,
        aside: &aside,
        held: &held,
        placed: HashMap::new(),
        entered: HashSet::new(),
    };
    building.fill(ROOT, backing)?;
    let mut placed: Vec<_> = building.placed.into_iter().collect();
    placed.sort_by(|(_, one), (_, other)| one.cmp(other));
    for (id, path) in placed {
        if let Some(content) = files.remove(&id) {
            forget(&path, &content, mood, chance)?;
        }
    }
    fs::remove_dir_all(aside)
}

impl Now {
    fn look(&mut self, id: u64, folder: &Path) -> io::Result<()> {
        let mut names = Names::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let (path, metadata) = (entry.path(), entry.metadata()?);
            names.insert(entry.file_name(), metadata.ino());
            if metadata.is_dir() {
                self.look(metadata.ino(), &path)?;
            }
            self.paths.entry(metadata.ino()).or_insert(path);
        }
        self.paths.entry(id).or_insert_with(|| folder.to_owned());
        self.described.insert(id, fs::metadata(folder)?);
        self.folders.insert(id, names);
        Ok(())
    }

    /// Takes everything out of the backing folder: each file and each folder, empty, goes to `aside` under its number.
    fn put_aside(&self, aside: &Path) -> io::Result<()> {
        fs::create_dir(aside)?;
        let (mut folders, files): (Vec<_>, Vec<_>) = self
            .paths
            .iter()
            .partition(|(id, _)| self.described.contains_key(id));
        for (id, path) in files {
            fs::hard_link(path, aside.join(id.to_string()))?;
        }
        // The deepest first: then there are only files in each.
        folders.sort_by_key(|(_, path)| std::cmp::Reverse(path.components().count()));
        for (id, path) in folders {
            for entry in fs::read_dir(path)? {
                fs::remove_file(entry?.path())?;
            }
            if *id != ROOT {
                fs::rename(path, aside.join(id.to_string()))?;
            }
        }
        Ok(())
    }
}

struct Building<'a> {
    now: &'a Now,
    aside: &'a Path,
    held: &'a HashMap<u64, OwnedFd>,
    placed: HashMap<u64, PathBuf>,
    entered: HashSet<u64>,
}

impl Building<'_> {
    /// Where a node's content can be read, and whether by a name. None: nothing that outlived the cut leads to it.
    fn source(&self, id: u64) -> Option<(PathBuf, bool)> {
        let held = || {
            let fd = self.held.get(&id)?;
            Some((PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())), false))
        };
        let named = || (self.aside.join(id.to_string()), true);
        let named = self.now.paths.contains_key(&id).then(named);
        named.or_else(held)
    }

    fn folder(&mut self, id: u64, path: &Path) -> io::Result<()> {
        let Some((source, is_named)) = self.source(id) else {
            return Ok(());
        };
        // A folder that was moved, and the move half lost: it has one of its names.
        if !self.entered.insert(id) {
            return Ok(());
        }
        if is_named {
            fs::rename(source, path)?;
            return self.fill(id, path);
        }
        DirBuilder::new().mode(0o700).create(path)?;
        copy_attributes(&source, path)?;
        self.fill(id, path)?;
        describe(path, &fs::metadata(source)?)
    }

    /// Puts into a folder what is in it now.
    fn fill(&mut self, id: u64, path: &Path) -> io::Result<()> {
        let now = self.now;
        for (name, child) in now.folders.get(&id).into_iter().flatten() {
            self.entry(*child, &path.join(name))?;
        }
        match now.described.get(&id) {
            Some(described) => describe(path, described),
            None => Ok(()),
        }
    }

    fn entry(&mut self, id: u64, path: &Path) -> io::Result<()> {
        let Some((source, is_named)) = self.source(id) else {
            return Ok(());
        };
        let metadata = if is_named {
            fs::symlink_metadata(&source)?
        } else {
            fs::metadata(&source)?
        };
        if metadata.is_dir() {
            return self.folder(id, path);
        }
        if let Some(first) = self.placed.get(&id) {
            return fs::hard_link(first, path);
        }
        if is_named {
            fs::hard_link(&source, path)?;
        } else if metadata.is_symlink() {
            let target = rustix::fs::readlinkat(&self.held[&id], "", Vec::new())?;
            symlink(OsStr::from_bytes(target.as_bytes()), path)?;
        } else if metadata.is_file() {
            fs::copy(&source, path)?;
            copy_attributes(&source, path)?;
            describe(path, &metadata)?;
        } else {
            // Sockets and pipes without a name are worth nothing.
            return Ok(());
        }
        self.placed.insert(id, path.to_owned());
        Ok(())
    }
}

fn describe(path: &Path, metadata: &Metadata) -> io::Result<()> {
    lchown(path, Some(metadata.uid()), Some(metadata.gid()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
    let time = |tv_sec, nanos: i64| Timespec {
        tv_sec,
        tv_nsec: nanos,
    };
    let times = Timestamps {
        last_access: time(metadata.atime(), metadata.atime_nsec()),
        last_modification: time(metadata.mtime(), metadata.mtime_nsec()),
    };
    Ok(utimensat(CWD, path, &times, AtFlags::empty())?)
}

fn copy_attributes(from: &Path, to: &Path) -> io::Result<()> {
    let mut names = Vec::with_capacity(ATTRIBUTES);
    listxattr(from, spare_capacity(&mut names))?;
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = Vec::with_capacity(ATTRIBUTES);
        getxattr(from, name, spare_capacity(&mut value))?;
        setxattr(to, name, &value, XattrFlags::empty())?;
    }
    Ok(())
}

/// Takes from a file what was not synced and did not outlive the cut.
fn forget(path: &Path, content: &Content, mood: Mood, chance: &mut Chance) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let now = file.metadata()?.len();
    let size = match mood {
        Mood::Nothing | Mood::NamesOnly => content.size,
        Mood::Some => match chance.up_to(2) {
            0 => content.size,
            1 => now,
            _ => content.size.min(now) + chance.up_to(content.size.abs_diff(now)),
        },
    };
    for (page, before) in &content.pages {
        let mut old = before.clone().unwrap_or_default();
        old.resize(usize::try_from(PAGE).unwrap_or(0), 0);
        let fate = if mood == Mood::Some { chance.up_to(2) } else { 0 };
        for (sector, old) in (0_u64..).zip(old.chunks(SECTOR)) {
            let is_lost = match fate {
                0 => true,
                1 => false,
                _ => chance.up_to(1) == 0,
            };
            if is_lost {
                file.write_all_at(old, page * PAGE + sector * SECTOR as u64)?;
            }
        }
    }
    file.set_len(size)
}
