//! What we write, restic checks and restores; what restic prunes, we notice.

use std::sync::Arc;

use outlast_repository::{
    BlobKind, LocalStorage, LockOptions, Node, NodeKind, Repository, Snapshot, Timestamp, Tree, WriterOptions,
};

use crate::support::backup::back_up;
use crate::support::compare::{same_as_tree, same_directories};
use crate::support::restic::{check, restic, restic_fails};
use crate::support::{TestRepository, data_id, noise, password, sample};

#[test]
fn restic_checks_and_restores_what_we_wrote() {
    for pack_size in [16 << 20, 100_000] {
        let test = TestRepository::new();
        let source = tempfile::tempdir().unwrap();
        sample::fill(source.path());
        let id = back_up(
            &test.repository,
            source.path(),
            WriterOptions {
                pack_size,
                ..WriterOptions::default()
            },
        );

        check(test.directory.path());
        let target = tempfile::tempdir().unwrap();
        let to = target.path().to_str().unwrap();
        restic(
            test.directory.path(),
            &["restore", &id.to_string(), "--target", to],
        );
        same_directories(source.path(), target.path());

        let other = test.reopen();
        same_as_tree(&other, &other.snapshot(&id).unwrap().tree, source.path());
    }
}

#[test]
fn restic_understands_every_kind_of_node_and_snapshot_field() {
    let test = TestRepository::new();
    let writer = test.repository.writer(WriterOptions::default()).unwrap();
    let kinds = [
        NodeKind::Fifo,
        NodeKind::Socket,
        NodeKind::CharDev,
        NodeKind::Dev,
        NodeKind::Symlink,
    ];
    let nodes = kinds.map(|kind| Node {
        name: format!("{kind:?}").into_bytes(),
        kind,
        user: "üser".to_owned(),
        mtime: Timestamp::new(i64::MAX, 0),
        linktarget: (kind == NodeKind::Symlink).then(|| b"not utf-8 \xff".to_vec()),
        ..Node::default()
    });
    let (tree, _) = writer
        .add_tree(&Tree {
            nodes: nodes.to_vec(),
        })
        .unwrap();
    writer.flush().unwrap();
    let mut snapshot = Snapshot::new(Timestamp::now(), tree, vec!["/a b".to_owned()], "host".to_owned());
    snapshot.tags = vec!["job=1".to_owned()];
    snapshot.excludes = vec!["*.tmp".to_owned()];
    let first = test.repository.save_snapshot(&snapshot).unwrap();
    snapshot.parent = Some(first);
    snapshot.program_version = "outlast 1".to_owned();
    snapshot.summary = Some(outlast_repository::SnapshotSummary::default());
    let second = test.repository.save_snapshot(&snapshot).unwrap();

    check(test.directory.path());
    let listed = restic(test.directory.path(), &["snapshots", "--json"]);
    for part in [
        &*first.to_string(),
        &*second.to_string(),
        "job=1",
        "*.tmp",
        "/a b",
        "\"hostname\":\"host\"",
    ] {
        assert!(listed.contains(part), "{part} in {listed}");
    }
    assert!(restic(test.directory.path(), &["ls", "-l", &second.to_string()]).contains("/Socket"));
    assert_eq!(test.reopen().load_tree(&tree).unwrap().nodes.len(), kinds.len());
}

#[test]
fn blobs_of_all_sizes_come_back() {
    let test = TestRepository::new();
    store_and_read_all_sizes(&test, test.reopen());
    let test = TestRepository::new();
    let buffered = LocalStorage::without_direct_access(test.directory.path());
    let repository = Repository::open(Arc::new(buffered), &password()).unwrap();
    store_and_read_all_sizes(&test, repository);
}

fn store_and_read_all_sizes(test: &TestRepository, repository: Repository) {
    let writer = repository
        .writer(WriterOptions {
            pack_size: 1 << 20,
            ..WriterOptions::default()
        })
        .unwrap();
    // The last ones are larger than a pack of this size, and than its buffer.
    let sizes = [
        0,
        1,
        31,
        4095,
        4096,
        4097,
        1 << 20,
        (1 << 20) + 1,
        2_300_000,
        9 << 20,
    ];
    let blobs: Vec<Vec<u8>> = sizes
        .into_iter()
        .flat_map(|size| [noise(7, size), vec![b'a'; size]])
        .collect();
    for blob in &blobs {
        let (kind, id) = data_id(blob);
        writer.add_blob(kind, id, blob).unwrap();
        assert!(writer.contains(kind, &id));
    }
    let frame = zstd::bulk::compress(b"", 1).unwrap();
    assert!(
        !writer
            .add_compressed(BlobKind::Data, data_id(b"").1, &frame, 0)
            .unwrap()
            .new
    );
    let flushed = writer.flush().unwrap();
    assert_eq!(flushed.blobs, blobs.len() as u64 - 1);
    let (tree, _) = writer.add_tree(&Tree::default()).unwrap();
    writer.finish().unwrap();
    repository
        .save_snapshot(&Snapshot::new(Timestamp::now(), tree, Vec::new(), String::new()))
        .unwrap();

    let other = test.reopen();
    for blob in &blobs {
        let (kind, id) = data_id(blob);
        assert_eq!(other.read_blob(kind, &id).unwrap(), *blob);
    }
    check(test.directory.path());
}

#[test]
fn a_prune_by_restic_is_noticed() {
    let test = TestRepository::new();
    let source = tempfile::tempdir().unwrap();
    std::fs::write(source.path().join("a"), noise(1, 10_000)).unwrap();
    let first = back_up(&test.repository, source.path(), WriterOptions::default());
    std::fs::write(source.path().join("a"), noise(2, 10_000)).unwrap();
    let second = back_up(&test.repository, source.path(), WriterOptions::default());
    let observer = test.reopen();
    let (kind, old) = data_id(&noise(1, 10_000));
    assert!(observer.contains(kind, &old));

    restic(
        test.directory.path(),
        &["forget", &first.to_string(), "--prune", "--max-unused", "0"],
    );

    for repository in [&observer, &test.repository] {
        let load = repository.reload_index().unwrap();
        assert_eq!(
            load.files,
            std::fs::read_dir(test.directory.path().join("index"))
                .unwrap()
                .count()
        );
        assert!(!repository.contains(kind, &old));
        same_as_tree(
            repository,
            &repository.snapshot(&second).unwrap().tree,
            source.path(),
        );
        assert!(repository.snapshot(&first).is_err());
    }
}

#[test]
fn restic_respects_our_lock_and_we_respect_restics() {
    let test = TestRepository::new();
    let options = LockOptions {
        exclusive: false,
        hostname: "agent.example".to_owned(),
        username: "u".to_owned(),
    };
    let lock = test.repository.lock(options.clone()).unwrap();
    let shown = restic(
        test.directory.path(),
        &["--no-lock", "cat", "lock", &lock.id().to_string()],
    );
    assert!(shown.contains("agent.example"), "{shown}");
    let refused = restic_fails(test.directory.path(), &["check"]);
    assert!(refused.contains("agent.example"), "{refused}");
    let source = tempfile::tempdir().unwrap();
    restic(
        test.directory.path(),
        &["backup", source.path().to_str().unwrap()],
    );
    lock.release().unwrap();
    assert!(restic(test.directory.path(), &["check"]).contains("no errors were found"));
    assert!(test.repository.locks().unwrap().is_empty());
}
