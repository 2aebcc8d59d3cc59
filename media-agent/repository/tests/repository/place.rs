//! The storage is what it was (S-14a): whatever takes the place of a repository in use ends the work and stays as it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use outlast_repository::{
    LockOptions, Node, Repository, RepositoryError as Error, Result, Snapshot, Timestamp, Tree, Writer,
    WriterOptions,
};
use tempfile::TempDir;

use crate::support::mounted::{Covered, Mounted, run};
use crate::support::restic::{check, restic};
use crate::support::{TestRepository, data_id, noise, password, storage};

mod mounted_over;

/// Files with their content, folders without.
type Files = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// Every file and folder below one.
fn everything(root: &Path) -> Files {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(_) => continue,
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path.clone());
                found.insert(path, None);
            } else {
                let content = fs::read(&path).unwrap();
                found.insert(path, Some(content));
            }
        }
    }
    found
}

fn lock_options() -> LockOptions {
    LockOptions {
        exclusive: false,
        hostname: "me".to_owned(),
        username: "user".to_owned(),
    }
}

fn add(writer: &Writer, seed: u64) -> Result<Snapshot> {
    let blob = noise(seed, 300_000);
    let (kind, id) = data_id(&blob);
    writer.add_blob(kind, id, &blob)?;
    let file = Node {
        name: b"file".to_vec(),
        content: Some(vec![id]),
        ..Node::default()
    };
    let (tree, _) = writer.add_tree(&Tree { nodes: vec![file] })?;
    writer.flush()?;
    Ok(Snapshot::new(Timestamp::now(), tree, Vec::new(), String::new()))
}

/// What can happen to a repository in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    BindMountOfAnother,
    EmptyMountPoint,
    RemovedAndInitialisedInPlace,
    RenamedAndInitialised,
    Renamed,
    NoKeys,
    NoConfig,
    BareFolders,
}

impl Change {
    const ALL: [Change; 8] = [
        Change::BindMountOfAnother,
        Change::EmptyMountPoint,
        Change::RemovedAndInitialisedInPlace,
        Change::RenamedAndInitialised,
        Change::Renamed,
        Change::NoKeys,
        Change::NoConfig,
        Change::BareFolders,
    ];

    /// Of the message.
    fn says(self) -> &'static str {
        match self {
            Change::BindMountOfAnother
            | Change::RemovedAndInitialisedInPlace
            | Change::RenamedAndInitialised => "another repository is there",
            Change::EmptyMountPoint => "the directory is empty",
            Change::Renamed => "there is no such directory",
            Change::NoKeys => "its key file",
            Change::NoConfig | Change::BareFolders => "its file \"config\" is not",
        }
    }

    /// Whether what was stored before is still where it was, or hidden only.
    fn spares_ours(self) -> bool {
        matches!(self, Change::BindMountOfAnother | Change::EmptyMountPoint)
    }

    fn happen(self, place: &Path, foreign: &Path, elsewhere: &Path) -> Option<Covered> {
        let remove = |name: &str| fs::remove_dir_all(place.join(name)).unwrap();
        match self {
            Change::BindMountOfAnother => return Some(Covered::new(place, foreign).unwrap()),
            Change::EmptyMountPoint => {
                let empty = elsewhere.join("empty");
                fs::create_dir(&empty).unwrap();
                return Some(Covered::new(place, &empty).unwrap());
            }
            Change::RemovedAndInitialisedInPlace => {
                for entry in fs::read_dir(place).unwrap() {
                    let path = entry.unwrap().path();
                    let removed = if path.is_dir() {
                        fs::remove_dir_all(&path)
                    } else {
                        fs::remove_file(&path)
                    };
                    removed.unwrap();
                }
                restic(place, &["init"]);
            }
            Change::RenamedAndInitialised => {
                fs::rename(place, elsewhere.join("ours")).unwrap();
                restic(place, &["init"]);
            }
            Change::Renamed => fs::rename(place, elsewhere.join("ours")).unwrap(),
            Change::NoKeys => remove("keys"),
            Change::NoConfig => fs::remove_file(place.join("config")).unwrap(),
            Change::BareFolders => {
                fs::remove_file(place.join("config")).unwrap();
                for folder in ["keys", "index", "snapshots", "locks", "data"] {
                    remove(folder);
                    fs::create_dir(place.join(folder)).unwrap();
                }
            }
        }
        None
    }
}

/// Ours with one snapshot in it, and somebody else's with the same password.
struct Scene {
    ours: TestRepository,
    foreign: TempDir,
    elsewhere: TempDir,
}

impl Scene {
    fn new() -> Scene {
        let (ours, foreign) = (TestRepository::new(), tempfile::tempdir().unwrap());
        let writer = ours.repository.writer(WriterOptions::default()).unwrap();
        let first = add(&writer, 1).unwrap();
        ours.repository.save_snapshot(&first).unwrap();
        restic(foreign.path(), &["init"]);
        let source = foreign.path().join("config");
        restic(foreign.path(), &["backup", source.to_str().unwrap()]);
        Scene {
            ours,
            foreign,
            elsewhere: tempfile::tempdir().unwrap(),
        }
    }

