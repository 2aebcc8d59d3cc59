//! The walk of one item: pre-order, entries sorted by the bytes of their names, links never followed.
//!
//! Runs in a blocking thread. What cannot be read is an exception and the walk goes on. Mount points are entered, except
//! those of file systems that only look like files (/proc, /sys, ...): their directory is kept, their content left out.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use outlast_kit::calls::{readlinkat, statat};
use outlast_kit::data_folder::{self, user_above, user_of};
use outlast_patterns::Patterns;
use outlast_proto::v1::{Node, NodeType};
use outlast_proto::words::limits::{MOST_FILE, MOST_LEVELS, MOST_LISTED, MOST_PATH};
use rustix::fs::{AtFlags, Stat};
use rustix::io::Errno;

use super::budget::Stopping;
use super::exception::exception;
use super::health::{Health, Who};
use super::mounts::{is_hidden, is_pseudo, is_pseudo_root};
use super::names::{Buffer, Cut, Listed, MOST_NAMES, Names, Next};
use super::repository::OwnRepository;
use super::root::Root;
use super::sink::{LeftOut, Met, Sink};
use super::sizes::Sizes;
use crate::host::beneath::{Beneath, open_folder};
use crate::host::identity;
use crate::host::node::{Seen, kind, node};
use crate::host::owners::Owners;
use crate::host::paths::{is_entry_name, join, shown};
use crate::host::xattrs;
use crate::places::Place;

const OWN: &str = "is left out: it is the repository that this backup is stored in, or in it; a line in \"exclude\" leaves it out silently";
const HIDDEN: &str =
    "is hidden by a mount of mode 0000 over it; what is there is not seen and not in the backup";

/// What is said of a file system that only looks like files.
pub(super) const NO_FILES: &str = "is a view into the kernel and no files: only the directory itself is kept";
/// Of a folder that a daemon works with.
fn in_use(whom: &str) -> String {
    format!(
        "is left out: it is the data folder of the {whom} that runs on this host, and a copy of it would be of no use; a line in \"exclude\" leaves it out silently"
    )
}

/// Directories above the current one that stay open; those further up are opened again when the walk returns to them.
const OPEN_LEVELS: usize = 64;

/// One item's walk.
pub(super) struct Walk<'a> {
    root: &'a Root,
    exclude: &'a Patterns,
    own: Option<OwnRepository>,
    health: &'a Health,
    owners: &'a Owners,
    place: Place,
    out: &'a mut dyn Sink,
    beneath: Beneath,
    levels: Vec<Level>,
    buffer: Buffer,
    /// By the patterns; a directory counts as one, whatever is below it.
    excluded: u64,
    /// Of the device on which a file without length was met last.
    sizes: Option<(u64, Sizes)>,
}

