//! What was not synced: how to undo it. Kept by `layer`, used up by `aftermath`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;

use crate::nodes::Node;

/// What a disk takes whole or not at all is smaller; the content of a file is kept in these.
pub(super) const PAGE: u64 = 4096;

/// By the inode number that the mirror has for it.
#[derive(Default)]
pub(super) struct Unsynced {
    pub(super) files: HashMap<u64, Content>,
    /// In the order in which they were made.
    pub(super) folders: HashMap<u64, Vec<Names>>,
    /// What lost a name that a power cut may give back: kept open, or its content and its number would be another's.
    pub(super) held: HashMap<u64, OwnedFd>,
    /// Of the operations under way: what a name stood for before.
    under_way: HashMap<(u64, OsString), Option<u64>>,
}

/// A file that was changed since its last sync.
pub(super) struct Content {
    pub(super) size: u64,
    /// By number, what they held; nothing where the file had ended.
    pub(super) pages: BTreeMap<u64, Option<Vec<u8>>>,
}

/// One change of a folder: what each name stood for before.
pub(super) struct Names(pub(super) Vec<(OsString, Option<u64>)>);

impl Unsynced {
    /// `length` bytes from `offset` on are about to be changed, or the size.
    pub(super) fn keep_content(&mut self, node: &Node, offset: u64, length: u64) -> Result<(), Errno> {
        if node.kind() != FileType::RegularFile {
            return Ok(());
        }
        let size = size_of(node)?;
        let content = self.files.entry(node.id()).or_insert_with(|| Content {
            size,
            pages: BTreeMap::new(),
        });
        let end = match length {
            u64::MAX => size.max(content.size),
            length => offset + length,
        };
        let mut file = None;
        for page in offset / PAGE..end.div_ceil(PAGE) {
            if content.pages.contains_key(&page) {
                continue;
            }
            let mut before = None;
            if page * PAGE < content.size {
                let file = match &file {
                    Some(file) => file,
                    None => file.insert(node.open(OFlags::RDONLY)?),
                };
                before = Some(read_page(file, page)?);
            }
            content.pages.insert(page, before);
        }
        Ok(())
    }

    pub(super) fn content_synced(&mut self, node: &Node) {
        self.files.remove(&node.id());
    }

    /// A write that was synced by itself.
    pub(super) fn part_synced(&mut self, node: &Node, offset: u64, length: u64) {
        if let Some(content) = self.files.get_mut(&node.id()) {
            let (first, last) = (offset / PAGE, (offset + length).div_ceil(PAGE));
            content.pages.retain(|page, _| !(first..last).contains(page));
            content.size = content.size.max(offset + length);
        }
    }

    /// A name is about to come, to go, or to stand for something else.
    pub(super) fn keep_name(&mut self, parent: &Node, name: &OsStr) -> Result<(), Errno> {
        let before = match openat(
            parent,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Err(Errno::NOENT) => None,
            Err(error) => return Err(error),
            Ok(found) => {
                let id = rustix::fs::fstat(&found)?.st_ino;
                self.held.entry(id).or_insert(found);
                Some(id)
            }
        };
        self.under_way.insert((parent.id(), name.to_owned()), before);
        Ok(())
    }

    /// What was done to these names in one operation, if it was.
    pub(super) fn changed(&mut self, names: &[(&Node, &OsStr)], is_done: bool) {
        let mut changes: BTreeMap<u64, Names> = BTreeMap::new();
        for (parent, name) in names {
            let Some(before) = self.under_way.remove(&(parent.id(), (*name).to_owned())) else {
                continue;
            };
            if !is_done {
                continue;
            }
            if before.is_none() && names.len() == 1 {
                self.is_new(parent, name);
            }
            let change = changes.entry(parent.id()).or_insert_with(|| Names(Vec::new()));
            change.0.push(((*name).to_owned(), before));
        }
        for (folder, change) in changes {
            self.folders.entry(folder).or_default().push(change);
        }
    }

    /// A file that was just made has nothing on disk, whatever had its number before.
    fn is_new(&mut self, parent: &Node, name: &OsStr) {
        let Ok(stat) = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) else {
            return;
        };
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        // One with more names was linked and not made.
        if is_file && stat.st_nlink == 1 {
            let pages = BTreeMap::new();
            self.files.insert(stat.st_ino, Content { size: 0, pages });
        }
    }

    pub(super) fn names_synced(&mut self, folder: &Node) {
        self.folders.remove(&folder.id());
        self.let_go();
    }

    /// Of what is kept open, that which no change that can be undone gives a name again.
    fn let_go(&mut self) {
        let changes = self.folders.values().flatten();
        let needed: HashSet<u64> = changes
            .flat_map(|change| change.0.iter().filter_map(|(_, before)| *before))
            .chain(self.under_way.values().filter_map(|before| *before))
            .collect();
        self.held.retain(|id, _| needed.contains(id));
    }
}

fn size_of(node: &Node) -> Result<u64, Errno> {
    Ok(u64::try_from(node.stat()?.st_size).unwrap_or(0))
}

fn read_page(file: &OwnedFd, page: u64) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; usize::try_from(PAGE).unwrap_or(0)];
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::io::pread(file, &mut bytes[filled..], page * PAGE + filled as u64)? {
            0 => break,
            more => filled += more,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
