//! Trees of files to back up, and the judgement whether two are the same.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

/// Waits until nothing that was written before counts as having just changed: what does is read again by the next backup (S-14c),
/// and no call can set the time that decides it.
pub(crate) fn let_age() {
    std::thread::sleep(std::time::Duration::from_millis(2100));
}

/// Regular files of many sizes, nested folders, links, modes, times and attributes.
pub(crate) fn make(root: &Path) {
    std::fs::create_dir_all(root.join("docs/deep/deeper")).unwrap();
    std::fs::write(root.join("empty"), b"").unwrap();
    std::fs::write(root.join("docs/one line"), b"hello\n").unwrap();
    std::fs::write(root.join("docs/deep/na\u{ef}ve \u{2603}"), b"unicode\n").unwrap();
    std::fs::write(root.join("docs/deep/new\nline"), b"newline\n").unwrap();
    std::fs::write(root.join("large"), noise(9_000_000, 1)).unwrap();
    std::fs::write(
        root.join("docs/deep/deeper/text"),
        b"all work and no play\n".repeat(50_000),
    )
    .unwrap();
    for number in 0..300 {
        let size = (number * 37) % 4096;
        std::fs::write(
            root.join(format!("docs/file-{number:03}")),
            noise(size, number as u64 + 2),
        )
        .unwrap();
    }
    symlink("docs/one line", root.join("link")).unwrap();
    symlink("/nowhere/at all", root.join("dangling")).unwrap();
    std::fs::hard_link(root.join("large"), root.join("docs/large again")).unwrap();
    for (file, mode) in [
        ("empty", 0o600),
        ("docs/one line", 0o4755),
        ("docs/deep", 0o2750),
        ("large", 0o440),
    ] {
        std::fs::set_permissions(root.join(file), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    touch(&root.join("docs/one line"), "1969-07-20T20:17:40.123456789Z");
    touch(&root.join("empty"), "2042-02-03T04:05:06.789Z");
    attribute(&root.join("large"), "user.colour", "blue");
    attribute(&root.join("docs"), "user.folder", "yes");
    touch(&root.join("docs/deep"), "2001-02-03T04:05:06.789Z");
}

/// Bytes that do not compress and are the same for the same seed.
pub(crate) fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

fn touch(path: &Path, time: &str) {
    let status = Command::new("touch")
        .args(["-h", "-d", time])
        .arg(path)
        .status()
        .unwrap();
    assert!(status.success());
}

fn attribute(path: &Path, name: &str, value: &str) {
    // Not every file system of a temporary folder has user attributes; where it has, they are compared.
    if let Err(error) = rustix::fs::setxattr(path, name, value.as_bytes(), rustix::fs::XattrFlags::empty()) {
        assert_eq!(error, rustix::io::Errno::OPNOTSUPP, "{}", path.display());
    }
}

/// The two folders are the same: data, types, owners, modes, times, hard links, attributes.
pub(crate) fn assert_same(source: &Path, restored: &Path) {
    assert_eq!(
        rsync(source, restored),
        "",
        "{} and {} differ",
        source.display(),
        restored.display()
    );
    // rsync compares times of files to the second only.
    same_times(source, restored);
}

/// What rsync would do to make `restored` the same as `source`: a line for each difference.
pub(crate) fn rsync(source: &Path, restored: &Path) -> String {
    let output = Command::new("rsync")
        .args(["-aHAXnic", "--delete"])
        .arg(format!("{}/", source.display()))
        .arg(format!("{}/", restored.display()))
        .output()
        .expect("rsync is installed: apt-get install rsync");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn same_times(source: &Path, restored: &Path) {
    for entry in std::fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        let (a, path) = (entry.metadata().unwrap(), restored.join(entry.file_name()));
        let b = path.symlink_metadata().unwrap();
        assert_eq!(
            (a.mtime(), a.mtime_nsec()),
            (b.mtime(), b.mtime_nsec()),
            "{}",
            path.display()
        );
        if a.is_dir() {
            same_times(&entry.path(), &path);
        }
    }
}
