//! A file system mounted over a part of a unit hides what is there: it is neither lost nor written into.

use std::fs;
use std::path::{Path, PathBuf};

use outlast_repository::{RepositoryError as Error, Result, WriterOptions};

use super::{add, can_mount};
use crate::support::mounted::{Covered, Mounted};
use crate::support::{TestRepository, data_id, noise};

/// Ours with a pack, the folder of that pack, and what can be mounted over it.
fn with_pack() -> (TestRepository, PathBuf, Mounted) {
    let test = TestRepository::new();
    add(&test.repository.writer(WriterOptions::default()).unwrap(), 1).unwrap();
    let folders = fs::read_dir(test.directory.path().join("data")).unwrap();
    let mut folders = folders.map(|folder| folder.unwrap().path());
    let folder = folders.find(|folder| fs::read_dir(folder).unwrap().count() > 0);
    let over = Mounted::new(&["-t", "tmpfs", "tmpfs"]).unwrap();
    (test, folder.unwrap(), over)
}

#[track_caller]
fn is_mounted_over<T: std::fmt::Debug>(result: Result<T>, folder: &Path) {
    let error = result.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Replaced { .. }), "{text}");
    assert!(
        text.contains(&format!("lies over its folder {}", folder.display())),
        "{text}"
    );
}

#[test]
fn t90_s14a_packs_that_a_mount_hides_are_not_taken_for_lost() {
    if !can_mount() {
        return;
    }
    let (test, folder, over) = with_pack();
    let repository = test.reopen();
    let covered = Covered::new(&folder, over.path()).unwrap();
    is_mounted_over(repository.look_for_packs(), &folder);
    assert_eq!((repository.damage_found(), repository.flawed().lost), (0, 0));
    drop(covered);
    repository.look_for_packs().unwrap();
    // Packs may be spread over file systems: what is there is there.
    for file in fs::read_dir(&folder).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), over.path().join(file.file_name())).unwrap();
    }
    let _covered = Covered::new(&folder, over.path()).unwrap();
    test.reopen().look_for_packs().unwrap();
}

#[test]
fn t90_s14a_nothing_is_written_into_what_is_mounted_over_packs_in_mid_work() {
    if !can_mount() {
        return;
    }
    let (test, folder, over) = with_pack();
    let repository = test.reopen();
    let _hold = repository.hold().unwrap();
    repository.look_for_packs().unwrap();
    let writer = repository
        .writer(WriterOptions {
            pack_size: 1 << 12,
            ..WriterOptions::default()
        })
        .unwrap();
    let _covered = Covered::new(&folder, over.path()).unwrap();
    // Its name decides which folder a pack goes to.
    let error = (2..5_000).find_map(|seed| {
        let blob = noise(seed, 6_000);
        let (kind, id) = data_id(&blob);
        writer
            .add_blob(kind, id, &blob)
            .and_then(|_| writer.flush())
            .err()
    });
    is_mounted_over(error.map_or(Ok(()), Err), &folder);
    assert_eq!(fs::read_dir(over.path()).unwrap().count(), 0);
    is_mounted_over(repository.look_for_packs(), &folder);
}
