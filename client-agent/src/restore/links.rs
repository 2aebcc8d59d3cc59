//! The further names of nodes: links where they can be made, else copies of what this restore has made itself (S-14e).
//!
//! A copy is a first name too: links go on from it where they can be made. Content is copied only from an inode that is still as it was
//! restored; of a first name that could not be given its name, the complete file waits under its temporary one.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use outlast_proto::v1::{Node, NodeType};
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, SeekFrom, Stat, chmodat, fstat, linkat, openat, seek, statat, unlinkat,
};
use rustix::io::{Errno, pread};

use super::content::{PieceBuffer, Writing};
use super::names::OneFile;
use super::pulse::Pulse;
use crate::attempt::Ends;
use crate::host::beneath::Beneath;
use crate::host::open::open_to_read;
use crate::host::paths::by_descriptor;

/// Read at once.
const PIECE: usize = 1 << 20;
/// Inodes of one node that links are tried from: one for each file system, and where one has as many names as it can, the next.
const MOST_PLACES: usize = 8;

/// Where an inode of ours lies.
#[derive(Clone)]
pub(super) struct Place {
    folder: Arc<[u8]>,
    name: Vec<u8>,
    there: Stat,
    /// Under a temporary name, which goes when the restore ends.
    is_temporary: bool,
}

/// What became of a further name.
pub(super) enum Linked {
    /// It is a link under its temporary name; to this inode.
    Link(Stat),
    /// No link can be made: this is what to copy.
    CopyOf(Place, Errno),
}

/// The nodes with several names.
#[derive(Default)]
pub(super) struct Links(HashMap<OneFile, Vec<Place>>);

impl Place {
    pub(super) fn new(folder: &Arc<[u8]>, name: &[u8], there: Stat) -> Self {
        Self {
            folder: Arc::clone(folder),
            name: name.to_vec(),
            there,
            is_temporary: false,
        }
    }

    /// One that could not get its name.
    pub(super) fn temporary(folder: &Arc<[u8]>, name: &[u8], there: Stat) -> Self {
        Self {
            is_temporary: true,
            ..Self::new(folder, name, there)
        }
    }
}

impl Links {
    /// An inode of `node` is there.
    pub(super) fn add(&mut self, node: &Node, place: Place) {
        let places = self.0.entry(OneFile::of(node)).or_default();
        if places.len() == MOST_PLACES {
            places.remove(0);
        }
        places.push(place);
    }

    /// Makes a link to an inode of `node`; `None` if there is none. The newest is tried first.
    pub(super) fn link(
        &self,
        node: &Node,
        beneath: &mut Beneath,
        folder: &OwnedFd,
        temporary: &[u8],
    ) -> Result<Option<Linked>, Errno> {
        let Some(places) = self.0.get(&OneFile::of(node)) else {
            return Ok(None);
        };
        let mut cause = None;
        for place in places.iter().rev() {
            let linked = beneath.folder(&place.folder).and_then(|first| {
                linkat(&first, place.name.as_slice(), folder, temporary, AtFlags::empty())?;
                statat(folder, temporary, AtFlags::SYMLINK_NOFOLLOW)
            });
            match linked {
                Ok(made) if is_same(&made, &place.there) => return Ok(Some(Linked::Link(made))),
                // Somebody has put something else in its place.
                Ok(_) => unlinkat(folder, temporary, AtFlags::empty())?,
                Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::NAMETOOLONG)) => return Err(error),
                Err(error) => cause = Some(error),
            }
        }
        let first = places.last().cloned();
        Ok(first.map(|place| Linked::CopyOf(place, cause.unwrap_or(Errno::NOENT))))
    }

    /// Removes what waits under temporary names.
    pub(super) fn close(&mut self, beneath: &mut Beneath) {
        for place in std::mem::take(&mut self.0).into_values().flatten() {
            if place.is_temporary
                && let Ok(folder) = beneath.folder(&place.folder)
            {
                // Without success it stays under a name that says whose it is.
                let _ = unlinkat(&folder, place.name.as_slice(), AtFlags::empty());
            }
        }
    }
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
    let from = open_own(&folder, &place.name)?;
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
