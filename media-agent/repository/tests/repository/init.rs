//! Initialising and opening: what is refused, what is completed, who wins a race.

use std::fs;
use std::sync::{Arc, Barrier};

use outlast_repository::{LocalStorage, Password, Repository, RepositoryError as Error, WriterOptions};
use tempfile::tempdir;

use crate::support::restic::{check, restic};
use crate::support::{TestRepository, data_id, fast, noise, password, storage};

#[test]
fn a_new_repository_is_good_for_restic() {
    let test = TestRepository::new();
    assert_eq!(test.repository.id().len(), 64);
    assert!(restic(test.directory.path(), &["cat", "config"]).contains(test.repository.id()));
    check(test.directory.path());
    assert_eq!(test.reopen().id(), test.repository.id());
}

#[test]
fn the_usual_key_derivation_is_as_costly_as_restics() {
    let directory = tempdir().unwrap();
    Repository::init(storage(&directory), &password()).unwrap();
    let key = fs::read_to_string(crate::support::some_file(&directory.path().join("keys"))).unwrap();
    assert!(key.contains("\"N\":32768,\"r\":8,\"p\":1"), "{key}");
    assert!(restic(directory.path(), &["key", "list"]).contains('*'));
}

#[test]
fn only_an_empty_place_becomes_a_repository() {
    let test = TestRepository::new();
    let again = Repository::init_with(storage(&test.directory), &password(), fast());
    assert!(matches!(again, Err(Error::AlreadyExists { .. })));

    let foreign = tempdir().unwrap();
    fs::write(foreign.path().join("holiday.jpg"), b"x").unwrap();
    let refused = Repository::open_or_init_with(storage(&foreign), &password(), fast());
    assert!(
        matches!(&refused, Err(Error::ForeignContent { entry, .. }) if entry == "holiday.jpg"),
        "{refused:?}"
    );
    assert_eq!(fs::read_dir(foreign.path()).unwrap().count(), 1);

    let fresh = tempdir().unwrap();
    fs::create_dir(fresh.path().join("lost+found")).unwrap();
    Repository::init_with(storage(&fresh), &password(), fast()).unwrap();
}

#[test]
fn what_is_no_repository_is_told_apart() {
    let empty = tempdir().unwrap();
    let missing = Arc::new(LocalStorage::new(empty.path().join("missing")));
    for storage in [storage(&empty), missing] {
        let error = Repository::open(storage.clone(), &password()).unwrap_err();
        assert!(matches!(error, Error::NotARepository { .. }), "{error}");
        assert!(error.to_string().starts_with(storage.location()), "{error}");
    }
    let test = TestRepository::new();
    let error = Repository::open(storage(&test.directory), &Password::new("wrong".to_owned())).unwrap_err();
    assert!(matches!(error, Error::WrongPassword { .. }), "{error}");
    fs::remove_file(crate::support::some_file(&test.directory.path().join("keys"))).unwrap();
    let error = Repository::open(storage(&test.directory), &password()).unwrap_err();
    assert!(matches!(error, Error::NotARepository { .. }), "{error}");
}

#[test]
fn a_storage_that_vanishes_is_not_taken_for_an_empty_one() {
    let test = TestRepository::new();
    let writer = test.repository.writer(WriterOptions::default()).unwrap();
    let (kind, id) = data_id(b"x");
    writer.add_blob(kind, id, b"x").unwrap();
    writer.finish().unwrap();
    let elsewhere = tempdir().unwrap();
    fs::rename(test.directory.path(), elsewhere.path().join("unmounted")).unwrap();
    fs::create_dir(test.directory.path()).unwrap();
    assert!(matches!(
        test.repository.reload_index(),
        Err(Error::Replaced { .. })
    ));
    assert!(test.repository.contains(kind, &id));
}

#[test]
fn any_of_several_passwords_opens() {
    let test = TestRepository::new();
    let file = test.directory.path().join("second");
    fs::write(&file, "second\n").unwrap();
    restic(
        test.directory.path(),
        &["key", "add", "--new-password-file", file.to_str().unwrap()],
    );
    for text in [crate::support::PASSWORD, "second"] {
        let opened = Repository::open(storage(&test.directory), &Password::new(text.to_owned())).unwrap();
        assert_eq!(opened.id(), test.repository.id());
    }
}

#[test]
fn an_interrupted_initialisation_is_completed() {
    let test = TestRepository::new();
    let config = test.directory.path().join("config");
    let keys = || fs::read_dir(test.directory.path().join("keys")).unwrap().count();
    fs::remove_file(&config).unwrap();
    assert!(matches!(
        Repository::open(storage(&test.directory), &password()),
        Err(Error::NotARepository { .. })
    ));
    Repository::open_or_init_with(storage(&test.directory), &password(), fast()).unwrap();
    assert_eq!(keys(), 1, "the key of the first attempt is used");
    check(test.directory.path());

    // With another password: the first key is of no use and does no harm.
    fs::remove_file(&config).unwrap();
    let other = Password::new("other".to_owned());
    let repository = Repository::init_with(storage(&test.directory), &other, fast()).unwrap();
    assert_eq!(keys(), 2);
    assert_eq!(
        Repository::open(storage(&test.directory), &other).unwrap().id(),
        repository.id()
    );
}

#[test]
fn data_without_its_configuration_is_not_initialised_over() {
    let test = TestRepository::new();
    let writer = test.repository.writer(WriterOptions::default()).unwrap();
    let blob = noise(1, 1000);
    writer
        .add_blob(data_id(&blob).0, data_id(&blob).1, &blob)
        .unwrap();
    writer.finish().unwrap();
    fs::remove_file(test.directory.path().join("config")).unwrap();
    let refused = Repository::open_or_init_with(storage(&test.directory), &password(), fast());
    assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
}

#[test]
fn of_many_initialisations_at_once_one_wins_and_all_open_it() {
    for _ in 0..20 {
        let directory = tempdir().unwrap();
        let barrier = Barrier::new(6);
        let start = || {
            barrier.wait();
            let repository = Repository::open_or_init_with(storage(&directory), &password(), fast()).unwrap();
            repository.id().to_owned()
        };
        let ids: Vec<String> = std::thread::scope(|scope| {
            let running: Vec<_> = (0..6).map(|_| scope.spawn(start)).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        assert_eq!(fs::read_dir(directory.path().join("keys")).unwrap().count(), 1);
        assert_eq!(
            fs::read_dir(directory.path()).unwrap().count(),
            6,
            "no temporary files stay"
        );
        assert_eq!(
            Repository::open(storage(&directory), &password()).unwrap().id(),
            ids[0]
        );
    }
}
