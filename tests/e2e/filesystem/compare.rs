//! Whether two trees are the same in everything a file system holds: also what rsync does not compare, and below paths that
//! are longer than the kernel takes in one piece.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hasher as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};

/// Blocks of 512 bytes a restored file may have more than its source: where extents and not holes make the difference.
const MORE_BLOCKS: i64 = 16;

/// What a regular file has: its size, and blocks of 512 bytes.
#[derive(Clone, Copy)]
struct Room {
    size: i64,
    blocks: i64,
}

impl Room {
    fn has_holes(self) -> bool {
        self.blocks * 512 < self.size
    }
}

/// What has to be equal, by its name.
type Described = BTreeMap<&'static str, String>;

#[derive(Default)]
struct Walk {
    found: BTreeMap<String, (Described, Option<Room>)>,
    first_names: HashMap<(u64, u64), String>,
}

/// The fractions of seconds of times.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fractions {
    Count,
    /// What was written to has none.
    Lost,
}

/// How `restored` differs from `source`, a line for each difference: the path, a colon and what differs.
pub(crate) fn differences(source: &Path, restored: &Path) -> Vec<String> {
    differences_but_for(source, restored, Fractions::Count)
}

/// As [`differences`], with or without fractions of seconds.
pub(crate) fn differences_but_for(source: &Path, restored: &Path, fractions: Fractions) -> Vec<String> {
    let (source, restored) = (describe(source), describe(restored));
    let mut lines = Vec::new();
    for (path, (expected, room)) in &source {
        let Some((found, found_room)) = restored.get(path) else {
            lines.push(format!("{path}: missing"));
            continue;
        };
        for (what, expected) in expected {
            let found = found.get(what).map_or("nothing", String::as_str);
            let whole = |time: &str| time.rsplit_once('.').map(|(seconds, _)| seconds.to_owned());
            let is_lost = *what == "time" && fractions == Fractions::Lost;
            if found != expected && !(is_lost && whole(found) == whole(expected)) {
                lines.push(format!("{path}: {what}"));
                eprintln!("{path}: {what}: {expected:.200} came back as {found:.200}");
            }
        }
        if let (Some(room), Some(found)) = (room, found_room) {
            if found.blocks > room.blocks + MORE_BLOCKS {
                lines.push(format!("{path}: holes"));
                eprintln!("{path}: {} blocks came back as {}", room.blocks, found.blocks);
            }
            if found.has_holes() && !room.has_holes() {
                lines.push(format!("{path}: room"));
                eprintln!(
                    "{path}: {} blocks without a hole came back as {}",
                    room.blocks, found.blocks
                );
            }
        }
    }
    let added = restored.keys().filter(|path| !source.contains_key(*path));
    lines.extend(added.map(|path| format!("{path}: added")));
    lines
}

fn describe(root: &Path) -> BTreeMap<String, (Described, Option<Room>)> {
    let mut walk = Walk::default();
    let folder = open_folder(
        &openat(CWD, "/", FOLDER, Mode::empty()).unwrap(),
        root.as_os_str().as_encoded_bytes(),
    );
    let stat = rustix::fs::fstat(&folder).unwrap();
    walk.entry(&folder, b".", ".", &stat);
    walk.folder(&folder, "");
    walk.found
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW);

fn open_folder(folder: &OwnedFd, name: &[u8]) -> OwnedFd {
    openat(folder, name, FOLDER, Mode::empty()).unwrap()
}

impl Walk {
    fn folder(&mut self, folder: &OwnedFd, path: &str) {
        let mut names: Vec<Vec<u8>> = Dir::read_from(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_bytes().to_vec())
            .filter(|name| name != b"." && name != b"..")
            .collect();
        names.sort();
        for name in names {
            let below = format!("{path}{}", name.escape_ascii());
            let stat = statat(folder, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW).unwrap();
            self.entry(folder, &name, &below, &stat);
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                self.folder(&open_folder(folder, &name), &format!("{below}/"));
            }
        }
    }

    fn entry(&mut self, folder: &OwnedFd, name: &[u8], path: &str, stat: &Stat) {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut described = Described::from([
            ("mode", format!("{:o}", stat.st_mode)),
            ("owner", format!("{}:{}", stat.st_uid, stat.st_gid)),
            ("time", format!("{}.{:09}", stat.st_mtime, stat.st_mtime_nsec)),
            ("attributes", attributes(folder, name)),
        ]);
        match kind {
            FileType::RegularFile => {
                described.insert("content", content(folder, name));
            }
            FileType::Symlink => {
                let target = readlinkat(folder, name, Vec::new()).unwrap();
                described.insert("target", target.to_bytes().escape_ascii().to_string());
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                described.insert("device", stat.st_rdev.to_string());
            }
            _ => {}
        }
        if stat.st_nlink > 1 && kind != FileType::Directory {
            let first = self.first_names.entry((stat.st_dev, stat.st_ino));
            let first = first.or_insert_with(|| path.to_owned()).clone();
            described.insert("links", format!("{} names, first {first}", stat.st_nlink));
        }
        let (size, blocks) = (stat.st_size, stat.st_blocks);
        let room = (kind == FileType::RegularFile).then_some(Room { size, blocks });
        self.found.insert(path.to_owned(), (described, room));
    }
}

fn content(folder: &OwnedFd, name: &[u8]) -> String {
    let file = openat(folder, name, OFlags::RDONLY | OFlags::NOATIME, Mode::empty()).unwrap();
    let (mut hasher, mut buffer, mut size) = (DefaultHasher::new(), vec![0; 1 << 20], 0);
    loop {
        let read = rustix::io::read(&file, &mut buffer).unwrap();
        if read == 0 {
            return format!("{size} bytes, {:x}", hasher.finish());
        }
        size += read;
        hasher.write(&buffer[..read]);
    }
}

fn attributes(folder: &OwnedFd, name: &[u8]) -> String {
    let mut path = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    // Shows access lists twice.
    let is_xfs = rustix::fs::fstatfs(folder).unwrap().f_type == 0x5846_5342;
    let mut names = vec![0_u8; 64 << 10];
    let length = rustix::fs::llistxattr(path.as_slice(), &mut names[..]).unwrap_or(0);
    let mut found: Vec<_> = names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .filter(|name| !(is_xfs && name.starts_with(b"trusted.SGI_ACL_")))
        .map(|name| {
            let mut value = vec![0_u8; 64 << 10];
            let length = rustix::fs::lgetxattr(path.as_slice(), name, &mut value[..]).unwrap();
            format!("{}={}", name.escape_ascii(), value[..length].escape_ascii())
        })
        .collect();
    found.sort();
    found.join(" ")
}
