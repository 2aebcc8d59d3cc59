//! How far to believe what a file system says of the length of a file. Where that is not known, reading finds it out.
//!
//! Asked by the walk before it takes a file for empty, and by the readers of a file that is not as long as it is said to be.

use std::os::fd::AsFd;

use super::mounts::{PSEUDO, file_system};

/// Those that keep the content themselves, in order of the alphabet: bcachefs, btrfs, cramfs, erofs, exfat, ext2 to ext4, f2fs, fat,
/// hfs, hfs+, hpfs, hugetlbfs, isofs, jffs2, jfs, minix (three), nilfs, ntfs, ntfs3, ramfs, reiserfs, squashfs, tmpfs, ubifs, udf, xfs, zfs.
const LOCAL: [u64; 29] = [
    0xca45_1a4e,
    0x9123_683e,
    0x28cd_3d45,
    0xe0f5_e1e2,
    0x2011_bab0,
    0xef53,
    0xf2f5_2010,
    0x4d44,
    0x4244,
    0x482b,
    0xf995_e849,
    0x9584_58f6,
    0x9660,
    0x72b6,
    0x3153_464a,
    0x137f,
    0x2468,
    0x4d5a,
    0x3434,
    0x5346_544e,
    0x7366_746e,
    0x8584_58f6,
    0x5265_4973,
    0x7371_7368,
    0x0102_1994,
    0x2405_1905,
    0x1501_3346,
    0x5846_5342,
    0x2fc1_2fc1,
];

/// What the length of a file is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sizes {
    /// The file system keeps the content, and knows.
    Known,
    /// A server, a program or another machine does: what it said may be old, or 0 for "not known".
    Told,
    /// The content is made when it is read (/proc, /sys): the length means nothing.
    Made,
}

impl Sizes {
    /// Those of the file system that this is on.
    pub(super) fn of(file: impl AsFd) -> Self {
        match file_system(file) {
            Some(number) if LOCAL.contains(&number) => Self::Known,
            Some(number) if PSEUDO.contains(&number) => Self::Made,
            _ => Self::Told,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::Sizes;

    #[test]
    fn t90_s02_whose_lengths_are_known() {
        for (path, sizes) in [
            ("/proc/sys/kernel", Sizes::Made),
            ("/sys/kernel", Sizes::Made),
            ("/dev/shm", Sizes::Known),
        ] {
            assert_eq!(Sizes::of(File::open(path).unwrap()), sizes, "{path}");
        }
    }
}
