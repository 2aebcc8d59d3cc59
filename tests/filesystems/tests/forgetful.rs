//! What a power cut leaves on a forgetful disk: what was synced, and of the rest only what a disk could leave.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use outlast_test_filesystems::{Condition, Disk, can_mount};
use rustix::fs::{XattrFlags, getxattr, setxattr};

const SEEDS: u64 = 20;

fn sync(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

fn put(path: &Path, content: &[u8]) {
    File::create(path).unwrap().write_all(content).unwrap();
}

fn durable(path: &Path, content: &[u8]) {
    put(path, content);
    sync(path);
    sync(path.parent().unwrap());
}

/// What each of many seeds leaves of what `change` does behind `prepare`; `of` says it in a word.
fn outcomes(
    prepare: impl Fn(&Path),
    change: impl Fn(&Path),
    of: impl Fn(&Path) -> String,
) -> BTreeSet<String> {
    let outcome = |seed| {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = Disk::new(folder.path(), seed).unwrap();
        prepare(disk.path());
        sync(disk.path());
        change(disk.path());
        disk.lose_power().unwrap();
        of(disk.path())
    };
    (0..SEEDS).map(outcome).collect()
}

/// One of a few words, and each of them now and then.
fn check(name: &str, found: &BTreeSet<String>, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|word| (*word).to_owned()).collect();
    assert_eq!(*found, expected, "{name}");
}

/// Tells contents apart.
fn sum(content: &[u8]) -> u64 {
    content
        .iter()
        .fold(1, |sum, byte| sum * 31 % 1_000_003 + u64::from(*byte))
}

fn text(path: &Path) -> String {
    match fs::read_to_string(path) {
        Ok(text) if text.bytes().all(|byte| byte == 0) && !text.is_empty() => "zeros".to_owned(),
        Ok(text) => text,
        Err(_) => "none".to_owned(),
    }
}

#[test]
fn what_was_synced_stays_and_the_rest_is_left_to_chance() {
    if !can_mount() {
        return;
    }
    let nothing = |_: &Path| {};
    let of_file = |at: &Path| text(&at.join("file"));
    let old = |at: &Path| durable(&at.join("file"), b"old");

    let found = outcomes(nothing, |at| durable(&at.join("file"), b"new"), of_file);
    check("synced by content and name", &found, &["new"]);

    let found = outcomes(
        nothing,
        |at| {
            put(&at.join("file"), b"new");
            sync(&at.join("file"));
        },
        of_file,
    );
    check("synced by content only", &found, &["new", "none"]);

    let found = outcomes(
        nothing,
        |at| {
            put(&at.join("file"), b"a");
            sync(at);
        },
        of_file,
    );
    check("synced by name only", &found, &["", "a", "zeros"]);

    let found = outcomes(
        old,
        |at| {
            durable(&at.join("next"), b"new");
            fs::rename(at.join("next"), at.join("file")).unwrap();
        },
        of_file,
    );
    check("a rename", &found, &["new", "old"]);

    let found = outcomes(
        old,
        |at| {
            durable(&at.join("next"), b"new");
            fs::rename(at.join("next"), at.join("file")).unwrap();
            sync(at);
        },
        of_file,
    );
    check("a synced rename", &found, &["new"]);

    let found = outcomes(old, |at| fs::remove_file(at.join("file")).unwrap(), of_file);
    check("a removal", &found, &["none", "old"]);

    let synced_write = |at: &Path| {
        let file = OpenOptions::new()
            .write(true)
            .custom_flags(0o4_010_000)
            .open(at.join("file"));
        file.unwrap().write_all_at(b"new", 0).unwrap();
    };
    check(
        "a write that is synced by itself",
        &outcomes(old, synced_write, of_file),
        &["new"],
    );
}

