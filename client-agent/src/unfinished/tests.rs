//! What a killed restore leaves, as the next process finds it.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use outlast_proto::v1::{FileTime, Node};
use outlast_proto::words::{JobId, JobKey, JobNonce};

use outlast_test_filesystems::{Disk, can_mount, not_run};

use super::line::{Line, Made, Recorded};
use super::{FOLDER, File, MadeFolders, temporary_name};
use crate::host::birth::Identity;

fn folder(path: &Path) -> OwnedFd {
    std::fs::File::open(path).unwrap().into()
}

fn node(name: &str) -> Node {
    Node {
        name: name.as_bytes().to_vec().into(),
        mode: 0o2751,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        modified: Some(FileTime {
            seconds: 1000,
            nanos: 7,
        }),
        ..Node::default()
    }
}

fn key(id: u64, nonce: u64) -> JobKey {
    JobKey {
        id: JobId(id),
        nonce: JobNonce(nonce),
    }
}

/// Temporary names of other jobs, with and without the same number, and what only looks like one.
const OF_OTHERS: [&str; 4] = [
    ".outlast-restore-7-000000000000000b-2",
    ".outlast-restore-7-mine",
    ".outlast-restore-8-000000000000000a-2",
    ".outlast-restore-8-2",
];

/// As a process leaves it that is killed.
fn killed(data: &Path, to: &Path, job: JobKey) {
    let mut ledger = MadeFolders::open(data).ledger(job, to.to_str().unwrap());
    for name in ["ours", "described", "replaced"] {
        std::fs::create_dir(to.join(name)).unwrap();
        ledger.insert(name.as_bytes(), &folder(to), &node(name));
    }
    ledger.remove(b"described");
    ledger.works_in(&Arc::from(&b"ours"[..]));
    ledger.works_in(&Arc::from(&b""[..]));
    let name = |node| String::from_utf8(temporary_name(job, node)).unwrap();
    for file in [to.join("ours").join(name(1)), to.join(name(2))] {
        std::fs::write(file, b"half").unwrap();
    }
    for name in OF_OTHERS {
        std::fs::write(to.join(name), b"of others").unwrap();
    }
    // One of the user's, which is open for the time.
    let users = to.join("users");
    std::fs::create_dir(&users).unwrap();
    let (identity, _) = Identity::of_open(folder(&users)).unwrap();
    ledger.opens(b"users", identity, 0o555);
    std::fs::set_permissions(&users, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::mem::forget(ledger);
}

#[test]
fn t90_f17_what_a_killed_restore_left_is_known_to_the_next_process() {
    left_and_taken_up(key(7, 10));
    // Of before jobs had nonces.
    left_and_taken_up(key(7, 0));
}

fn left_and_taken_up(job: JobKey) {
    let temp = tempfile::tempdir().unwrap();
    let (data, to) = (temp.path().join("data"), temp.path().join("to"));
    std::fs::create_dir(&to).unwrap();
    killed(&data, &to, job);
    // Torn in the middle of a line.
    let file = data.join(FOLDER).join(job.to_string());
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.extend_from_slice(&[200, 1, 2]);
    std::fs::write(&file, bytes).unwrap();
    std::fs::rename(to.join("replaced"), to.join("elsewhere")).unwrap();
    std::fs::create_dir(to.join("replaced")).unwrap();
    for _ in 0..2 {
        let made = MadeFolders::open(&data);
        let mut left: Vec<_> = std::fs::read_dir(&to)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with('.'))
            .collect();
        left.sort();
        assert_eq!(left, OF_OTHERS);
        assert_eq!(std::fs::read_dir(to.join("ours")).unwrap().count(), 0);
        let found = |name: &str| to.join(name).metadata().unwrap();
        let ours = found("ours");
        assert_eq!((ours.mode() & 0o7777, ours.mtime()), (0o2751, 1000));
        assert_eq!(found("users").mode() & 0o7777, 0o555);
        assert_ne!(
            found("replaced").mode() & 0o7777,
            0o2751,
            "another one of that name"
        );
        let ledger = made.ledger(key(7, 11), to.to_str().unwrap());
        let is_ours = |name: &str| ledger.contains(name.as_bytes(), &folder(&to), name.as_bytes());
        assert_eq!(
            ["ours", "described", "replaced", "elsewhere"].map(is_ours),
            [true, false, false, false]
        );
    }
    // A later job describes them, and then there is nothing to remember.
    let made = MadeFolders::open(&data);
    let mut ledger = made.ledger(key(7, 11), to.to_str().unwrap());
    for name in ["ours", "replaced"] {
        ledger.remove(name.as_bytes());
    }
    drop(ledger);
    drop(MadeFolders::open(&data));
    assert_eq!(std::fs::read_dir(data.join(FOLDER)).unwrap().count(), 0);
}

