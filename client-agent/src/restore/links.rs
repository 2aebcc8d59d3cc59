//! The further names of nodes: links where they can be made, else copies of what this restore has made itself (S-14e).
//!
//! A copy is a first name too: links go on from it where they can be made. Content is copied only from an inode that is still as it was
//! restored; of a first name that could not be given its name, the complete file waits under its temporary one. What is there and stays is
//! a first name as well, if it is equal in all that names of one file share. What is done about it: `linking`.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use outlast_kit::calls::{chmodat, fstat, linkat, openat, statat, unlinkat};
use outlast_proto::v1::{Node, NodeType};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, SeekFrom, Stat, seek};
use rustix::io::{Errno, pread};

use super::content::{PieceBuffer, Writing};
use super::metadata;
use super::names::OneFile;
use super::pulse::Pulse;
use crate::attempt::Ends;
use crate::host::beneath::Beneath;
use crate::host::open::open_to_read;
use crate::host::paths::{by_descriptor, join};

/// Read at once.
const PIECE: usize = 1 << 20;
/// Inodes of one node that links are tried from: one for each file system, and where one has as many names as it can, the next.
const MOST_PLACES: usize = 8;

/// Names of ours that are kept in mind beside the first ones, for all nodes: about 100 MiB.
const MOST_NAMES: usize = 1_000_000;

/// Where an inode of a node lies.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) folder: Arc<[u8]>,
    pub(super) name: Vec<u8>,
    pub(super) there: Stat,
    whose: Whose,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// Made by this restore.
    Ours,
    /// As `Ours`, under a temporary name, which goes when the restore ends.
    Temporary,
    /// It was there, and stays.
    Kept,
}

/// What became of a further name.
pub(super) enum Linked {
    /// It is a link under its temporary name; to this inode.
    Link(Stat),
    /// No link can be made: this is what to copy.
    CopyOf(Place, Errno),
}

/// What one that stays is among the names of its node.
pub(super) enum Kept {
    /// The first, or a link of the first.
    Alone,
    /// Another one that stays is a file of its own.
    BesideOther(Place),
    /// This restore has made names before.
    BesideOurs,
}

/// One that stays, is equal, and can be nobody's other name since it is not quite what is restored.
pub(super) struct Apart {
    /// Below `TO`.
    pub(super) path: Vec<u8>,
    pub(super) there: Stat,
    /// What it has.
    pub(super) why: &'static str,
}

/// The nodes with several names.
#[derive(Default)]
pub(super) struct Links {
    groups: HashMap<OneFile, Group>,
    /// Inodes with several names that stay: as which file, and where.
    kept: HashMap<(u64, u64), (OneFile, Vec<u8>)>,
    names: usize,
}

/// Directories and names in them.
type Names = Vec<(Arc<[u8]>, Vec<u8>)>;

/// What there is of one node's file.
#[derive(Default)]
struct Group {
    places: Vec<Place>,
    /// Further names that this restore has made.
    names: Names,
    /// Some were too many.
    lacks_names: bool,
    apart: Option<Apart>,
}

impl Place {
    pub(super) fn new(folder: &Arc<[u8]>, name: &[u8], there: Stat) -> Self {
        Self {
            folder: Arc::clone(folder),
            name: name.to_vec(),
            there,
            whose: Whose::Ours,
        }
    }

    /// One that could not get its name.
    pub(super) fn temporary(folder: &Arc<[u8]>, name: &[u8], there: Stat) -> Self {
        Self {
            whose: Whose::Temporary,
            ..Self::new(folder, name, there)
        }
    }

    /// One that was there, and stays.
    pub(super) fn kept(folder: &Arc<[u8]>, name: &[u8], there: Stat) -> Self {
        Self {
            whose: Whose::Kept,
            ..Self::new(folder, name, there)
        }
    }

    pub(super) fn path(&self) -> Vec<u8> {
        join(&self.folder, &self.name)
    }
}

impl Links {
    /// An inode of `node` is there.
    pub(super) fn add(&mut self, node: &Node, place: Place) {
        let group = self.groups.entry(OneFile::of(node)).or_default();
        if group.places.len() == MOST_PLACES {
            let first = group.places.remove(0);
            if first.whose == Whose::Ours {
                group.names.push((first.folder, first.name));
            }
        }
        group.places.push(place);
    }

