//! The mirror without a layer is the folder behind it; and it goes in every case.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{
    FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown, symlink,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal::{SIGKILL, SIGTERM};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use outlast_test_filesystems::fs as rfs;
use outlast_test_filesystems::{Errno, Mounted, Passthrough, can_mount, mount};
use rfs::{
    AtFlags, CWD, FallocateFlags, FileType, FlockOperation, Mode, RenameFlags, SeekFrom, Timespec, Timestamps,
};

struct Place {
    mounted: Mounted,
    backing: PathBuf,
    _folder: tempfile::TempDir,
}

impl Place {
    /// `None`, and said so, where nothing can be mounted.
    fn new() -> Option<Self> {
        if !can_mount() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let (backing, at) = (folder.path().join("backing"), folder.path().join("mirror"));
        fs::create_dir(&backing).unwrap();
        fs::create_dir(&at).unwrap();
        let mounted = mount(&backing, &at, Passthrough).unwrap();
        Some(Self {
            mounted,
            backing,
            _folder: folder,
        })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.mounted.path().join(name)
    }

    fn behind(&self, name: &str) -> PathBuf {
        self.backing.join(name)
    }
}

/// All that `stat` says but the device.
fn described(path: &Path) -> String {
    let stat = rfs::lstat(path).unwrap();
    let text = format!("{stat:?}");
    text.split_once("st_ino").unwrap().1.to_owned()
}

fn is_mounted(path: &Path) -> bool {
    // Names with spaces would be written otherwise there.
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(1) == path.to_str())
}