#[test]
fn content_is_lost_page_by_page_and_sizes_too() {
    if !can_mount() {
        return;
    }
    const PAGES: usize = 3;
    let old = |at: &Path| durable(&at.join("file"), &[b'o'; PAGES * 4096]);
    let file = |at: &Path| OpenOptions::new().write(true).open(at.join("file")).unwrap();
    let overwritten = outcomes(
        old,
        |at| file(at).write_all_at(&[b'n'; PAGES * 4096], 0).unwrap(),
        |at| {
            let content = fs::read(at.join("file")).unwrap();
            assert_eq!(content.len(), PAGES * 4096);
            let sectors = content.chunks(512);
            sectors
                .map(|sector| {
                    assert!(sector.iter().all(|byte| *byte == sector[0]), "no sector is torn");
                    char::from(sector[0])
                })
                .collect()
        },
    );
    assert!(overwritten.contains(&"o".repeat(PAGES * 8)), "{overwritten:?}");
    assert!(overwritten.len() > 3, "{overwritten:?}");

    let length = |at: &Path| fs::metadata(at.join("file")).unwrap().len().to_string();
    let cut = outcomes(old, |at| file(at).set_len(1000).unwrap(), length);
    assert!(
        cut.contains("1000") && cut.contains("12288") && cut.len() > 2,
        "{cut:?}"
    );
    let cut_and_synced = |at: &Path| {
        file(at).set_len(1000).unwrap();
        file(at).sync_data().unwrap();
    };
    check("a synced size", &outcomes(old, cut_and_synced, length), &["1000"]);

    // What was cut off comes back as it was, or as nothing.
    let back = outcomes(
        old,
        |at| file(at).set_len(0).unwrap(),
        |at| {
            let content = fs::read(at.join("file")).unwrap();
            assert!(content.iter().all(|byte| matches!(byte, b'o' | 0)));
            content.len().to_string()
        },
    );
    assert!(back.contains("0") && back.contains("12288"), "{back:?}");
}

#[test]
fn a_folder_takes_with_it_what_is_in_it() {
    if !can_mount() {
        return;
    }
    let make = |at: &Path| {
        fs::create_dir_all(at.join("a/b")).unwrap();
        durable(&at.join("a/b/file"), b"new");
    };
    let of = |at: &Path| text(&at.join("a/b/file"));
    check("names of folders", &outcomes(|_| {}, make, of), &["new", "none"]);
    let all = |at: &Path| {
        make(at);
        sync(&at.join("a"));
        sync(at);
    };
    check("synced names of folders", &outcomes(|_| {}, all, of), &["new"]);

    // A folder that was removed, with what had been in it.
    let remove = |at: &Path| fs::remove_dir_all(at.join("a")).unwrap();
    let found = outcomes(all, remove, of);
    check("a removed folder", &found, &["new", "none"]);

    // The first so many changes of a folder, none out of turn.
    let many = |at: &Path| (0..6).for_each(|n| put(&at.join(n.to_string()), b""));
    let first = outcomes(
        |_| {},
        many,
        |at| {
            let names: BTreeSet<_> = fs::read_dir(at)
                .unwrap()
                .map(|e| e.unwrap().file_name())
                .collect();
            let expected: BTreeSet<_> = (0..names.len()).map(|n| n.to_string().into()).collect();
            assert_eq!(names, expected);
            names.len().to_string()
        },
    );
    assert!(
        first.contains("0") && first.contains("6") && first.len() > 2,
        "{first:?}"
    );
}

#[test]
fn power_is_lost_again_and_again_the_same_for_the_same_seed() {
    if !can_mount() {
        return;
    }
    let run = |seed| {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = Disk::new(folder.path(), seed).unwrap();
        let mut seen = Vec::new();
        for round in 0..5_u8 {
            for name in ["a", "b", "c", "d"] {
                let mut file = OpenOptions::new();
                let file = file.append(true).create(true).open(disk.path().join(name));
                file.unwrap().write_all(&[b'0' + round; 700]).unwrap();
            }
            sync(&disk.path().join("a"));
            disk.cut();
            assert!(fs::write(disk.path().join("late"), b"").is_err());
            disk.come_back().unwrap();
            let content = |name| fs::read(disk.path().join(name)).map_or(0, |bytes| sum(&bytes));
            seen.push(["a", "b", "c", "d"].map(content));
        }
        seen
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn a_folder_keeps_its_number_mode_time_and_attributes() {
    if !can_mount() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut disk = Disk::new(folder.path(), 1).unwrap();
    let kept = disk.path().join("kept");
    fs::create_dir(&kept).unwrap();
    durable(&kept.join("file"), b"content");
    sync(disk.path());
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o2750)).unwrap();
    let attributes = XattrFlags::empty();
    setxattr(&kept, "trusted.colour", b"blue", attributes).unwrap();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::new(1_000_000, 5);
    File::open(&kept).unwrap().set_modified(long_ago).unwrap();
    let number = fs::metadata(&kept).unwrap().ino();
    disk.lose_power().unwrap();
    let metadata = fs::metadata(&kept).unwrap();
    assert_eq!(metadata.ino(), number);
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o2750);
    assert_eq!(metadata.modified().unwrap(), long_ago);
    let mut value = [0; 9];
    let length = getxattr(&kept, "trusted.colour", &mut value).unwrap();
    assert_eq!(&value[..length], b"blue");
}

