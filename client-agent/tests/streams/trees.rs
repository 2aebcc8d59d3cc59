//! Directory trees for tests: made with everything a file system has, and described for comparison.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

/// Bytes that do not repeat.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    StdRng::seed_from_u64(seed).fill(&mut bytes[..]);
    bytes
}

/// A tree with one of everything the host lets us make.
pub(crate) fn make(root: &Path) {
    fs::create_dir_all(root.join("many")).unwrap();
    fs::create_dir_all(root.join("deep/er/and/deeper")).unwrap();
    for number in 0..700_u32 {
        let content = noise(number.into(), (number as usize * 37) % 5000);
        fs::write(root.join(format!("many/{number:03}")), content).unwrap();
    }
    fs::write(root.join("empty"), b"").unwrap();
    fs::write(root.join("big"), noise(1, 21 << 20)).unwrap();
    fs::write(root.join("middle"), noise(2, 3 << 20)).unwrap();
    fs::write(root.join("text"), b"the same line\n".repeat(200_000)).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(30 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"island", 17 << 20).unwrap();
    fs::write(root.join(OsStr::from_bytes(b"caf\xe9")), b"latin-1").unwrap();
    fs::write(root.join("a.b"), b"sorts before a/").unwrap();
    fs::create_dir(root.join("a")).unwrap();
    fs::write(root.join("a/linked"), b"two names").unwrap();
    fs::hard_link(root.join("a/linked"), root.join("deep/linked")).unwrap();
    symlink("nowhere/at all", root.join("dangling")).unwrap();
    symlink("/etc", root.join("deep/etc")).unwrap();
    outlast_kit::calls::mknodat(
        CWD,
        root.join("fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o640),
        0,
    )
    .unwrap();
    fs::set_permissions(root.join("middle"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(root.join("a"), fs::Permissions::from_mode(0o1750)).unwrap();
    // Not every file system takes these; where it does, they must come back.
    let _ = rustix::fs::setxattr(
        root.join("text"),
        "user.colour",
        b"blue\0green",
        XattrFlags::empty(),
    );
    let _ = rustix::fs::setxattr(root.join("a"), "user.of_folder", b"", XattrFlags::empty());
    let _ = rustix::fs::setxattr(
        root.join("text"),
        "system.posix_acl_access",
        ACL,
        XattrFlags::empty(),
    );
    if rustix::process::geteuid().is_root() {
        let _ = outlast_kit::calls::mknodat(
            CWD,
            root.join("null"),
            FileType::CharacterDevice,
            Mode::RUSR,
            0x103,
        );
        std::os::unix::fs::chown(root.join("text"), Some(1234), Some(4321)).unwrap();
        std::os::unix::fs::lchown(root.join("dangling"), Some(1234), Some(4321)).unwrap();
    }
    set_times(&root.join("middle"), -1_234_567, 999_999_999);
    set_times(&root.join("dangling"), -5, 1);
    set_times(&root.join("deep/er"), 86_400, 123_456_789);
}

/// u::rw-, u:0:r--, g::r--, m::r--, o::--- in the kernel's format.
const ACL: &[u8] = &[
    2, 0, 0, 0, 1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, 2, 0, 4, 0, 0, 0, 0, 0, 4, 0, 4, 0, 0xff, 0xff, 0xff,
    0xff, 16, 0, 4, 0, 0xff, 0xff, 0xff, 0xff, 32, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
];

pub(crate) fn set_times(path: &Path, seconds: i64, nanos: u32) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanos.into(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    outlast_kit::calls::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// What must be equal after a restore.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Described {
    kind: char,
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    device: u64,
    pub(crate) content: Vec<u8>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The first path with the same inode.
    same_as: PathBuf,
}

/// Everything below `root`, and `root` itself under the empty path.
pub(crate) fn describe(root: &Path) -> BTreeMap<PathBuf, Described> {
    let (mut found, mut inodes) = (BTreeMap::new(), BTreeMap::new());
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let relative = path.strip_prefix(root).unwrap().to_owned();
        let kind = meta.file_type();
        let (kind, content) = if kind.is_dir() {
            let mut names: Vec<_> = fs::read_dir(&path)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            names.sort_by(|a, b| b.cmp(a));
            waiting.extend(names);
            ('d', Vec::new())
        } else if kind.is_symlink() {
            ('l', fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
        } else if kind.is_file() {
            ('f', fs::read(&path).unwrap())
        } else if kind.is_fifo() {
            ('p', Vec::new())
        } else {
            ('?', Vec::new())
        };
        let same_as = inodes
            .entry(meta.ino())
            .or_insert_with(|| relative.clone())
            .clone();
        let described = Described {
            kind,
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            modified: (meta.mtime(), meta.mtime_nsec()),
            device: meta.rdev(),
            content,
            xattrs: xattrs(&path),
            same_as,
        };
        found.insert(relative, described);
    }
    found
}

fn xattrs(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = vec![0_u8; 4096];
    let Ok(length) = rustix::fs::llistxattr(path, &mut names[..]) else {
        return Vec::new();
    };
    let mut found: Vec<_> = names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0_u8; 4096];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            (name.to_vec(), value[..length].to_vec())
        })
        .collect();
    found.sort();
    found
}