#[test]
fn what_is_done_in_the_mirror_is_done_behind_it() {
    let Some(place) = Place::new() else { return };
    fs::create_dir_all(place.at("a/b")).unwrap();
    fs::write(place.at("a/file"), "hello").unwrap();
    fs::hard_link(place.at("a/file"), place.at("a/again")).unwrap();
    symlink("a/file", place.at("link")).unwrap();
    fs::rename(place.at("a/again"), place.at("a/b/moved")).unwrap();
    assert_eq!(fs::read(place.behind("a/b/moved")).unwrap(), b"hello");
    assert_eq!(fs::read_link(place.behind("link")).unwrap(), Path::new("a/file"));
    assert_eq!(fs::read(place.at("link")).unwrap(), b"hello");
    let (seen, real) = (
        place.at("a/file").metadata().unwrap(),
        place.behind("a/file").metadata().unwrap(),
    );
    assert_eq!(
        (seen.ino(), seen.nlink(), seen.mtime_nsec()),
        (real.ino(), 2, real.mtime_nsec())
    );
    assert_eq!(place.at("a/b/moved").metadata().unwrap().ino(), real.ino());

    fs::write(place.at("other"), "other").unwrap();
    let rename = |flags| rfs::renameat_with(CWD, place.at("other"), CWD, place.at("a/file"), flags);
    assert_eq!(rename(RenameFlags::NOREPLACE), Err(Errno::EXIST));
    rename(RenameFlags::EXCHANGE).unwrap();
    assert_eq!(fs::read(place.behind("other")).unwrap(), b"hello");

    fs::remove_file(place.at("a/file")).unwrap();
    assert_eq!(
        fs::remove_dir(place.at("a")).unwrap_err().raw_os_error(),
        Some(39)
    );
    fs::remove_dir_all(place.at("a")).unwrap();
    let mut names: Vec<_> = fs::read_dir(place.at(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["link", "other"]);
    // What is changed behind the mirror is seen in it at once.
    fs::write(place.behind("other"), "longer than before").unwrap();
    assert_eq!(fs::read(place.at("other")).unwrap(), b"longer than before");
    assert!(rfs::statvfs(place.mounted.path()).unwrap().f_blocks > 0);
}

#[test]
fn attributes_are_those_of_the_folder_behind() {
    let Some(place) = Place::new() else { return };
    let file = place.at("file");
    fs::write(&file, "x").unwrap();
    chown(&file, Some(1234), Some(4321)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o6751)).unwrap();
    symlink("nowhere", place.at("link")).unwrap();
    rfs::mknodat(
        CWD,
        place.at("fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o640),
        0,
    )
    .unwrap();
    rfs::mknodat(
        CWD,
        place.at("null"),
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o666),
        rfs::makedev(1, 3),
    )
    .unwrap();
    for (number, name) in ["file", "link", "fifo", "null"].into_iter().enumerate() {
        let time = Timespec {
            tv_sec: -(1 << number),
            tv_nsec: 999_999_999,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rfs::utimensat(CWD, place.at(name), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        for (attribute, value) in [("trusted.one", &b"\0\xff"[..]), ("trusted.empty", b"")] {
            rfs::lsetxattr(place.at(name), attribute, value, rfs::XattrFlags::empty()).unwrap();
        }
        let (seen, real) = (described(&place.at(name)), described(&place.behind(name)));
        assert_eq!(seen, real, "{name}");
        let time = place.behind(name).symlink_metadata().unwrap().mtime();
        assert_eq!(time, -(1 << number), "{name}");
        let mut value = [0; 16];
        let length = rfs::lgetxattr(place.behind(name), "trusted.one", &mut value);
        assert_eq!(length, Ok(2), "{name}");
        rfs::lremovexattr(place.at(name), "trusted.one").unwrap();
        let length = rfs::lgetxattr(place.at(name), "trusted.one", &mut value);
        assert_eq!(length, Err(Errno::NODATA));
        let mut names = [0; 64];
        let length = rfs::llistxattr(place.at(name), &mut names).unwrap();
        assert_eq!(&names[..length], b"trusted.empty\0", "{name}");
    }
    fs::write(place.at("null"), "goes nowhere").unwrap();
    assert_eq!(place.behind("file").metadata().unwrap().mode() & 0o7777, 0o6751);
}

#[test]
fn files_are_written_as_a_database_does() {
    let Some(place) = Place::new() else { return };
    let path = place.at("data");
    let direct = 0o40000;
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .custom_flags(direct)
        .open(&path)
        .unwrap();
    file.write_all_at(b"not aligned to anything", 5).unwrap();
    file.set_len(1 << 20).unwrap();
    file.sync_all().unwrap();
    file.sync_data().unwrap();
    rfs::flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    let again = File::open(&path).unwrap();
    assert_eq!(
        rfs::flock(&again, FlockOperation::NonBlockingLockExclusive),
        Err(Errno::WOULDBLOCK)
    );
    rfs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();

    file.write_all_at(&[7; 8192], 512 << 10).unwrap();
    assert_eq!(rfs::seek(&file, SeekFrom::Data(4096)).unwrap(), 512 << 10);
    assert_eq!(
        rfs::seek(&file, SeekFrom::Hole(512 << 10)).unwrap(),
        (512 << 10) + 8192
    );
    rfs::fallocate(
        &file,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        512 << 10,
        8192,
    )
    .unwrap();
    rfs::fallocate(&file, FallocateFlags::empty(), 1 << 20, 4096).unwrap();
    assert_eq!(file.metadata().unwrap().len(), (1 << 20) + 4096);
    assert_eq!(
        file.metadata().unwrap().blocks(),
        place.behind("data").metadata().unwrap().blocks()
    );

    // A file that has no name any more.
    fs::remove_file(&path).unwrap();
    file.rewind().unwrap();
    let mut start = [0; 28];
    file.read_exact(&mut start).unwrap();
    assert_eq!(&start[5..], b"not aligned to anything");
    assert_eq!(file.metadata().unwrap().nlink(), 0);

    let mut log = File::options()
        .append(true)
        .create(true)
        .open(place.at("log"))
        .unwrap();
    for line in ["one\n", "two\n"] {
        log.write_all(line.as_bytes()).unwrap();
    }
    let copy = File::create(place.at("copy")).unwrap();
    std::io::copy(&mut File::open(place.at("log")).unwrap(), &mut &copy).unwrap();
    assert_eq!(fs::read(place.behind("copy")).unwrap(), b"one\ntwo\n");
    File::create(place.at("log")).unwrap();
    assert_eq!(place.behind("log").metadata().unwrap().len(), 0);
    File::open(place.mounted.path()).unwrap().sync_all().unwrap();
}

#[test]
fn a_large_listing_and_a_program_of_the_mirror() {
    let Some(place) = Place::new() else { return };
    for number in 0..2000 {
        File::create(place.behind(&format!("a name that takes some room in a listing {number}"))).unwrap();
    }
    assert_eq!(fs::read_dir(place.mounted.path()).unwrap().count(), 2000);
    fs::copy("/bin/true", place.at("program")).unwrap();
    let ran = Command::new(place.at("program"))
        .current_dir(place.mounted.path())
        .status()
        .unwrap();
    assert!(ran.success());
}

/// With the caller's umask, and below a folder that hands its group and its access list on.
#[test]
fn new_entries_belong_to_whom_asks_for_them() {
    let Some(place) = Place::new() else { return };
    let script = "umask 027 && echo x > file && mkdir folder && ln -s x link && mkfifo fifo";
    for base in [place.mounted.path(), &place.backing] {
        for name in ["open", "of a group"] {
            let folder = base.join(name);
            if base == place.mounted.path() {
                fs::create_dir(&folder).unwrap();
                chown(&folder, Some(0), Some(77)).unwrap();
                let mode = if name == "open" { 0o777 } else { 0o2777 };
                fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            }
            let sub = folder.join(if base == place.mounted.path() {
                "seen"
            } else {
                "real"
            });
            let ran = Command::new("setpriv")
                .args(["--reuid", "1234", "--regid", "4321", "--clear-groups", "sh", "-c"])
                .arg(format!("mkdir '{0}' && cd '{0}' && {script}", sub.display()))
                .status()
                .unwrap();
            // The folders above are root's own.
            assert!(ran.success(), "{}", sub.display());
        }
    }
    for name in ["open", "of a group"] {
        for entry in ["", "file", "folder", "link", "fifo"] {
            let [seen, real] = ["seen", "real"].map(|side| {
                let stat = place
                    .behind(name)
                    .join(side)
                    .join(entry)
                    .symlink_metadata()
                    .unwrap();
                (stat.mode(), stat.uid(), stat.gid())
            });
            assert_eq!(seen, real, "{name}/{entry}");
            assert_eq!(seen.1, 1234);
        }
    }
}

#[test]
fn it_goes_when_a_test_fails() {
    let Some(place) = Place::new() else { return };
    let at = place.mounted.path().to_owned();
    assert!(is_mounted(&at));
    let failed = catch_unwind(AssertUnwindSafe(move || {
        let _file = File::create(place.at("open when it fails")).unwrap();
        let place = place;
        assert!(place.behind("no such").exists(), "on purpose");
    }));
    assert!(failed.is_err());
    assert!(!is_mounted(&at));
}

#[test]
fn it_goes_when_its_process_is_killed() {
    let Some(place) = Place::new() else { return };
    let at = place.backing.with_file_name("of-the-binary");
    fs::create_dir(&at).unwrap();
    for signal in [SIGTERM, SIGKILL] {
        let started = Command::new(env!("CARGO_BIN_EXE_odd-mount"))
            .args([&place.backing, &at])
            .stdout(Stdio::null())
            .spawn();
        let mut process = Killed(started.unwrap());
        wait_until(|| is_mounted(&at));
        fs::write(at.join("from the binary"), "x").unwrap();
        assert_eq!(fs::read(place.at("from the binary")).unwrap(), b"x");
        kill(Pid::from_raw(process.0.id().cast_signed()), signal).unwrap();
        process.0.wait().unwrap();
        wait_until(|| !is_mounted(&at));
    }
}

/// When it is dropped, if it still runs.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_until(condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "it did not happen");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