    /// A further name of `node` was made.
    pub(super) fn further(&mut self, node: &Node, folder: &Arc<[u8]>) {
        let Some(group) = self.groups.get_mut(&OneFile::of(node)) else {
            return;
        };
        if group.places.iter().any(|place| place.whose == Whose::Kept) {
            return;
        }
        if self.names < MOST_NAMES {
            self.names += 1;
            group.names.push((Arc::clone(folder), node.name.to_vec()));
        } else {
            group.lacks_names = true;
        }
    }

    /// One that stays is one of the names of `node`.
    pub(super) fn keep(&mut self, node: &Node, place: Place) -> Kept {
        let group = self.groups.entry(OneFile::of(node)).or_default();
        let is_it = |other: &Place| is_one(&other.there, &place.there);
        let kept = match group.places.iter().find(|other| other.whose == Whose::Kept) {
            _ if group.places.iter().any(is_it) => return Kept::Alone,
            Some(other) => Kept::BesideOther(other.clone()),
            None if group.places.is_empty() => Kept::Alone,
            None => Kept::BesideOurs,
        };
        self.add(node, place);
        kept
    }

    /// Whether one that stays is a name of `node` already.
    pub(super) fn has_kept(&self, node: &Node) -> bool {
        let group = self.groups.get(&OneFile::of(node));
        group.is_some_and(|group| group.places.iter().any(|place| place.whose == Whose::Kept))
    }

    /// One that stays is no name of `node`, though it stands for one; true if there are others.
    pub(super) fn set_apart(&mut self, node: &Node, apart: Apart) -> bool {
        let group = self.groups.entry(OneFile::of(node)).or_default();
        let is_beside_others = match &group.apart {
            Some(other) => !is_one(&other.there, &apart.there),
            None => !group.places.is_empty(),
        };
        if !is_beside_others && group.apart.is_none() {
            group.apart = Some(apart);
        }
        is_beside_others
    }

    /// The one that was set apart before there was any other name of `node`. Said once.
    pub(super) fn take_apart(&mut self, node: &Node) -> Option<Apart> {
        self.groups.get_mut(&OneFile::of(node))?.apart.take()
    }

    /// The names of `node` that this restore has made, and their inodes; none if there were too many.
    pub(super) fn take_ours(&mut self, node: &Node) -> Option<(Names, Vec<Stat>)> {
        let group = self.groups.get_mut(&OneFile::of(node))?;
        if group.lacks_names {
            return None;
        }
        let names = std::mem::take(&mut group.names);
        self.names = self.names.saturating_sub(names.len());
        let ours = group.places.iter().filter(|place| place.whose == Whose::Ours);
        let first = ours
            .clone()
            .map(|place| (Arc::clone(&place.folder), place.name.clone()));
        let inodes = ours.map(|place| place.there).collect();
        Some((first.chain(names).collect(), inodes))
    }

    /// As which other file an inode with several names counts already, by its path.
    pub(super) fn claim(&mut self, node: &Node, path: &[u8], there: &Stat) -> Option<&[u8]> {
        if there.st_nlink < 2 || self.kept.len() >= MOST_NAMES {
            return None;
        }
        let file = OneFile::of(node);
        let claim = self.kept.entry((there.st_dev, there.st_ino));
        let (other, path) = claim.or_insert_with(|| (file, path.to_vec()));
        (*other != file).then_some(path.as_slice())
    }

    /// Makes a link to an inode of `node`; `None` if there is none. The newest is tried first.
    pub(super) fn link(
        &self,
        node: &Node,
        beneath: &mut Beneath,
        folder: &OwnedFd,
        temporary: &[u8],
    ) -> Result<Option<Linked>, Errno> {
        let Some(group) = self.groups.get(&OneFile::of(node)) else {
            return Ok(None);
        };
        let mut cause = None;
        for place in group.places.iter().rev() {
            match link_to(place, beneath, folder, temporary) {
                Ok(made) => return Ok(Some(Linked::Link(made))),
                Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::NAMETOOLONG)) => return Err(error),
                // Somebody has put something else in its place.
                Err(Errno::STALE) => {}
                Err(error) => cause = Some(error),
            }
        }
        let first = group.places.last().cloned();
        Ok(first.map(|place| Linked::CopyOf(place, cause.unwrap_or(Errno::NOENT))))
    }

    /// Removes what waits under temporary names.
    pub(super) fn close(&mut self, beneath: &mut Beneath) {
        let groups = std::mem::take(&mut self.groups).into_values();
        for place in groups.flat_map(|group| group.places) {
            if place.whose == Whose::Temporary
                && let Ok(folder) = beneath.folder(&place.folder)
            {
                // Without success it stays under a name that says whose it is.
                let remove = || unlinkat(&folder, place.name.as_slice(), AtFlags::empty());
                let _ = metadata::keeping_time(&folder, remove);
            }
        }
    }
}