/// What the next process finds at the path of a directory that a killed restore made or opened, and what was noted of that one.
struct Row {
    what: &'static str,
    /// Of the directory that is there.
    mode: u32,
    /// Of the one that was noted, as against the one that is there.
    noted: fn(Identity) -> Identity,
    /// Whether it counts as the one that was made, and as the one that was opened.
    is_made: bool,
    is_opened: bool,
}

const MADE: u32 = 0o700;
const OPENED: u32 = 0o755;

fn born_before(now: Identity) -> Identity {
    let born = now.born.map(|(seconds, nanos)| (seconds - 1, nanos));
    Identity { born, ..now }
}

fn unborn(now: Identity) -> Identity {
    Identity { born: None, ..now }
}

fn counted_otherwise(now: Identity) -> Identity {
    let device = now.device + 1;
    Identity { device, ..now }
}

const fn row(
    what: &'static str,
    mode: u32,
    noted: fn(Identity) -> Identity,
    (is_made, is_opened): (bool, bool),
) -> Row {
    Row {
        what,
        mode,
        noted,
        is_made,
        is_opened,
    }
}

#[rustfmt::skip]
const ROWS: [Row; 9] = [
    row("itself, as made", MADE, |now| now, (true, false)),
    row("itself, as opened", OPENED, |now| now, (true, true)),
    row("itself, and its mode was changed", 0o711, |now| now, (true, false)),
    row("itself, devices have other numbers", MADE, counted_otherwise, (true, false)),
    row("a later one of its number, as made", MADE, born_before, (false, false)),
    row("a later one of its number", OPENED, born_before, (false, false)),
    row("of before births were noted, as made", MADE, unborn, (true, false)),
    row("of before births were noted, as opened", OPENED, unborn, (false, true)),
    row("of before births were noted, another mode", 0o711, unborn, (false, false)),
];

#[test]
fn t90_a_folder_that_got_the_number_of_a_killed_restores_is_somebody_elses() {
    let temp = tempfile::tempdir().unwrap();
    let (there, _) = Identity::of_open(folder(temp.path())).unwrap();
    if there.born.is_none() {
        return not_run("this file system does not tell when a directory was made");
    }
    for (number, row) in (1..).zip(&ROWS) {
        let job = key(number, 10);
        for is_of_made in [true, false] {
            taken_up(&temp.path().join(row.what), row, job, is_of_made);
            std::fs::remove_dir_all(temp.path().join(row.what)).unwrap();
        }
    }
}

fn taken_up(temp: &Path, row: &Row, job: JobKey, is_of_made: bool) {
    let (data, to, what) = (temp.join("data"), temp.join("to"), row.what);
    let place = to.join("it");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(row.mode)).unwrap();
    let (now, _) = Identity::of_open(folder(&place)).unwrap();
    let identity = (row.noted)(now);
    let mut ledger = MadeFolders::open(&data).ledger(job, to.to_str().unwrap());
    if is_of_made {
        let recorded = Some(Recorded::of(&node("it")));
        let made = Made {
            identity,
            job,
            recorded,
        };
        ledger.write(&Line::of_made(place.to_str().unwrap().into(), &made));
    } else {
        ledger.opens(b"it", identity, 0o555);
    }
    std::mem::forget(ledger);
    let made = MadeFolders::open(&data);
    let mode = place.metadata().unwrap().mode() & 0o7777;
    if is_of_made {
        assert_eq!(mode, if row.is_made { 0o2751 } else { row.mode }, "made: {what}");
        let ledger = made.ledger(job, to.to_str().unwrap());
        assert_eq!(ledger.contains(b"it", &folder(&to), b"it"), row.is_made, "{what}");
    } else {
        assert_eq!(
            mode,
            if row.is_opened { 0o555 } else { row.mode },
            "opened: {what}"
        );
    }
}