/// What a file system does when its disk is full, or when it has gone read-only, while files are open.
#[test]
fn a_disk_that_is_full_or_read_only_takes_nothing_until_it_is_sound() {
    if !can_mount() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(folder.path(), 1).unwrap();
    let (there, new) = (disk.path().join("there"), disk.path().join("new"));
    durable(&there, b"four");
    let open = OpenOptions::new().write(true).open(&there).unwrap();
    let error = |result: std::io::Result<()>| result.err().and_then(|error| error.raw_os_error());
    let (full, read_only) = (Some(28), Some(30));
    for (condition, code) in [(Condition::Full, full), (Condition::ReadOnly, read_only)] {
        disk.be(condition);
        assert_eq!(error(fs::write(&new, b"x")), code);
        assert_eq!(error(open.write_all_at(b"more", 4)), code);
        assert_eq!(error(fs::create_dir(&new)), code);
        let over = (condition == Condition::ReadOnly).then_some(30);
        assert_eq!(error(open.write_all_at(b"FOUR", 0)), over);
        assert_eq!(error(fs::rename(&there, disk.path().join("moved"))), over);
        if over.is_none() {
            fs::rename(disk.path().join("moved"), &there).unwrap();
        }
        assert_eq!(fs::read(&there).unwrap(), b"FOUR");
        let room = rustix::fs::statvfs(disk.path()).unwrap().f_bavail;
        assert_eq!(room == 0, condition == Condition::Full);
    }
    disk.be(Condition::Sound);
    durable(&new, b"x");
    open.write_all_at(b"more", 4).unwrap();
    assert_eq!(fs::read(&there).unwrap(), b"FOURmore");
}

/// The binary, as a program that is no test uses it.
#[test]
fn disks_obey_lines_and_go_with_their_input() {
    if !can_mount() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let hosts = ["a", "b"].map(|name| folder.path().join(name));
    hosts.iter().for_each(|host| fs::create_dir(host).unwrap());
    let mut disks = std::process::Command::new(env!("CARGO_BIN_EXE_test-disks"))
        .arg("7")
        .args(&hosts)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = disks.stdin.take().unwrap();
    let mut answers = std::io::BufRead::lines(std::io::BufReader::new(disks.stdout.take().unwrap()));
    let mut answer = || answers.next().unwrap().unwrap();
    let mut say = |line: &str| writeln!(input, "{line}").unwrap();
    assert_eq!(answer(), "ok");
    let file = hosts[1].join("disk/file");
    durable(&file, b"kept");
    for (line, code) in [("full 1", Some(28)), ("cut 1", Some(5)), ("return 1", None)] {
        say(line);
        assert_eq!(answer(), "ok", "{line}");
        let written = fs::write(hosts[1].join("disk/new"), b"x");
        assert_eq!(
            written.err().and_then(|error| error.raw_os_error()),
            code,
            "{line}"
        );
        assert!(fs::write(hosts[0].join("disk/new"), b"x").is_ok());
    }
    assert_eq!(fs::read(&file).unwrap(), b"kept");
    say("cut 2");
    assert_eq!(answer(), "there is no such disk");
    drop(input);
    assert!(disks.wait().unwrap().success());
    assert!(!hosts[1].join("disk/file").exists());
}