    fn place(&self) -> &Path {
        self.ours.directory.path()
    }

    fn happen(&self, change: Change) -> Option<Covered> {
        change.happen(self.place(), self.foreign.path(), self.elsewhere.path())
    }

    /// Nothing of what is in the place now, or of the other repository, is as it was not before.
    fn nothing_has_changed(&self, before: &(Files, Files), when: &str) {
        assert!(
            everything(self.place()) == before.0,
            "{when}: {:?}",
            new_names(&before.0, self.place())
        );
        assert!(
            everything(self.foreign.path()) == before.1,
            "{when}: the other repository was touched"
        );
        check(self.foreign.path());
    }

    fn both(&self) -> (Files, Files) {
        (everything(self.place()), everything(self.foreign.path()))
    }
}

fn new_names(before: &Files, place: &Path) -> Vec<PathBuf> {
    let now = everything(place).into_keys();
    now.filter(|path| !before.contains_key(path)).collect()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>, change: Change, repository: &Repository) {
    let error = result.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Replaced { .. }), "{change:?}: {text}");
    assert!(
        text.contains(change.says()) && text.contains(&repository.id()[..8]),
        "{change:?}: {text}"
    );
    assert!(!text.contains("nitialise") && !text.contains("rebuild"), "{text}");
}

fn can_mount() -> bool {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let can = Covered::new(one.path(), other.path());
    if let Err(reason) = &can {
        println!("NOT TESTED: this machine cannot mount: {reason}");
    }
    can.is_ok()
}

#[test]
fn s14a_what_takes_the_place_before_the_work_begins_is_left_untouched() {
    if !can_mount() {
        return;
    }
    for change in Change::ALL {
        let scene = Scene::new();
        let repository = scene.ours.reopen();
        let covered = scene.happen(change);
        let before = scene.both();
        refused(repository.lock(lock_options()), change, &repository);
        refused(repository.reload_index(), change, &repository);
        refused(repository.prove(), change, &repository);
        refused(repository.hold(), change, &repository);
        refused(repository.snapshots(), change, &repository);
        refused(repository.remove_locks_of("me"), change, &repository);
        refused(repository.remove_stale_temporaries(), change, &repository);
        let some = repository.snapshot(&"ab".repeat(32).parse().unwrap());
        refused(some, change, &repository);
        // A writer begins, as one that has no lock may, and must not get anything out.
        let writer = repository.writer(WriterOptions::default()).unwrap();
        refused(add(&writer, 2), change, &repository);
        drop(writer);
        scene.nothing_has_changed(&before, "before the work");
        drop(covered);
        if change.spares_ours() {
            repository.lock(lock_options()).unwrap();
            check(scene.place());
        }
    }
}

#[test]
fn s14a_what_takes_the_place_in_mid_work_is_left_untouched() {
    if !can_mount() {
        return;
    }
    for change in Change::ALL {
        let scene = Scene::new();
        let repository = scene.ours.reopen();
        let lock = Arc::new(repository.lock(lock_options()).unwrap());
        let options = WriterOptions {
            lock: Some(Arc::clone(&lock)),
            pack_size: 1 << 18,
            ..WriterOptions::default()
        };
        let writer = repository.writer(options).unwrap();
        let snapshot = add(&writer, 2).unwrap();
        let covered = scene.happen(change);
        let before = scene.both();
        refused(repository.save_snapshot(&snapshot), change, &repository);
        refused(lock.check(), change, &repository);
        refused(lock.refresh(), change, &repository);
        refused(repository.reload_index(), change, &repository);
        // Packs may go to where ours is hidden, or nowhere.
        let blob = noise(3, 600_000);
        let (kind, id) = data_id(&blob);
        let _ = writer.add_blob(kind, id, &blob);
        refused(writer.flush(), change, &repository);
        drop(writer);
        repository.remove_stale_temporaries().unwrap();
        if !matches!(change, Change::NoKeys | Change::NoConfig) {
            drop(lock);
            scene.nothing_has_changed(&before, "in mid-work");
        }
        drop(covered);
        if change.spares_ours() {
            check(scene.place());
            let again = scene.ours.reopen();
            assert_eq!(again.snapshots().unwrap().len(), 1);
            assert_eq!(again.locks().unwrap(), [], "its own lock is removed where it was");
        }
    }
}

/// With only the configuration or the keys gone the place is the same; nothing becomes final in it.
#[test]
fn s14a_without_configuration_or_keys_nothing_becomes_final() {
    for change in [Change::NoKeys, Change::NoConfig] {
        let scene = Scene::new();
        let repository = scene.ours.reopen();
        let lock = Arc::new(repository.lock(lock_options()).unwrap());
        let options = WriterOptions {
            lock: Some(Arc::clone(&lock)),
            ..WriterOptions::default()
        };
        let writer = repository.writer(options).unwrap();
        scene.happen(change);
        refused(add(&writer, 2), change, &repository);
        for (folder, files) in [("index", 1), ("snapshots", 1)] {
            let there = fs::read_dir(scene.place().join(folder)).unwrap().count();
            assert_eq!(there, files, "{change:?} {folder}");
        }
    }
}

