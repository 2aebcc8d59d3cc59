//! Reading many blobs gives what reading each of them gives, also of files that are damaged.

use std::fs;

use outlast_repository::{RepositoryError, WriterOptions};

use crate::support::{TestRepository, data_id, noise, some_file};

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
fn a_blob_nobody_stored_is_missing() {
    let test = stored();
    let (kind, id) = data_id(b"nobody stored this");
    let error = test.reopen().reader().read_blob(kind, &id).unwrap_err();
    assert!(matches!(error, RepositoryError::MissingBlob { .. }), "{error}");
}
