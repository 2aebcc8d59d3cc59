//! Rules of the locks, as tables. In the crate, because only here a lock file of any age can be written.

use std::sync::Arc;
use std::time::Duration;

use super::{LockGuard, LockInfo, LockOptions, is_fresh};
use crate::error::RepositoryError;
use crate::password::Password;
use crate::repository::{InitOptions, Repository};
use crate::storage::{FileKind, LocalStorage};
use crate::time::Timestamp;

fn repository() -> (tempfile::TempDir, Repository) {
    let directory = tempfile::tempdir().unwrap();
    let storage = Arc::new(LocalStorage::new(directory.path()));
    let password = Password::new("p".to_owned());
    let repository = Repository::init_with(storage, &password, InitOptions { scrypt_log_n: 4 }).unwrap();
    (directory, repository)
}

fn options(exclusive: bool, hostname: &str) -> LockOptions {
    LockOptions {
        exclusive,
        hostname: hostname.to_owned(),
        username: "user".to_owned(),
    }
}

fn files(repository: &Repository) -> usize {
    repository.storage().list(FileKind::Lock).unwrap().len()
}

/// A lock of somebody else, so many seconds old.
fn foreign_lock(repository: &Repository, exclusive: bool, age: i64) {
    let time = Timestamp::new(Timestamp::now().secs - age, 0);
    let (hostname, username) = ("other".to_owned(), "root".to_owned());
    let lock = LockInfo {
        time,
        exclusive,
        hostname,
        username,
        pid: 7,
        uid: 0,
        gid: 0,
    };
    repository.save_object(FileKind::Lock, &lock).unwrap();
}

#[test]
fn who_may_lock_beside_whom() {
    let minute = 60;
    // (theirs exclusive, age of theirs, ours exclusive, allowed)
    let rows = [
        (false, 0, false, true),
        (false, 0, true, false),
        (true, 0, false, false),
        (true, 0, true, false),
        (true, 29 * minute, false, false),
        (true, 31 * minute, false, true),
        (true, 31 * minute, true, true),
        (false, 31 * minute, true, true),
        // Their clock is ahead.
        (true, -60 * minute, false, false),
    ];
    for (theirs, age, ours, allowed) in rows {
        let (_directory, repository) = repository();
        foreign_lock(&repository, theirs, age);
        let result = repository.lock(options(ours, "me"));
        assert_eq!(result.is_ok(), allowed, "{theirs} {age} {ours}");
        assert_eq!(
            files(&repository),
            1 + usize::from(allowed),
            "a refused lock leaves no file"
        );
        if let Err(error) = result {
            assert!(matches!(&error, RepositoryError::Locked { hostname, .. } if hostname == "other"));
            assert!(
                error.to_string().contains("other") && error.to_string().contains("since 20"),
                "{error}"
            );
        }
    }
}

#[test]
fn a_lock_is_refreshed_released_and_dropped() {
    let (_directory, repository) = repository();
    let lock = repository.lock(options(false, "me")).unwrap();
    let first = lock.id();
    lock.refresh().unwrap();
    assert_ne!(lock.id(), first);
    assert_eq!(repository.locks().unwrap()[0].0, lock.id());
    assert!(lock.is_valid());
    lock.release().unwrap();
    assert_eq!(files(&repository), 0);
    drop(repository.lock(options(true, "me")).unwrap());
    assert_eq!(files(&repository), 0);
}

#[test]
fn a_lock_that_somebody_removed_is_lost_for_good() {
    let (_directory, repository) = repository();
    let lock = repository.lock(options(false, "me")).unwrap();
    let other = repository.lock(options(false, "you")).unwrap();
    assert_eq!(repository.remove_locks_of("me").unwrap(), 1);
    assert!(!lock.is_valid() && other.is_valid());
    assert!(matches!(lock.refresh(), Err(RepositoryError::LockLost { .. })));
    assert!(matches!(lock.check(), Err(RepositoryError::LockLost { .. })));
    assert!(lock.release().is_ok(), "there is nothing left to release");
    assert_eq!(files(&repository), 1);
}

#[test]
fn a_lock_holds_for_22_minutes() {
    let minutes = |n: u64| Duration::from_secs(n * 60);
    for (refreshed, now, fresh) in [(0, 0, true), (5, 26, true), (5, 27, false), (5, 500, false)] {
        assert_eq!(
            is_fresh(minutes(refreshed), minutes(now)),
            fresh,
            "{refreshed} {now}"
        );
    }
}

#[test]
fn of_two_exclusive_locks_at_once_at_most_one_is_taken() {
    let (_directory, repository) = repository();
    for _ in 0..50 {
        let barrier = std::sync::Barrier::new(3);
        let take = || {
            barrier.wait();
            repository.lock(options(true, "me")).ok()
        };
        let taken: Vec<LockGuard> = std::thread::scope(|scope| {
            let running: Vec<_> = (0..3).map(|_| scope.spawn(take)).collect();
            running
                .into_iter()
                .filter_map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(taken.len() <= 1);
    }
    assert_eq!(files(&repository), 0);
}

#[test]
fn empty_lock_files_lock_nothing_and_damaged_ones_everything() {
    let (directory, repository) = repository();
    let path = directory.path().join("locks").join("ab".repeat(32));
    std::fs::write(&path, b"").unwrap();
    repository.lock(options(true, "me")).unwrap();
    std::fs::write(&path, b"junk").unwrap();
    let refused = repository.lock(options(false, "me"));
    assert!(matches!(refused, Err(RepositoryError::Damaged { .. })));
    assert_eq!(repository.remove_locks_of("me").unwrap(), 0);
    repository.remove_lock(&"ab".repeat(32).parse().unwrap()).unwrap();
    repository.lock(options(false, "me")).unwrap();
}