/// As after an NFS server came back with other device numbers, or after a copy of it took its place: the work that goes on ends, for
/// what it has written may not be there; the next one uses what is there.
#[test]
fn s14a_the_same_repository_mounted_anew_is_used_by_the_next_attempt() {
    let test = TestRepository::new();
    let place = test.directory.path();
    let repository = test.reopen();
    let lock = Arc::new(repository.lock(lock_options()).unwrap());
    let options = WriterOptions {
        lock: Some(Arc::clone(&lock)),
        ..WriterOptions::default()
    };
    let writer = repository.writer(options).unwrap();
    let snapshot = add(&writer, 1).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let old = elsewhere.path().join("old");
    fs::rename(place, &old).unwrap();
    run(Command::new("cp").arg("-a").arg(&old).arg(place)).unwrap();
    let before = everything(place);
    for refused in [
        add(&writer, 2).map(drop),
        repository.save_snapshot(&snapshot).map(drop),
        lock.refresh(),
    ] {
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("mounted anew or replaced by a copy"), "{text}");
    }
    drop((writer, lock));
    assert!(before == everything(place), "the copy is not touched");

    let lock = repository.lock(lock_options()).unwrap();
    repository.reload_index().unwrap();
    repository.remove_locks_of("me").unwrap();
    let writer = repository.writer(WriterOptions::default()).unwrap();
    let snapshot = add(&writer, 2).unwrap();
    repository.save_snapshot(&snapshot).unwrap();
    drop((writer, lock));
    check(place);
}

/// A file system that is not in use can be unmounted; one that is, only lazily, and then nothing goes into the mount point.
#[test]
fn s14a_only_what_is_in_use_is_held() {
    let mounted = match Mounted::new(&["-t", "tmpfs", "-o", "size=64m", "tmpfs"]) {
        Ok(mounted) => mounted,
        Err(reason) => return println!("NOT TESTED: this machine cannot mount a tmpfs: {reason}"),
    };
    let unmount = |lazily: &[&str]| run(Command::new("umount").args(lazily).arg(mounted.path()));
    let storage = Arc::new(outlast_repository::LocalStorage::new(mounted.path()));
    let repository = Repository::init_with(storage, &password(), crate::support::fast()).unwrap();
    let hold = repository.hold().unwrap();
    assert!(unmount(&[]).is_err(), "it is busy");
    drop(hold);
    let lock = Arc::new(repository.lock(lock_options()).unwrap());
    assert!(unmount(&[]).is_err(), "it is busy");
    let options = WriterOptions {
        lock: Some(Arc::clone(&lock)),
        ..WriterOptions::default()
    };
    let writer = repository.writer(options).unwrap();
    add(&writer, 1).unwrap();
    unmount(&["-l"]).unwrap();
    refused(add(&writer, 2), Change::EmptyMountPoint, &repository);
    drop((writer, lock));
    assert_eq!(fs::read_dir(mounted.path()).unwrap().count(), 0);
}

#[test]
fn an_unused_repository_keeps_no_descriptor() {
    let test = TestRepository::new();
    let repository = test.reopen();
    repository.lock(lock_options()).unwrap();
    let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| {
        let target = fs::read_link(entry.ok()?.path()).ok()?;
        target.starts_with(test.directory.path()).then_some(target)
    });
    assert_eq!(open.collect::<Vec<_>>(), Vec::<PathBuf>::new());
}

/// What file systems and desktops put into folders is neither in the way of a new repository nor of an old one.
#[test]
fn t90_a_unit_with_what_file_systems_leave_in_it_is_still_a_unit() {
    let directory = tempfile::tempdir().unwrap();
    let litter = |place: &Path| {
        for folder in [
            "@eaDir",
            "System Volume Information",
            "lost+found",
            ".snapshot",
            "#recycle",
            ".Trash-0",
            ".fseventsd",
        ] {
            fs::create_dir_all(place.join(folder).join("x")).unwrap();
        }
        for file in [".DS_Store", "Thumbs.db", "desktop.ini", ".nfs0000001", "._x"] {
            fs::write(place.join(file), b"x").unwrap();
        }
    };
    litter(directory.path());
    let repository = Repository::init_with(storage(&directory), &password(), crate::support::fast()).unwrap();
    for folder in [
        "keys",
        "index",
        "snapshots",
        "locks",
        "data",
        "data/00",
        "data/ff",
    ] {
        litter(&directory.path().join(folder));
        // Names of packs are not always those of files.
        fs::create_dir_all(directory.path().join(folder).join("00".repeat(32))).unwrap();
    }
    let lock = repository.lock(lock_options()).unwrap();
    let writer = repository.writer(WriterOptions::default()).unwrap();
    let snapshot = add(&writer, 1).unwrap();
    repository.save_snapshot(&snapshot).unwrap();
    drop((writer, lock));
    let again = Repository::open(storage(&directory), &password()).unwrap();
    again.reload_index().unwrap();
    assert_eq!(again.snapshots().unwrap().len(), 1);
    again.remove_stale_temporaries().unwrap();
}