/// None of the lines about directories that were made is synced, nor is the removal of the file.
#[test]
fn t90_directories_of_a_restore_are_known_after_a_power_cut() {
    if !can_mount() {
        return;
    }
    // The first disk forgets everything, the second content only, the others some.
    for seed in [6, 1, 0, 2, 4, 5] {
        let temp = tempfile::tempdir().unwrap();
        let mut disk = Disk::new(temp.path(), seed).unwrap();
        let (data, to) = (disk.path().join("data"), disk.path().join("to"));
        outlast_kit::files::create_folder(&to, 0o700).unwrap();
        let make = |path: &str, mode| {
            std::fs::create_dir(to.join(path)).unwrap();
            std::fs::set_permissions(to.join(path), std::fs::Permissions::from_mode(mode)).unwrap();
            File::open(to.join(path).parent().unwrap())
                .unwrap()
                .sync_all()
                .unwrap();
        };
        make("users", 0o700);
        let mut ledger = MadeFolders::open(&data).ledger(key(7, 10), to.to_str().unwrap());
        for (path, parent) in [
            ("ours", ""),
            ("ours/below", "ours"),
            ("ours/below/it", "ours/below"),
        ] {
            ledger.makes(path.as_bytes(), parent.as_bytes());
            make(path, 0o700);
            let name = path.rsplit('/').next().unwrap();
            ledger.insert(path.as_bytes(), &folder(&to.join(parent)), &node(name));
        }
        make("ours/others", 0o755);
        std::mem::forget(ledger.file.take());
        std::mem::forget(ledger);
        disk.lose_power().unwrap();
        let ledger = MadeFolders::open(&data).ledger(key(7, 10), to.to_str().unwrap());
        let is_ours = |path: &str| {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            ledger.contains(path.as_bytes(), &folder(&to.join(parent)), name.as_bytes())
                || to.join(path).metadata().unwrap().mode() & 0o7777 == 0o2751
        };
        let found = ["ours", "ours/below", "ours/below/it", "ours/others", "users"].map(is_ours);
        assert_eq!(found, [true, true, true, false, false], "seed {seed}");
    }
}

/// What `TO` was given was removed and is made again by the next job; the file of the first is still there, for a month.
#[test]
fn t90_each_job_knows_its_own_directory_of_one_path() {
    let temp = tempfile::tempdir().unwrap();
    let (data, to) = (temp.path().join("data"), temp.path().join("to"));
    std::fs::create_dir(&to).unwrap();
    let place = to.join("it");
    let jobs = [3, 20, 100].map(|number| key(number, 10));
    let opened = |made: &MadeFolders, job| made.ledger(job, to.to_str().unwrap());
    let knows = |made: &MadeFolders, job| opened(made, job).contains(b"it", &folder(&to), b"it");
    for job in jobs {
        if place.exists() {
            // Not removed: its number is not given out again, on no file system.
            std::fs::rename(&place, to.join(format!("of {job}"))).unwrap();
        }
        let made = MadeFolders::open(&data);
        let mut ledger = opened(&made, job);
        ledger.makes(b"it", b"");
        std::fs::create_dir(&place).unwrap();
        std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o700)).unwrap();
        ledger.insert(b"it", &folder(&to), &node("it"));
        std::mem::forget(ledger);
    }
    let made = MadeFolders::open(&data);
    assert_eq!(place.metadata().unwrap().mode() & 0o7777, 0o2751);
    for job in jobs {
        assert!(knows(&made, job), "of job {job}");
    }
    // An earlier one is back.
    std::fs::rename(&place, to.join("the last")).unwrap();
    std::fs::rename(to.join(format!("of {}", jobs[1])), &place).unwrap();
    assert!(knows(&MadeFolders::open(&data), jobs[0]));
    // Somebody else's is not ours because one of the jobs was about to make one.
    std::fs::rename(&place, to.join("the second")).unwrap();
    std::fs::create_dir(&place).unwrap();
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert!(!knows(&MadeFolders::open(&data), jobs[0]));
    // Who describes what is there describes it for all.
    let made = MadeFolders::open(&data);
    opened(&made, key(7, 11)).remove(b"it");
    drop(MadeFolders::open(&data));
    assert_eq!(std::fs::read_dir(data.join(FOLDER)).unwrap().count(), 0);
}
