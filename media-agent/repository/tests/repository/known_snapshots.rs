//! B-08: of the snapshots only those are read that are new.

use outlast_repository::{Snapshot, SnapshotId, Timestamp, Tree, WriterOptions};

use crate::support::TestRepository;

fn add(test: &TestRepository, host: &str) -> SnapshotId {
    let writer = test.repository.writer(WriterOptions::default()).unwrap();
    let (tree, _) = writer.add_tree(&Tree { nodes: Vec::new() }).unwrap();
    writer.flush().unwrap();
    let snapshot = Snapshot::new(Timestamp::now(), tree, Vec::new(), host.to_owned());
    test.repository.save_snapshot(&snapshot).unwrap()
}

fn hosts(test: &TestRepository) -> (Vec<String>, usize) {
    let list = test.repository.list_snapshots().unwrap();
    let hosts = list
        .readable
        .iter()
        .map(|(_, snapshot)| snapshot.hostname.clone());
    (hosts.collect(), list.damaged.len())
}

#[test]
fn b08_a_snapshot_is_read_once() {
    let test = TestRepository::new();
    let path = |id: &SnapshotId| test.directory.path().join(format!("snapshots/{id}"));
    let ids = ["a", "b", "c"].map(|host| add(&test, host));
    assert_eq!(hosts(&test), (vec!["a".into(), "b".into(), "c".into()], 0));
    // Whoever read it again would find that it is not what it was.
    let length = std::fs::metadata(path(&ids[0])).unwrap().len();
    std::fs::write(path(&ids[0]), vec![0; usize::try_from(length).unwrap()]).unwrap();
    add(&test, "d");
    assert_eq!(
        hosts(&test),
        (vec!["a".into(), "b".into(), "c".into(), "d".into()], 0)
    );
    assert!(
        test.repository.snapshot(&ids[0]).is_err(),
        "who asks for it reads it"
    );
    // What is gone is gone, and what was cut is read.
    test.repository.remove_snapshot(&ids[1]).unwrap();
    std::fs::write(path(&ids[2]), b"cut").unwrap();
    assert_eq!(hosts(&test), (vec!["a".into(), "d".into()], 1));
}

/// Prints what a look costs; decides nothing by time.
#[test]
#[ignore = "measures"]
fn b08_measure_a_look_at_ten_thousand_snapshots() {
    let test = TestRepository::new();
    for number in 0..10_000 {
        let writer_host = format!("host-{number}");
        let id = add(&test, &writer_host);
        if number == 0 {
            println!("first: {id}");
        }
    }
    for round in ["first", "second", "third"] {
        let began = std::time::Instant::now();
        let count = test.repository.snapshots().unwrap().len();
        println!("{round} look at {count}: {:?}", began.elapsed());
    }
}
