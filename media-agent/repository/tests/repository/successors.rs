//! Snapshots that restic gave another id.

use outlast_repository::{RepositoryError as Error, Snapshot, SnapshotId, Timestamp, Tree, WriterOptions};

use crate::support::TestRepository;
use crate::support::restic::restic;

fn with_one() -> (TestRepository, SnapshotId, Snapshot) {
    let test = TestRepository::new();
    let writer = test.repository.writer(WriterOptions::default()).unwrap();
    let (tree, _) = writer.add_tree(&Tree { nodes: Vec::new() }).unwrap();
    writer.flush().unwrap();
    let snapshot = Snapshot::new(Timestamp::now(), tree, Vec::new(), "host".to_owned());
    let id = test.repository.save_snapshot(&snapshot).unwrap();
    (test, id, snapshot)
}

#[test]
fn t90_a_snapshot_is_followed_to_the_id_that_restic_gave_it() {
    let (test, id, snapshot) = with_one();
    let repository = &test.repository;
    assert_eq!(
        repository.follow_snapshot(&id, |_| true).unwrap(),
        (id, snapshot.clone())
    );
    for tag in ["one", "two"] {
        restic(test.directory.path(), &["tag", "--add", tag]);
        let (now, found) = repository.follow_snapshot(&id, |_| true).unwrap();
        assert_ne!(now, id);
        assert_eq!((found.original, found.tree), (Some(id), snapshot.tree));
        assert!(found.tags.contains(&tag.to_owned()));
    }
}

#[test]
fn t90_a_snapshot_is_followed_only_if_it_is_gone_and_one_took_its_place() {
    let (test, id, snapshot) = with_one();
    let repository = &test.repository;
    let made_from_it = |host: &str| Snapshot {
        hostname: host.to_owned(),
        original: Some(id),
        ..snapshot.clone()
    };
    let first = repository.save_snapshot(&made_from_it("a")).unwrap();
    assert_eq!(
        repository.follow_snapshot(&id, |_| true).unwrap().0,
        id,
        "it is still there"
    );
    repository.remove_snapshot(&id).unwrap();
    assert_eq!(repository.follow_snapshot(&id, |_| true).unwrap().0, first);
    let second = repository.save_snapshot(&made_from_it("b")).unwrap();
    let error = repository.follow_snapshot(&id, |_| true).unwrap_err();
    assert!(
        matches!(&error, Error::SeveralSuccessors { by, .. } if by.len() == 2),
        "{error}"
    );
    assert!(error.to_string().contains(&second.to_string()), "{error}");
    for gone in [first, second] {
        repository.remove_snapshot(&gone).unwrap();
    }
    assert!(
        repository
            .follow_snapshot(&id, |_| true)
            .unwrap_err()
            .is_not_found()
    );
}
