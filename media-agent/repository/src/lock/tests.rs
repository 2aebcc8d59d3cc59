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
    lock_of(repository, exclusive, age, ("other", 7));
}

fn lock_of(repository: &Repository, exclusive: bool, age: i64, (hostname, pid): (&str, u32)) {
    let time = Timestamp::new(Timestamp::now().secs - age, 0);
    let lock = LockInfo {
        time,
        exclusive,
        hostname: hostname.to_owned(),
        username: "root".to_owned(),
        pid,
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
            assert!(matches!(&error, RepositoryError::Locked { .. }));
            for said in ["root@other", "process 7", "since 20"] {
                assert!(error.to_string().contains(said), "{error}");
            }
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

/// A process that has ended, and one whose parent has not noticed.
#[test]
fn f15_locks_of_ended_processes_of_this_host_are_removed_at_once() {
    let this_host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut ended = std::process::Command::new("true").spawn().unwrap();
    let gone = ended.id();
    ended.wait().unwrap();
    let mut zombie = std::process::Command::new("true").spawn().unwrap();
    while !std::fs::read_to_string(format!("/proc/{}/stat", zombie.id()))
        .unwrap()
        .contains(") Z ")
    {
        std::thread::yield_now();
    }
    // (host, process, whether it still counts)
    let rows = [
        (&*this_host, gone, false),
        (&*this_host, zombie.id(), false),
        (&*this_host, std::process::id(), true),
        ("other", gone, true),
        (&*this_host, 0, true),
    ];
    for (host, pid, counts) in rows {
        let (_directory, repository) = repository();
        lock_of(&repository, true, 0, (host, pid));
        let taken = repository.lock(options(false, "me"));
        assert_eq!(taken.is_err(), counts, "{host} {pid}");
        assert_eq!(files(&repository), 1, "theirs or ours, {host} {pid}");
        drop(taken);
        // Shared ones are in nobody's way here, but in that of a prune.
        lock_of(&repository, false, 0, (host, pid));
        assert_eq!(repository.remove_dead_locks().unwrap().is_empty(), counts);
    }
    zombie.wait().unwrap();
}

#[test]
fn empty_lock_files_lock_nothing_and_unreadable_ones_count_by_their_age() {
    let (directory, repository) = repository();
    let path = directory.path().join("locks").join("ab".repeat(32));
    std::fs::write(&path, b"").unwrap();
    repository.lock(options(true, "me")).unwrap();
    let minutes = Duration::from_secs(60);
    for (age, counts) in [(0, true), (29, true), (31, false)] {
        std::fs::write(&path, b"junk").unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::SystemTime::now() - age * minutes)
            .unwrap();
        match repository.lock(options(false, "me")) {
            Ok(_) => assert!(!counts, "{age}"),
            Err(error) => {
                assert!(
                    counts && matches!(error, RepositoryError::Locked { .. }),
                    "{age}: {error}"
                );
                assert!(
                    error
                        .to_string()
                        .contains("the lock abababab, which cannot be read"),
                    "{error}"
                );
            }
        }
        assert!(path.exists(), "it is somebody else's");
    }
    assert_eq!(repository.remove_locks_of("me").unwrap(), 0);
    repository.remove_lock(&"ab".repeat(32).parse().unwrap()).unwrap();
    repository.lock(options(true, "me")).unwrap();
}
