//! Packs that no index file names: made known again, unless they are somebody's who writes now.

use std::fs;
use std::path::PathBuf;

use outlast_repository::{
    IndexLook, LockGuard, LockOptions, Repository, Snapshot, Timestamp, Tree, WriterOptions,
};

use crate::support::{TestRepository, data_id, noise};

fn lock(repository: &Repository, host: &str) -> LockGuard {
    let options = LockOptions {
        exclusive: false,
        hostname: host.to_owned(),
        username: "u".to_owned(),
    };
    repository.lock(options).unwrap()
}

/// One pack of data and one with a tree; a snapshot of it if asked for.
fn written(with_snapshot: bool) -> TestRepository {
    let test = TestRepository::new();
    let writer = test.repository.writer(WriterOptions::default()).unwrap();
    let blob = noise(1, 5000);
    writer
        .add_blob(data_id(&blob).0, data_id(&blob).1, &blob)
        .unwrap();
    let (tree, _) = writer.add_tree(&Tree::default()).unwrap();
    writer.finish().unwrap();
    if with_snapshot {
        let snapshot = Snapshot::new(Timestamp::now(), tree, Vec::new(), String::new());
        test.repository.save_snapshot(&snapshot).unwrap();
    }
    test
}

fn index_files(test: &TestRepository) -> Vec<PathBuf> {
    let files = fs::read_dir(test.directory.path().join("index")).unwrap();
    files.map(|file| file.unwrap().path()).collect()
}

fn has_all(repository: &Repository) -> bool {
    let (kind, id) = data_id(&noise(1, 5000));
    repository.read_blob(kind, &id).is_ok()
}

#[test]
fn t90_s14b_packs_of_a_lost_index_file_are_named_again() {
    for is_up in [true, false] {
        let test = written(true);
        index_files(&test)
            .iter()
            .for_each(|file| fs::remove_file(file).unwrap());
        let repository = if is_up {
            test.repository.clone()
        } else {
            test.reopen()
        };
        // Somebody else is there, but something is surely lost.
        let _other = lock(&test.reopen(), "other");
        let own = lock(&repository, "own");
        let look = repository.name_unnamed_packs(&own).unwrap();
        let expected = IndexLook {
            cut_off: 1,
            packs: 2,
            blobs: 2,
            ..IndexLook::default()
        };
        assert_eq!(look, expected, "{is_up}");
        assert!(look.is_loss() && has_all(&repository) && has_all(&test.reopen()));
        assert!(repository.damage_found() > 0);
        let found = repository.damage_found();
        assert_eq!(repository.name_unnamed_packs(&own).unwrap(), IndexLook::default());
        assert_eq!(repository.damage_found(), found, "no news");
        assert_eq!(index_files(&test).len(), 1);
    }
}

#[test]
fn t90_s14b_a_damaged_index_file_counts_as_absent() {
    let test = written(true);
    let file = index_files(&test).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    bytes[40] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let repository = test.reopen();
    let own = lock(&repository, "own");
    let look = repository.name_unnamed_packs(&own).unwrap();
    assert_eq!((look.damaged.len(), look.cut_off, look.packs), (1, 1, 2));
    let again = repository.name_unnamed_packs(&own).unwrap();
    assert_eq!((again.damaged, again.cut_off, again.packs), (look.damaged, 0, 0));
    fs::remove_file(&file).unwrap();
    assert_eq!(repository.name_unnamed_packs(&own).unwrap(), IndexLook::default());
    assert!(has_all(&repository) && has_all(&test.reopen()));
}

#[test]
fn packs_that_may_be_those_of_somebody_who_writes_are_left_alone() {
    let test = written(false);
    index_files(&test)
        .iter()
        .for_each(|file| fs::remove_file(file).unwrap());
    let repository = test.reopen();
    let own = lock(&repository, "own");
    let other = lock(&test.reopen(), "other");
    let look = repository.name_unnamed_packs(&own).unwrap();
    assert_eq!((look.packs, look.left, look.is_loss()), (0, 2, false));
    // One of them is too old for that.
    let data = crate::support::some_file(&test.directory.path().join("data"));
    let days_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(2 * 24 * 3600);
    let pack = fs::File::options().write(true).open(&data).unwrap();
    pack.set_modified(days_ago).unwrap();
    let look = repository.name_unnamed_packs(&own).unwrap();
    assert_eq!((look.packs, look.left), (1, 1));
    // The other one has ended, or was killed.
    other.release().unwrap();
    let look = repository.name_unnamed_packs(&own).unwrap();
    assert_eq!((look.packs, look.left, look.is_loss()), (1, 0, false));
    assert!(has_all(&repository));
}

#[test]
fn a_pack_that_is_damaged_stays_unnamed() {
    let test = written(true);
    index_files(&test)
        .iter()
        .for_each(|file| fs::remove_file(file).unwrap());
    let pack = crate::support::some_file(&test.directory.path().join("data"));
    let length = pack.metadata().unwrap().len();
    let file = fs::File::options().write(true).open(&pack).unwrap();
    file.set_len(length - 10).unwrap();
    let repository = test.reopen();
    let look = repository.name_unnamed_packs(&lock(&repository, "own")).unwrap();
    assert_eq!((look.packs, look.unusable), (1, 1));
}

#[test]
fn without_a_valid_lock_nothing_is_written() {
    let test = written(true);
    index_files(&test)
        .iter()
        .for_each(|file| fs::remove_file(file).unwrap());
    let repository = test.reopen();
    let own = lock(&repository, "own");
    repository.remove_lock(&own.id()).unwrap();
    assert!(repository.name_unnamed_packs(&own).is_err());
    assert!(index_files(&test).is_empty());
}