/// A directory that was entered and not left.
struct Level {
    path: Arc<[u8]>,
    folder: Option<Arc<OwnedFd>>,
    device: u64,
    names: Names,
    /// It is known to be none that a backup must not hold.
    is_allowed: bool,
    /// Somebody was told that names may be missing.
    is_told: bool,
    /// Its list had no end: names in it may lead nowhere.
    is_endless: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        exclude: &'a Patterns,
        (health, owners, place): (&'a Health, &'a Owners, Place),
        root: &'a Root,
        out: &'a mut dyn Sink,
    ) -> Self {
        Self {
            root,
            exclude,
            own: None,
            health,
            owners,
            place,
            out,
            beneath: Beneath::new(Arc::clone(&root.base)),
            levels: Vec::new(),
            buffer: Buffer::default(),
            excluded: 0,
            sizes: None,
        }
    }

    /// The repository to leave out.
    pub(super) fn stored_in(mut self, own: Option<OwnRepository>) -> Self {
        self.own = own;
        self
    }

    /// Walks everything and flushes the last batch; how many files and directories the patterns have left out.
    pub(super) fn run(mut self) -> Result<u64, Stopping> {
        let root = self.root;
        if root.is_folder {
            let found = xattrs::of_open(&root.base);
            let root_node = self.described(b"", &root.name, &root.stat, found)?;
            self.out().enter(root_node)?;
            match self.closed_root() {
                Some(reason) => {
                    self.exception_text(b"", reason)?;
                    self.out().leave()?;
                }
                None => self.push(Arc::from(&b""[..]), Arc::clone(&root.base), &root.stat, true),
            }
        } else {
            let empty: Arc<[u8]> = Arc::from(&b""[..]);
            self.entry(&empty, &root.base, root.entry.clone(), &root.stat)?;
        }
        while let Some(level) = self.levels.last_mut() {
            // Not every name leads to the sink, which would say so.
            if self.health.is_over() {
                return Err(Stopping);
            }
            match level.names.next() {
                Next::Name { name, is_repeated } => self.visit(name, is_repeated)?,
                Next::List => self.list()?,
                Next::End => {
                    self.levels.pop();
                    self.out().leave()?;
                }
            }
        }
        self.out().flush()?;
        Ok(self.excluded)
    }

    /// Why nothing below the item is to be had, if that is so.
    fn closed_root(&self) -> Option<String> {
        let root = self.root;
        if self.own.as_ref().is_some_and(|own| own.holds(&root.real_path)) {
            return Some(OWN.to_owned());
        }
        if let Some(whom) = user_above(&root.real_path) {
            return Some(in_use(&whom));
        }
        if is_pseudo_root(&root.base, &root.stat) {
            return Some(NO_FILES.to_owned());
        }
        is_hidden(&root.base, b"", &root.stat).then(|| HIDDEN.to_owned())
    }

    /// Looks at one name of the directory entered last.
    fn visit(&mut self, name: Vec<u8>, is_repeated: bool) -> Result<(), Stopping> {
        let Some((path, device)) = self
            .levels
            .last()
            .map(|level| (Arc::clone(&level.path), level.device))
        else {
            return Ok(());
        };
        let relative = join(&path, &name);
        if is_repeated && !self.levels.last().is_some_and(|level| level.is_endless) {
            let reason = "its directory lists this name more than once; what the name leads to is kept, once";
            self.exception_text(&relative, reason.to_owned())?;
        }
        if !is_entry_name(&name) {
            return self.exception_text(&relative, "its directory lists what can be no name".to_owned());
        }
        self.at("stat", &relative);
        let folder = match self.current_folder()? {
            Ok(folder) => folder,
            Err(error) => return self.exception(&relative, "its directory cannot be opened again", error),
        };
        let stat = match statat(&*folder, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                self.health.works(Who::Walk);
                stat
            }
            Err(Errno::NOENT) if self.levels.last().is_some_and(|level| level.is_endless) => return Ok(()),
            Err(Errno::NOENT) => {
                return self.exception_text(&relative, "vanished during the backup".to_owned());
            }
            Err(error) => return self.exception(&relative, "cannot be examined", error),
        };
        let is_folder = kind(&stat) == NodeType::Directory;
        if self.exclude.leaves_out(&relative, is_folder) {
            self.excluded += 1;
            let why = LeftOut::Excluded(self.exclude);
            return self.out().left_out(&relative, kind(&stat), why);
        }
        if is_folder {
            self.folder(relative, &folder, &name, &stat, device)
        } else {
            self.entry(&path, &folder, name, &stat)
        }
    }

    /// Enters a directory; leaves it at once if there is nothing to be had in it.
    fn folder(
        &mut self,
        relative: Vec<u8>,
        parent: &OwnedFd,
        name: &[u8],
        stat: &Stat,
        parent_device: u64,
    ) -> Result<(), Stopping> {
        if self.levels.len() >= MOST_LEVELS {
            let reason =
                format!("more than {MOST_LEVELS} directories deep; it is left out with all below it");
            return self.exception_text(&relative, reason);
        }
        if self.root.base_path.len() + 1 + relative.len() > MOST_PATH {
            let reason =
                format!("its path is longer than {MOST_PATH} bytes; it is left out with all below it");
            return self.exception_text(&relative, reason);
        }
        let found = xattrs::of_entry(parent, name);
        let described = self.described(&relative, name, stat, found)?;
        self.out().enter(described)?;
        self.at("open", &relative);
        match self.health.patiently(|| open_folder(parent, name))? {
            Ok(folder) if stat.st_dev != parent_device && is_pseudo(&folder) => {
                tracing::info!(path = %self.shown(&relative), "content of a pseudo file system is left out");
                let out = self.out();
                out.left_out(&relative, NodeType::Directory, LeftOut::NoFiles)?;
                out.leave()
            }
            Ok(_) if is_hidden(parent, name, stat) => {
                self.exception_text(&relative, HIDDEN.to_owned())?;
                self.out().leave()
            }
            Ok(folder) => {
                self.push(relative.into(), Arc::new(folder), stat, false);
                Ok(())
            }
            Err(error) => {
                self.exception(&relative, "the directory cannot be read", error)?;
                self.out().leave()
            }
        }
    }

    /// Anything but a directory.
    fn entry(
        &mut self,
        path: &Arc<[u8]>,
        folder: &OwnedFd,
        name: Vec<u8>,
        stat: &Stat,
    ) -> Result<(), Stopping> {
        let relative = join(path, &name);
        if is_hidden(folder, &name, stat) {
            return self.exception_text(&relative, HIDDEN.to_owned());
        }
        if kind(stat) == NodeType::File && Seen::of(stat).size > MOST_FILE {
            let reason = format!("it is left out: it is longer than {} TiB", MOST_FILE >> 40);
            return self.exception_text(&relative, reason);
        }
        let found = xattrs::of_entry(folder, &name);
        let mut described = self.described(&relative, &name, stat, found)?;
        described.device_id = identity::device_id_of_entry(folder, &name, stat);
        if self.levels.is_empty() {
            // The item itself is called what the policy calls it, also where a link led to it.
            described.name = self.root.name.clone().into();
        }
        match kind(stat) {
            NodeType::Unspecified => self.exception_text(&relative, "is of an unknown type".to_owned()),
            NodeType::Symlink => match readlinkat(folder, name.as_slice(), Vec::new()) {
                Ok(target) => {
                    described.link_target = target.into_bytes().into();
                    self.out().other(described)
                }
                Err(error) => self.exception(&relative, "the link cannot be read", error),
            },
            NodeType::File if described.size > 0 || self.may_have_content(folder, stat) => {
                self.out().file(Met {
                    node: described,
                    folder,
                    folder_path: path,
                    name,
                    seen: Seen::of(stat),
                })
            }
            _ => self.out().other(described),
        }
    }

    /// Whether a file that is said to be empty has to be read to know it.
    fn may_have_content(&mut self, folder: &OwnedFd, stat: &Stat) -> bool {
        // A file that is an item, or mounted by itself: there are few.
        let Some(level) = self.levels.last().filter(|level| level.device == stat.st_dev) else {
            return true;
        };
        let known = self.sizes.filter(|(device, _)| *device == level.device);
        let (_, sizes) = known.unwrap_or_else(|| (level.device, Sizes::of(folder)));
        self.sizes = Some((level.device, sizes));
        sizes != Sizes::Known
    }

    fn described(
        &mut self,
        relative: &[u8],
        name: &[u8],
        stat: &Stat,
        found: Result<xattrs::Found, Errno>,
    ) -> Result<Node, Stopping> {
        let mut described = node(name, stat, self.owners);
        match found {
            Ok(xattrs::Found { attributes, left_out }) => {
                described.xattrs = attributes;
                if let Some(left_out) = left_out {
                    self.exception_text(relative, format!("extended attributes are left out: {left_out}"))?;
                }
            }
            // Gone between stat and now: whoever reads it next will say so.
            Err(Errno::NOENT) => {}
            Err(error) => self.exception(relative, "its extended attributes cannot be read", error)?,
        }
        Ok(described)
    }

    fn push(&mut self, path: Arc<[u8]>, folder: Arc<OwnedFd>, stat: &Stat, is_allowed: bool) {
        if let Some(far) = self.levels.len().checked_sub(OPEN_LEVELS) {
            self.levels[far].folder = None;
        }
        self.levels.push(Level {
            path,
            folder: Some(folder),
            device: stat.st_dev,
            names: Names::of(*stat),
            is_allowed,
            is_told: false,
            is_endless: false,
        });
    }

    /// Lists the directory entered last, or what follows of it; leaves it if it is one that a backup must not hold.
    fn list(&mut self) -> Result<(), Stopping> {
        let folder = self.current_folder()?;
        if let Some(path) = self.levels.last().map(|level| Arc::clone(&level.path)) {
            self.at("list the directory", &path);
        }
        let Some(level) = self.levels.last_mut() else {
            return Ok(());
        };
        let path = Arc::clone(&level.path);
        let folder = match folder {
            Ok(folder) => folder,
            Err(error) => {
                level.names.close();
                return self.exception(&path, "the directory cannot be opened again", error);
            }
        };
        let (place, health) = (&self.place, self.health);
        let mut goes_on = || {
            place.again();
            !health.is_over()
        };
        let listed = level.names.list(&folder, &mut self.buffer, &mut goes_on);
        if !std::mem::replace(&mut level.is_allowed, true)
            && let Some(reason) = left_out(self.own.as_ref(), &folder, (&level.names, &listed))
        {
            self.levels.pop();
            self.exception_text(&path, reason)?;
            return self.out().leave();
        }
        self.listed(&path, listed)?;
        self.fold_names();
        Ok(())
    }

    /// Says what names may be missing of the directory entered last.
    fn listed(&mut self, path: &[u8], listed: Listed) -> Result<(), Stopping> {
        let Some(level) = self.levels.last_mut() else {
            return Ok(());
        };
        let is_news = listed.is_unsteady && !level.is_told;
        level.is_told |= is_news;
        level.is_endless = matches!(listed.cut, Some(Cut::Long | Cut::Circle));
        match listed.cut {
            None => {}
            Some(Cut::Stop) => return Err(Stopping),
            Some(Cut::Error(error)) if self.levels.len() == 1 => {
                return Err(self.health.root_failed("it cannot be listed to its end", error));
            }
            Some(Cut::Error(error)) => {
                self.exception(path, "the directory cannot be listed to its end", error)?;
            }
            Some(Cut::Long) => {
                let reason = format!(
                    "the directory is not listed to its end: it lists more than {MOST_LISTED} names; many are missing"
                );
                self.exception_text(path, reason)?;
            }
            Some(Cut::Circle) => {
                let reason = "the directory is not listed to its end: it lists the same names again and again; names in it may be missing";
                self.exception_text(path, reason.to_owned())?;
            }
        }
        if is_news {
            let reason = "the directory changed each time it was listed; names in it may be missing";
            self.exception_text(path, reason.to_owned())?;
        }
        Ok(())
    }

    /// Lets go of the names of the outer directories, when all names take much.
    fn fold_names(&mut self) {
        let mut all: usize = self.levels.iter().map(|level| level.names.memory()).sum();
        let Some((_, outer)) = self.levels.split_last_mut() else {
            return;
        };
        for level in outer {
            if all <= MOST_NAMES {
                return;
            }
            all -= level.names.memory();
            level.names.fold();
        }
    }

    fn current_folder(&mut self) -> Result<Result<Arc<OwnedFd>, Errno>, Stopping> {
        let Some(level) = self.levels.last_mut() else {
            return Ok(Err(Errno::NOENT));
        };
        if let Some(folder) = &level.folder {
            return Ok(Ok(Arc::clone(folder)));
        }
        let opened = self.health.patiently(|| self.beneath.folder(&level.path))?;
        level.folder = opened.as_ref().ok().map(Arc::clone);
        Ok(opened)
    }

    /// A call is made that may not return.
    fn at(&self, doing: &'static str, relative: &[u8]) {
        self.place.at(doing, &join(&self.root.base_path, relative));
    }

    /// Where entries go, which may have to wait; but not for the file system.
    fn out(&mut self) -> &mut dyn Sink {
        self.place.rest();
        self.out
    }

    fn exception(&mut self, relative: &[u8], what: &str, error: Errno) -> Result<(), Stopping> {
        self.health.met(Who::Walk, error)?;
        self.exception_text(relative, format!("{what}: {}", std::io::Error::from(error)))
    }

    fn exception_text(&mut self, relative: &[u8], reason: String) -> Result<(), Stopping> {
        let path = join(&self.root.base_path, relative);
        self.out().exception(exception(&path, reason))
    }

    fn shown(&self, relative: &[u8]) -> String {
        shown(&join(&self.root.base_path, relative))
    }
}

/// Why nothing is taken of this directory, if it is what a backup must not hold: most are not looked at, by their names.
fn left_out(
    own: Option<&OwnRepository>,
    folder: &OwnedFd,
    (names, listed): (&Names, &Listed),
) -> Option<String> {
    let may_have = |name: &str| listed.cut.is_some() || names.may_have(name.as_bytes());
    if may_have(OwnRepository::FILE) && own.is_some_and(|own| own.is_at(folder)) {
        return Some(OWN.to_owned());
    }
    if may_have(data_folder::LOCK) {
        user_of(folder).map(|whom| in_use(&whom))
    } else {
        None
    }
}
