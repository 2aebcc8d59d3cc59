//! When a file or directory was made, and by that which one it is, for a process that comes later.
//!
//! A file system gives the number of what was removed to the next thing that is made; nothing but the moment of its making tells the two
//! apart, and not every file system keeps that. Used by `identity` and by what restores have begun (`unfinished`).

use std::os::fd::AsFd;

use outlast_kit::calls::{fstat, statat, statx};
use rustix::fs::{AtFlags, Stat, StatxFlags};
use rustix::io::Errno;

/// When something was made, in seconds and nanoseconds. Nothing changes it, and no two things of one number have the same.
pub(crate) type Birth = (i64, u32);

/// Which one of all that ever had its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// None: the file system does not tell, or it was not asked.
    pub(crate) born: Option<Birth>,
}

/// Whether two are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sameness {
    Same,
    /// They have one number, and nothing else is known.
    OfOneNumber,
    /// The devices differ, whose numbers may be others after each start of a host, and nothing else is known.
    NotKnown,
    Other,
}

impl Identity {
    /// Of the entry `name` of `folder`, with what there is to be seen of it.
    pub(crate) fn of_entry(folder: impl AsFd, name: &[u8]) -> Result<(Self, Stat), Errno> {
        let stat = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let born = birth(folder, name, AtFlags::SYMLINK_NOFOLLOW, &stat);
        Ok((Self::new(&stat, born), stat))
    }

    /// The same of something open.
    pub(crate) fn of_open(open: impl AsFd) -> Result<(Self, Stat), Errno> {
        let stat = fstat(&open)?;
        let born = birth(open, b"", AtFlags::EMPTY_PATH, &stat);
        Ok((Self::new(&stat, born), stat))
    }

    fn new(stat: &Stat, born: Option<Birth>) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            born,
        }
    }

    pub(crate) fn compare(&self, other: &Self) -> Sameness {
        let is_number = self.inode == other.inode;
        match (self.born, other.born) {
            (Some(one), Some(other)) if is_number && one == other => Sameness::Same,
            (Some(_), Some(_)) => Sameness::Other,
            _ if self.device != other.device => Sameness::NotKnown,
            _ if is_number => Sameness::OfOneNumber,
            _ => Sameness::Other,
        }
    }
}

/// When that was made of which `stat` is known.
pub(super) fn birth(at: impl AsFd, name: &[u8], flags: AtFlags, stat: &Stat) -> Option<Birth> {
    let found = statx(at, name, flags, StatxFlags::BTIME | StatxFlags::INO).ok()?;
    let is_known = found.stx_mask & StatxFlags::BTIME.bits() != 0;
    // Something else may have taken the name since.
    (is_known && found.stx_ino == stat.st_ino).then_some((found.stx_btime.tv_sec, found.stx_btime.tv_nsec))
}

#[cfg(test)]
mod tests {
    use super::{Identity, Sameness};

    #[test]
    fn t90_a_number_that_is_given_out_again_is_no_identity() {
        let of = |(device, inode, born)| Identity { device, inode, born };
        let (one, next) = (Some((5, 7)), Some((5, 8)));
        for (first, second, sameness) in [
            ((1, 2, one), (1, 2, one), Sameness::Same),
            ((1, 2, one), (9, 2, one), Sameness::Same),
            ((1, 2, one), (1, 2, next), Sameness::Other),
            ((1, 2, one), (9, 2, next), Sameness::Other),
            ((1, 2, one), (1, 3, one), Sameness::Other),
            ((1, 2, one), (1, 2, None), Sameness::OfOneNumber),
            ((1, 2, None), (1, 2, one), Sameness::OfOneNumber),
            ((1, 2, None), (1, 3, None), Sameness::Other),
            ((1, 2, None), (9, 2, None), Sameness::NotKnown),
            ((1, 2, None), (9, 3, one), Sameness::NotKnown),
        ] {
            assert_eq!(of(first).compare(&of(second)), sameness, "{first:?} {second:?}");
        }
    }
}
