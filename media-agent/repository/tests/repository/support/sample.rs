//! A directory with everything that is awkward to back up.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::noise;

/// Fills `root`, which exists and is empty.
pub(crate) fn fill(root: &Path) {
    let deep = root.join("one/two/three");
    fs::create_dir_all(&deep).unwrap();
    fs::create_dir(root.join("empty directory")).unwrap();
    fs::write(root.join("empty file"), b"").unwrap();
    fs::write(deep.join("text"), b"some text\n".repeat(10_000)).unwrap();
    fs::write(deep.join("noise"), noise(1, 3_000_000)).unwrap();
    fs::write(root.join("one/same text"), b"some text\n".repeat(10_000)).unwrap();
    fs::write(root.join(OsStr::from_bytes(b"not utf-8 \xff\xfe\xe4")), b"1").unwrap();
    fs::write(
        root.join("new\nline \"quoted\" back\\slash <&> \t\u{7f}\u{2028}\u{a0}"),
        b"2",
    )
    .unwrap();
    fs::write(root.join("ünïcödé 日本 😀 a\u{301}"), b"3").unwrap();
    for number in 0..300 {
        fs::write(
            root.join("one/two").join(format!("small {number}")),
            noise(number, 100 + number as usize * 7),
        )
        .unwrap();
    }
    symlink("../some/target ünï", root.join("one/link")).unwrap();
    fs::hard_link(root.join("one/same text"), root.join("one/hard link")).unwrap();

    fs::write(root.join("setuid"), b"#!").unwrap();
    fs::set_permissions(root.join("setuid"), fs::Permissions::from_mode(0o6755)).unwrap();
    fs::set_permissions(root.join("empty directory"), fs::Permissions::from_mode(0o1777)).unwrap();

    let attributes = root.join("attributes");
    fs::write(&attributes, b"x").unwrap();
    xattr::set(&attributes, "user.outlast", b"\x00\xffvalue").unwrap();
    xattr::set(&attributes, "user.none", b"").unwrap();

    let old = File::create(root.join("before 1970")).unwrap();
    let time = UNIX_EPOCH - Duration::new(300_000_000, 123_456_789);
    old.set_times(FileTimes::new().set_modified(time).set_accessed(time))
        .unwrap();
}
