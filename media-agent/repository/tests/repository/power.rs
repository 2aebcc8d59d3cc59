//! What a power cut leaves of a repository: everything that was written, and everything that was found and relied on, though whoever
//! wrote that was killed before it had synced the name.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Arc;

use outlast_repository::{Flawed, LocalStorage, Repository, RepositoryError, WriterOptions};
use outlast_test_filesystems::{Disk, can_mount};

use crate::support::backup::back_up;
use crate::support::{fast, noise, password};

/// Runs `check` on disks that forget differently.
fn on_disks(count: usize, check: impl Fn(&mut Disk)) {
    if !can_mount() {
        return;
    }
    // The first disk forgets everything, the second content only, the others some.
    for seed in [6, 1, 0, 2, 4, 5].into_iter().take(count) {
        let folder = tempfile::tempdir().unwrap();
        check(&mut Disk::new(folder.path(), seed).unwrap());
    }
}

fn storage(folder: &Path) -> Arc<LocalStorage> {
    Arc::new(LocalStorage::new(folder))
}

fn backed_up(repository: &Repository, seed: u64) {
    let source = tempfile::tempdir().unwrap();
    for name in ["one", "other"] {
        fs::write(source.path().join(name), noise(seed, 400_000)).unwrap();
    }
    let small = WriterOptions {
        pack_size: 300_000,
        ..WriterOptions::default()
    };
    back_up(repository, source.path(), small);
}

/// Opens it and looks at everything; how many snapshots there are.
fn look(folder: &Path) -> Result<usize, RepositoryError> {
    let repository = Repository::open(storage(folder), &password())?;
    repository.reload_index()?;
    repository.look_for_packs()?;
    assert_eq!(repository.flawed(), Flawed::default());
    let snapshots = repository.snapshots()?;
    for (_, snapshot) in &snapshots {
        repository.load_tree(&snapshot.tree)?;
    }
    Ok(snapshots.len())
}

fn sync(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

/// Copies what is in a folder, with its content on the disk, and with its names if `names`.
fn copy(from: &Path, to: &Path, names: bool) {
    if from.is_dir() {
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()), names);
        }
        if names {
            sync(to);
        }
    } else {
        fs::copy(from, to).unwrap();
        sync(to);
    }
}

#[test]
fn t90_names_that_a_killed_process_did_not_sync_are_relied_on_only_once_they_are() {
    let template = tempfile::tempdir().unwrap();
    let repository = Repository::init_with(storage(template.path()), &password(), fast()).unwrap();
    backed_up(&repository, 1);
    let damage = format!("damage/{}", "0".repeat(64));
    fs::create_dir(template.path().join("damage")).unwrap();
    fs::write(template.path().join(&damage), b"unreadable").unwrap();
    for prefix in fs::read_dir(template.path().join("data")).unwrap() {
        // Those that are empty: restic does without.
        let _ = fs::remove_dir(prefix.unwrap().path());
    }
    let kinds = ["config", "keys", "index", "snapshots", "data", "damage", "locks"];
    let lost = RefCell::new(BTreeSet::new());
    for withheld in &kinds[..6] {
        on_disks(6, |disk| {
            let at = disk.path().to_owned();
            for kind in kinds.iter().filter(|kind| *kind != withheld) {
                copy(&template.path().join(kind), &at.join(kind), true);
            }
            sync(&at);
            copy(&template.path().join(withheld), &at.join(withheld), false);
            assert_eq!(look(&at).unwrap(), 1, "{withheld}");
            disk.lose_power().unwrap();
            let found = catch_unwind(|| look(&at));
            if !matches!(found, Ok(Ok(1))) || !at.join(&damage).exists() {
                lost.borrow_mut().insert(*withheld);
            }
        });
    }
    assert_eq!(lost.into_inner(), BTreeSet::new());
}

#[test]
fn t90_an_interrupted_initialisation_is_done_again_with_a_key_that_lasts() {
    on_disks(3, |disk| {
        let at = disk.path().join("unit");
        let template = tempfile::tempdir().unwrap();
        Repository::init_with(storage(template.path()), &password(), fast()).unwrap();
        fs::create_dir(&at).unwrap();
        copy(&template.path().join("keys"), &at.join("keys"), false);
        Repository::open_or_init_with(storage(&at), &password(), fast()).unwrap();
        disk.lose_power().unwrap();
        assert_eq!(look(&at).unwrap(), 0);
    });
}

#[test]
fn t90_what_is_written_lasts_with_the_folders_it_is_in() {
    on_disks(3, |disk| {
        // All of them are missing; or somebody has made them and was killed.
        for at in ["deep/down/unit", "unit"].map(|path| disk.path().join(path)) {
            drop(Repository::init_with(storage(&at), &password(), fast()).unwrap());
            disk.lose_power().unwrap();
            for folder in ["data", "index", "snapshots"] {
                fs::remove_dir_all(at.join(folder)).unwrap();
            }
            sync(&at);
            if at.ends_with("down/unit") {
                for folder in ["data", "index", "snapshots"] {
                    fs::create_dir(at.join(folder)).unwrap();
                }
                for prefix in 0..=255_u8 {
                    fs::create_dir(at.join(format!("data/{prefix:02x}"))).unwrap();
                }
            }
            let repository = Repository::open(storage(&at), &password()).unwrap();
            backed_up(&repository, 2);
            drop(repository);
            disk.lose_power().unwrap();
            assert_eq!(look(&at).unwrap(), 1);
        }
    });
}