/// Makes a link to what lies at `place`, if that is still what it was.
pub(super) fn link_to(
    place: &Place,
    beneath: &mut Beneath,
    folder: &OwnedFd,
    temporary: &[u8],
) -> Result<Stat, Errno> {
    let first = beneath.folder(&place.folder)?;
    linkat(&first, place.name.as_slice(), folder, temporary, AtFlags::empty())?;
    let made = statat(folder, temporary, AtFlags::SYMLINK_NOFOLLOW)?;
    if is_same(&made, &place.there) {
        return Ok(made);
    }
    unlinkat(folder, temporary, AtFlags::empty())?;
    Err(Errno::STALE)
}

/// Whether an error says that no link can be made there, so that a copy is right.
pub(super) fn is_no_link(error: Errno) -> bool {
    matches!(
        error,
        Errno::XDEV | Errno::PERM | Errno::MLINK | Errno::OPNOTSUPP | Errno::NOSYS
    )
}

/// Copies the content at `place` to `writing`; holes stay holes where the node has some.
pub(super) fn copy(
    place: &Place,
    node: &Node,
    beneath: &mut Beneath,
    (writing, spare): (&mut Writing, &mut PieceBuffer),
    (ends, pulse): (&Ends, &Pulse),
) -> Result<(), Errno> {
    debug_assert_eq!(node.r#type(), NodeType::File);
    let folder = beneath.folder(&place.folder)?;
    let from = match place.whose {
        Whose::Kept => open_to_read(&folder, &place.name, OFlags::empty())?,
        Whose::Ours | Whose::Temporary => open_own(&folder, &place.name)?,
    };
    let there = fstat(&from)?;
    if !is_same(&there, &place.there) || there.st_size != place.there.st_size {
        return Err(Errno::STALE);
    }
    let size = there.st_size.unsigned_abs();
    writing.expect(size, node.has_holes, spare);
    let mut piece = vec![0; PIECE];
    loop {
        if ends.work_has_ended() {
            return Err(Errno::CANCELED);
        }
        pulse.steps();
        let position = writing.position();
        let is_beyond = position >= size;
        match seek(&from, SeekFrom::Data(position)) {
            Ok(data) if data > position && !is_beyond => {
                writing.write_zeros(data.min(size) - position)?;
            }
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) if !is_beyond => writing.write_zeros(size - position)?,
            // Data; or nobody knows. There may be more than the file is said to have.
            Ok(_) | Err(_) => match pread(&from, &mut piece, position)? {
                0 if is_beyond => break,
                0 => return Err(Errno::STALE),
                length if position + length as u64 > size.max(node.size) => return Err(Errno::STALE),
                length => writing.write(&piece[..length])?,
            },
        }
    }
    // Somebody may have written to it meanwhile.
    if !is_same(&fstat(&from)?, &place.there) {
        return Err(Errno::STALE);
    }
    Ok(())
}

/// Whether both are one inode.
pub(super) fn is_one(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// Whether an inode is the one we left, and nobody has written to it.
fn is_same(there: &Stat, ours: &Stat) -> bool {
    let fields = |stat: &Stat| {
        (
            stat.st_dev,
            stat.st_ino,
            stat.st_size,
            stat.st_mtime,
            stat.st_mtime_nsec,
        )
    };
    fields(there) == fields(ours)
}

/// Opens a file of our own for reading, also if its mode keeps us out.
fn open_own(folder: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let open = || open_to_read(folder, name, OFlags::empty());
    let opened = open();
    if !matches!(opened, Err(Errno::ACCESS)) {
        return opened;
    }
    let path_only = openat(
        folder,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let (itself, mode) = (by_descriptor(&path_only), fstat(&path_only)?.st_mode & 0o7777);
    chmodat(CWD, itself.as_str(), Mode::RUSR, AtFlags::empty())?;
    let opened = open();
    chmodat(CWD, itself.as_str(), Mode::from_raw_mode(mode), AtFlags::empty())?;
    opened
}
