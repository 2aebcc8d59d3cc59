//! Which file a name leads to, as nodes say it of what has several names: by its number, and by when it was made.
//!
//! A file system gives the number of a file that was removed to the next one that is made, perhaps while the walk is under way. Who restores
//! tells links by `inode` and `device_id` alone (restic does): two files that had the same number must not have the same of both.

use std::os::fd::AsFd;

use outlast_proto::v1::NodeType;
use rustix::fs::{AtFlags, Stat};

use super::birth::{Birth, birth};
use super::node::{Seen, kind};

/// Of the entry `name` of `folder`, of which `stat` is known: what stands for its device in its node.
pub(crate) fn device_id_of_entry(folder: impl AsFd, name: &[u8], stat: &Stat) -> u64 {
    device_id(stat, || birth(folder, name, AtFlags::SYMLINK_NOFOLLOW, stat))
}

/// The same of something open.
pub(crate) fn device_id_of_open(open: impl AsFd, stat: &Stat) -> u64 {
    device_id(stat, || birth(open, b"", AtFlags::EMPTY_PATH, stat))
}

/// Of what has one name: the number of the device. Of what has several: with a mark above it, so that it is never that of something else,
/// be it with several names or with one.
fn device_id(stat: &Stat, birth: impl FnOnce() -> Option<Birth>) -> u64 {
    if stat.st_nlink < 2 || kind(stat) == NodeType::Directory {
        return stat.st_dev;
    }
    stat.st_dev ^ u64::from(mark(stat, birth())) << 32
}

/// Where no birth is known, what a change of the file changes, too: two names of a file that changed between them are then two files, each
/// with what was read of it.
fn mark(stat: &Stat, birth: Option<Birth>) -> u32 {
    let (kind, (seconds, nanos), size) = match birth {
        Some(birth) => (0, birth, 0),
        None => (kind(stat) as u64, Seen::of(stat).modified(), Seen::of(stat).size),
    };
    // Kept in restore points: another way to mix would make their trees new once.
    let mixed = [kind, seconds.cast_unsigned(), nanos.into(), size]
        .into_iter()
        .fold(0_u64, |mixed, part| {
            let sum = (mixed ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            sum ^ sum >> 29
        });
    u32::try_from(mixed >> 32).map_or(1, |mark| mark.max(1))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use outlast_kit::calls::statat;
    use rustix::fs::{AtFlags, Stat};

    use super::{device_id, device_id_of_entry, device_id_of_open};

    #[test]
    fn t90_what_has_several_names_is_known_by_when_it_was_made() {
        let temp = tempfile::tempdir().unwrap();
        let folder = std::fs::File::open(temp.path()).unwrap();
        let file = std::fs::File::create(temp.path().join("a")).unwrap();
        let look = |name: &str| -> Stat { statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).unwrap() };
        let single = look("a");
        assert_eq!(device_id_of_entry(&folder, b"a", &single), single.st_dev);
        std::fs::hard_link(temp.path().join("a"), temp.path().join("b")).unwrap();
        let first = device_id_of_entry(&folder, b"a", &look("a"));
        assert_ne!(first, single.st_dev, "one with one name is never taken for it");
        file.write_at(b"longer", 0).unwrap();
        let second = look("b");
        assert_eq!(
            device_id_of_entry(&folder, b"b", &second),
            first,
            "it has changed meanwhile"
        );
        assert_eq!(device_id_of_open(&file, &second), first);
        // Born at; another file of the same number or not.
        let rows = [
            (Some((5, 7)), Some((5, 7)), true),
            (Some((5, 7)), Some((5, 8)), false),
            (Some((5, 7)), Some((6, 7)), false),
            (Some((5, 7)), None, false),
            (None, None, true),
        ];
        for (one, other, is_same) in rows {
            let ids = [one, other].map(|birth| device_id(&second, || birth));
            assert_eq!(ids[0] == ids[1], is_same, "{one:?} {other:?}");
        }
        // Where nothing tells when it was made.
        let unknown = |stat: &Stat| device_id(stat, || None);
        let mut grown = second;
        grown.st_size += 1;
        let mut touched = second;
        touched.st_mtime_nsec ^= 1;
        let mut chowned = second;
        (chowned.st_uid, chowned.st_nlink, chowned.st_ctime) = (77, 3, 1);
        assert_ne!(unknown(&grown), unknown(&second));
        assert_ne!(unknown(&touched), unknown(&second));
        assert_eq!(unknown(&chowned), unknown(&second));
        assert_ne!(unknown(&second), single.st_dev);
    }
}
