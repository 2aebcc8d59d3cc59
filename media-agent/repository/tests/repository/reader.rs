//! Reading many blobs gives what reading each of them gives, also of files that are damaged.

use std::fs;

use outlast_repository::{RepositoryError, WriterOptions};

use crate::support::backup::back_up;
use crate::support::{TestRepository, data_id, files, noise, some_file};

/// Lengths around those at which blobs are fetched alone or together, in an order in which they straddle segments.
fn blobs() -> Vec<Vec<u8>> {
    let lengths = [
        0, 1, 5000, 100_000, 131_072, 131_073, 130_000, 262_144, 300_000, 17,
    ];
    (0..60)
        .map(|n| noise(n, lengths[usize::try_from(n).unwrap() % lengths.len()]))
        .chain([b"text ".repeat(100_000)])
        .collect()
}

fn stored() -> TestRepository {
    let test = TestRepository::new();
    let options = WriterOptions {
        pack_size: 3 << 20,
        open_packs: 1,
        ..WriterOptions::default()
    };
    let writer = test.repository.writer(options).unwrap();
    for blob in blobs() {
        let (kind, id) = data_id(&blob);
        writer.add_blob(kind, id, &blob).unwrap();
    }
    writer.finish().unwrap();
    test
}

#[test]
fn many_threads_read_every_blob_through_one_reader() {
    let test = stored();
    let reader = test.reopen().reader();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for blob in blobs() {
                    let (kind, id) = data_id(&blob);
                    assert!(
                        reader.read_blob(kind, &id).unwrap() == blob,
                        "{} bytes",
                        blob.len()
                    );
                }
            });
        }
    });
}

#[test]
fn s14_a_reader_names_damage_as_a_single_read_does() {
    type Change = fn(&std::path::Path);
    let changes: [(&str, Change); 3] = [
        ("gone", |path| fs::remove_file(path).unwrap()),
        ("cut short", |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 3]).unwrap();
        }),
        ("zeroed", |path| {
            let length = fs::metadata(path).unwrap().len();
            fs::write(path, vec![0; usize::try_from(length).unwrap()]).unwrap();
        }),
    ];
    for (what, change) in changes {
        let test = stored();
        change(&some_file(&test.directory.path().join("data")));
        let (repository, reader) = (test.reopen(), test.reopen().reader());
        let mut damaged = 0;
        for blob in blobs() {
            let (kind, id) = data_id(&blob);
            let (alone, together) = (repository.read_blob(kind, &id), reader.read_blob(kind, &id));
            match (alone, together) {
                (Ok(alone), Ok(together)) => assert!(alone == blob && together == blob, "{what}"),
                (Err(alone), Err(together)) => {
                    assert_eq!(alone.to_string(), together.to_string(), "{what}");
                    damaged += 1;
                }
                (alone, together) => panic!("{what}: {} {}", alone.is_ok(), together.is_ok()),
            }
        }
        assert!(damaged > 0, "{what}");
    }
}

#[test]
fn s14_trees_that_are_read_one_after_another_are_those_that_are_read_alone() {
    let source = tempfile::tempdir().unwrap();
    for number in 0..300 {
        let folder = source.path().join(format!("{}/{}", number % 7, number));
        fs::create_dir_all(&folder).unwrap();
        // Some are longer than what is fetched at once.
        let files = if number % 100 == 0 { 700 } else { number % 5 };
        for file in 0..files {
            fs::write(folder.join(format!("file with a long name {file:0200}")), b"x").unwrap();
        }
    }
    let test = TestRepository::new();
    let id = back_up(&test.repository, source.path(), WriterOptions::default());
    for is_damaged in [false, true] {
        if is_damaged {
            // The trees at the top are stored last.
            for path in files(&test.directory.path().join("data")) {
                let mut bytes = fs::read(&path).unwrap();
                let quarter = bytes.len() / 4;
                bytes[..quarter].fill(0);
                fs::write(&path, bytes).unwrap();
            }
        }
        let (alone, trees) = (test.reopen(), test.reopen().trees());
        let (mut read, mut lost) = (0, 0);
        let mut waiting = vec![alone.follow_snapshot(&id, |_| false).unwrap().1.tree];
        while let Some(tree) = waiting.pop() {
            match (alone.load_tree(&tree), trees.open(&tree)) {
                (Ok(alone), Ok(together)) => {
                    let together: Vec<_> = together.map(Result::unwrap).collect();
                    assert_eq!(alone.nodes, together);
                    waiting.extend(together.iter().filter_map(|node| node.subtree));
                    read += 1;
                }
                (Err(alone), Err(together)) => {
                    assert_eq!(alone.to_string(), together.to_string());
                    lost += 1;
                }
                (alone, together) => panic!("{} {}", alone.is_ok(), together.is_ok()),
            }
        }
        assert!(read > if is_damaged { 10 } else { 300 }, "{read}");
        assert_eq!(lost > 0, is_damaged, "{lost}");
    }
}

#[test]
fn a_blob_nobody_stored_is_missing() {
    let test = stored();
    let (kind, id) = data_id(b"nobody stored this");
    let error = test.reopen().reader().read_blob(kind, &id).unwrap_err();
    assert!(matches!(error, RepositoryError::MissingBlob { .. }), "{error}");
}
