//! Stamps that whoever made an image of a file system gave its files: they tell nothing of another image in the same place.
//!
//! A kernel stamps what it changes with its own clock. Makers of images (`mksquashfs`, `mkisofs`, `mkfs.ext4 -d`) write what they are
//! told, and reproducible ones write the same number into each file of each image. Used by the readers of a backup.

use std::os::fd::AsFd;

use outlast_kit::calls::{fstatfs, fstatvfs};
use rustix::fs::{Stat, StatVfsMountFlags};

/// File systems that only exist as images: squashfs, ISO 9660, EROFS, cramfs in both orders of bytes, romfs.
const IMAGES: [u64; 6] = [0x7371_7368, 0x9660, 0xe0f5_e1e2, 0x28cd_3d45, 0x453d_cd28, 0x7275];

/// Whether a file that was changed could have the stamps that this one has, however long ago they lie: those of an image, and
/// those without parts of seconds on a file system that nobody writes to.
///
/// What is mounted for writing is believed: its kernel stamps each change, and file systems without parts of seconds have no others.
pub(crate) fn may_be_given(stat: &Stat, file: impl AsFd) -> bool {
    let in_whole_seconds = stat.st_ctime_nsec == 0 && stat.st_mtime_nsec == 0;
    in_whole_seconds && (is_of_image(&file) || is_read_only(&file))
}

fn is_of_image(file: impl AsFd) -> bool {
    // The kernel's numbers have 32 bits; the word that carries them is signed on some machines.
    fstatfs(file).is_ok_and(|found| IMAGES.contains(&(found.f_type as u64 & 0xffff_ffff)))
}

fn is_read_only(file: impl AsFd) -> bool {
    fstatvfs(file).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY))
}
