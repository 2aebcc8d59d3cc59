//! What a file system can hold: the table of cases, each made in a folder of its own.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Mode, Timespec, Timestamps, XattrFlags, fallocate, mknodat,
    utimensat,
};

use crate::mounts::Mount;
use crate::tree::noise;

/// A row: the folder's name, whether only root can make it, and how.
type Case = (&'static str, ForRoot, fn(&Path));

#[derive(Clone, Copy, PartialEq, Eq)]
enum ForRoot {
    Only,
    No,
}

const CASES: [Case; 16] = [
    ("access lists", ForRoot::No, access_lists),
    ("attributes", ForRoot::No, attributes),
    ("attributes of root", ForRoot::Only, attributes_of_root),
    ("closed", ForRoot::Only, closed),
    ("deep", ForRoot::No, deep),
    ("devices", ForRoot::Only, devices),
    ("empty", ForRoot::No, empty),
    ("hard links", ForRoot::No, hard_links),
    ("links", ForRoot::No, links),
    ("modes", ForRoot::No, modes),
    ("names", ForRoot::No, names),
    ("owners", ForRoot::Only, owners),
    ("read only", ForRoot::No, read_only),
    ("sparse", ForRoot::No, sparse),
    ("special", ForRoot::No, special),
    ("times", ForRoot::No, times),
];

/// Makes all of them below `root`; what is mounted there goes with the answer.
pub(crate) fn make(root: &Path) -> Option<Mount> {
    let is_root = rustix::process::geteuid().is_root();
    for (name, for_root, case) in CASES {
        if for_root == ForRoot::Only && !is_root {
            println!("left out: \"{name}\" can be made by root only");
            continue;
        }
        let folder = root.join(name);
        fs::create_dir(&folder).unwrap();
        case(&folder);
    }
    if !is_root {
        println!("left out: \"mounted\" can be made by root only");
        return None;
    }
    let mounted = root.join("mounted");
    fs::create_dir(&mounted).unwrap();
    fs::write(mounted.join("hidden by the mount"), b"not in the backup").unwrap();
    let mount = Mount::tmpfs(&mounted, "16m");
    fs::create_dir(mounted.join("folder")).unwrap();
    fs::write(mounted.join("folder/file"), b"on another file system").unwrap();
    fs::hard_link(mounted.join("folder/file"), mounted.join("again")).unwrap();
    touch(&mounted.join("folder"), 1, 1);
    touch(&mounted, 1_000_000_000, 1);
    Some(mount)
}

fn access_lists(folder: &Path) {
    // user::rw-, user:12345:rwx, group::r--, group:54321:-w-, mask::rw-, other::---
    let named = acl(&[
        (1, 6, NONE),
        (2, 7, 12345),
        (4, 4, NONE),
        (8, 2, 54321),
        (16, 6, NONE),
        (32, 0, NONE),
    ]);
    let file = folder.join("file");
    fs::write(&file, b"x").unwrap();
    attribute(&file, "system.posix_acl_access", &named);
    let sub = folder.join("with a default");
    fs::create_dir(&sub).unwrap();
    fs::write(sub.join("made before, has none"), b"x").unwrap();
    fs::create_dir(sub.join("folder made before")).unwrap();
    attribute(&sub, "system.posix_acl_access", &named);
    attribute(&sub, "system.posix_acl_default", &named);
    fs::write(sub.join("made after, inherits"), b"x").unwrap();
    fs::create_dir(sub.join("folder made after")).unwrap();
    symlink("nowhere", sub.join("link")).unwrap();
}

const NONE: u32 = u32::MAX;

/// In the kernel's format: tag, permissions, id.
pub(crate) fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0];
    for (tag, permissions, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

fn attributes(folder: &Path) {
    let file = folder.join("file");
    fs::write(&file, b"x").unwrap();
    attribute(&file, "user.text", b"blue");
    attribute(&file, "user.empty", b"");
    let every: Vec<u8> = (0..=255).collect();
    attribute(&file, "user.every byte", &every);
    attribute(&file, "user.n\u{e4}me \"<&>\\", b"\n");
    let other = folder.join("no content");
    fs::write(&other, b"").unwrap();
    attribute(&other, "user.long", &noise(2500, 3));
    attribute(folder, "user.of the folder", b"\0");
}

fn attributes_of_root(folder: &Path) {
    // cap_net_bind_service+ep, version 2
    let capability: Vec<u8> = [0x0200_0001_u32, 1 << 10, 0, 0, 0]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    for (name, mode) in [("ping", 0o755), ("with setuid", 0o4755), ("owned", 0o755)] {
        let file = folder.join(name);
        fs::write(&file, b"#!").unwrap();
        if name == "owned" {
            chown(&file, Some(1234), Some(1234)).unwrap();
        }
        set_mode(&file, mode);
        attribute(&file, "security.capability", &capability);
    }
    symlink("nowhere", folder.join("link")).unwrap();
    mknodat(CWD, folder.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    for name in ["link", "fifo"] {
        attribute(&folder.join(name), "trusted.origin", b"here");
    }
}

fn closed(folder: &Path) {
    // For everybody but root.
    let (file, sub) = (folder.join("file"), folder.join("folder"));
    fs::write(&file, b"secret").unwrap();
    fs::create_dir(&sub).unwrap();
    fs::write(sub.join("file"), b"secret").unwrap();
    set_mode(&file, 0);
    set_mode(&sub, 0);
}

fn deep(folder: &Path) {
    let mut path = folder.to_owned();
    for level in 0..40 {
        path.push(format!("level {level}"));
        fs::create_dir(&path).unwrap();
        fs::write(path.join("file"), level.to_string()).unwrap();
    }
}

fn devices(folder: &Path) {
    let make = |name, kind, major, minor| {
        let device = rustix::fs::makedev(major, minor);
        let made = mknodat(CWD, folder.join(name), kind, Mode::from_raw_mode(0o640), device);
        if is_taken(&folder.join(name), made.map_err(Into::into)) {
            touch(&folder.join(name), 7, 8);
        }
    };
    make("null", FileType::CharacterDevice, 1, 3);
    make("loop", FileType::BlockDevice, 7, 200);
    make("large numbers", FileType::BlockDevice, 4095, 1_048_575);
    make("large minor", FileType::CharacterDevice, 259, 70_000);
    chown(folder.join("null"), Some(1234), Some(4321)).unwrap();
}

fn empty(folder: &Path) {
    fs::write(folder.join("file"), b"").unwrap();
    fs::create_dir(folder.join("folder")).unwrap();
}

fn hard_links(folder: &Path) {
    for sub in ["a/b", "z"] {
        fs::create_dir_all(folder.join(sub)).unwrap();
    }
    let link = |from: &str, to: &str| fs::hard_link(folder.join(from), folder.join(to)).unwrap();
    fs::write(folder.join("m"), b"three names").unwrap();
    link("m", "a/b/m");
    link("m", "z/m");
    fs::write(folder.join("empty"), b"").unwrap();
    link("empty", "z/empty");
    mknodat(CWD, folder.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    link("fifo", "a/fifo");
    symlink("nowhere", folder.join("link")).unwrap();
    link("link", "z/link");
    // One name is outside of what is backed up.
    let outside = folder.parent().unwrap().with_extension("outside");
    fs::write(&outside, b"two names").unwrap();
    fs::hard_link(&outside, folder.join("one name here")).unwrap();
    fs::remove_file(&outside).unwrap();
}

fn links(folder: &Path) {
    let long = "x/".repeat(2000);
    for (name, target) in [
        ("dangling", &b"no such"[..]),
        ("loop", b"loop"),
        ("loop a", b"loop b"),
        ("loop b", b"loop a"),
        ("absolute", b"/etc/passwd"),
        ("up", b"../../../../.."),
        ("folder with a slash", b"sub/"),
        ("line\nend", b"new\nline \"quoted\" \\ <&>"),
        ("latin-1", b"caf\xe9"),
        ("long", long.as_bytes()),
    ] {
        let made = symlink(OsStr::from_bytes(target), folder.join(name));
        if is_taken(&folder.join(name), made) {
            touch(&folder.join(name), 5, 6);
        }
    }
    fs::create_dir(folder.join("sub")).unwrap();
    if rustix::process::geteuid().is_root() {
        lchown(folder.join("dangling"), Some(1234), Some(4321)).unwrap();
    }
}

fn modes(folder: &Path) {
    for mode in [0o4755, 0o2755, 0o1644, 0o7777, 0o6000, 0o400, 0o777] {
        let file = folder.join(format!("file {mode:o}"));
        fs::write(&file, b"x").unwrap();
        set_mode(&file, mode);
    }
    for mode in [0o1777, 0o2775, 0o7755, 0o700] {
        let sub = folder.join(format!("folder {mode:o}"));
        fs::create_dir(&sub).unwrap();
        fs::write(sub.join("file"), b"x").unwrap();
        set_mode(&sub, mode);
    }
}

fn names(folder: &Path) {
    let long = "l".repeat(255);
    let wide = "\u{1f409}".repeat(63);
    for name in [
        &b"line\nend"[..],
        b"\n",
        b"quote\"",
        b"it's",
        b"back\\slash",
        b"back\\nslash",
        b"\\xff",
        b"-rf",
        b"--help",
        b" ",
        b"  both  ",
        b"tab\t",
        b"\x1b[31mred",
        b"\x01\x7f",
        b"star*?[a]",
        b"$HOME `x`",
        b"#\\#012",
        b"...",
        b"..a",
        b"~",
        b"a:b",
        b"%41",
        b"caf\xe9",
        b"\xff\xfe\x80",
        b"\xe6\x97",
        b"\xed\xa0\x80",
        "na\u{ef}ve \u{2603}".as_bytes(),
        "e\u{301}".as_bytes(),
        "\u{e9}".as_bytes(),
        "\u{feff}\u{202e}".as_bytes(),
        long.as_bytes(),
        wide.as_bytes(),
    ] {
        let sub = folder.join(OsStr::from_bytes(name));
        fs::create_dir(&sub).unwrap();
        fs::write(sub.join(OsStr::from_bytes(name)), name).unwrap();
    }
}

fn owners(folder: &Path) {
    for (name, uid, gid) in [
        ("no names", 1_234_567, 7_654_321),
        ("large", u32::MAX - 5, u32::MAX - 6),
        ("mixed", 0, 99_999),
    ] {
        let (file, sub) = (folder.join(name), folder.join(format!("folder {name}")));
        fs::write(&file, b"x").unwrap();
        fs::create_dir(&sub).unwrap();
        fs::write(sub.join("file"), b"x").unwrap();
        chown(&file, Some(uid), Some(gid)).unwrap();
        set_mode(&file, 0o6711);
        chown(&sub, Some(uid), Some(gid)).unwrap();
        set_mode(&sub, 0o2711);
    }
}

fn read_only(folder: &Path) {
    let sub = folder.join("folder");
    fs::create_dir_all(sub.join("sub")).unwrap();
    for file in ["file", "sub/file"] {
        fs::write(sub.join(file), b"x").unwrap();
        set_mode(&sub.join(file), 0o444);
    }
    set_mode(&sub.join("sub"), 0o555);
    set_mode(&sub, 0o555);
}

/// A name, a length, and where there are how many bytes of data.
type Sparse = (&'static str, u64, &'static [(u64, usize)]);

fn sparse(folder: &Path) {
    const MIB: u64 = 1 << 20;
    let rows: [Sparse; 6] = [
        ("at the start", 17 * MIB, &[(16 * MIB, 1 << 20)]),
        (
            "in the middle",
            20 * MIB + 5,
            &[(0, 1_500_000), (19 * MIB + 5, 1 << 20)],
        ),
        ("at the end", 12 * MIB + 3, &[(0, 700_000)]),
        ("all", 24 * MIB + 1, &[]),
        ("short", 1, &[]),
        (
            "at odd places",
            30 * MIB,
            &[
                (3_333_333, 1),
                (9_999_999, 100),
                (10_123_456, 5000),
                (25_000_001, 3),
            ],
        ),
    ];
    for (name, length, data) in rows {
        let file = File::create(folder.join(name)).unwrap();
        file.set_len(length).unwrap();
        for (offset, size) in data {
            file.write_all_at(&noise(*size, *offset), *offset).unwrap();
        }
        file.sync_all().unwrap();
    }
    let file = File::create(folder.join("many")).unwrap();
    file.set_len(8 * MIB).unwrap();
    for block in (0..8 * MIB).step_by(64 << 10) {
        file.write_all_at(&noise(4096, block), block).unwrap();
    }
    file.sync_all().unwrap();
    // Every other block, as in the pages of a database: the shortest holes there are, and written zeros among them.
    let file = File::create(folder.join("shortest")).unwrap();
    file.set_len(3 * MIB + 100).unwrap();
    for block in (0..3 * MIB).step_by(8 << 10) {
        file.write_all_at(&noise(4096, block), block).unwrap();
    }
    file.write_all_at(&[0; 64 << 10], MIB).unwrap();
    file.sync_all().unwrap();
    // Not sparse at all, though nothing but zeros: room that somebody wanted to have.
    fs::write(folder.join("written zeros"), vec![0; 5_000_000]).unwrap();
    fs::write(folder.join("few written zeros"), vec![0; 20_000]).unwrap();
    let file = File::create(folder.join("allocated")).unwrap();
    fallocate(&file, FallocateFlags::empty(), 0, 6 * MIB + 1).unwrap();
    file.sync_all().unwrap();
}

fn special(folder: &Path) {
    mknodat(
        CWD,
        folder.join("fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o640),
        0,
    )
    .unwrap();
    touch(&folder.join("fifo"), 1_000_000, 999_999_999);
    // Its path may be too long to bind a socket to.
    let opened = File::open(folder).unwrap();
    let short = format!("/proc/self/fd/{}/socket", opened.as_raw_fd());
    drop(UnixListener::bind(short).unwrap());
    set_mode(&folder.join("socket"), 0o751);
    touch(&folder.join("socket"), 4, 5);
}

fn times(folder: &Path) {
    for (name, seconds, nanos) in [
        // The first second of ext4, which has no parts either.
        ("1901", -2_147_483_648, 0),
        ("just before 1970", -1, 999_999_999),
        ("1970", 0, 0),
        ("2038", 2_147_483_648, 123_456_789),
        ("2106", 4_294_967_296, 10),
        ("2262", 9_223_372_037, 0),
        // The last second of ext4, which has no parts.
        ("2446", 15_032_385_535, 0),
    ] {
        let (file, sub) = (folder.join(name), folder.join(format!("folder {name}")));
        fs::write(&file, b"x").unwrap();
        fs::create_dir(&sub).unwrap();
        symlink("nowhere", sub.join("link")).unwrap();
        touch(&sub.join("link"), seconds, nanos);
        touch(&file, seconds, nanos);
        touch(&sub, seconds, nanos);
    }
}

/// Some file systems have no room for it (`kinds`); nothing else goes wrong.
fn is_taken(path: &Path, made: std::io::Result<()>) -> bool {
    use rustix::io::Errno;
    let Err(error) = made else { return true };
    let known = [Errno::INVAL, Errno::NAMETOOLONG].map(|errno| Some(errno.raw_os_error()));
    assert!(
        known.contains(&error.raw_os_error()),
        "{}: {error}",
        path.display()
    );
    println!(
        "left out: {}, which this file system does not take",
        path.display()
    );
    false
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn touch(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanos,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Not every file system of a temporary folder has attributes; where it has, they are compared.
pub(crate) fn attribute(path: &Path, name: &str, value: &[u8]) {
    if let Err(error) = rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()) {
        assert_eq!(error, rustix::io::Errno::OPNOTSUPP, "{}", path.display());
        println!("left out: {name}, which this file system does not take");
    }
}
