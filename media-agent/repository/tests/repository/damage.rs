//! Damaged files: a typed error that names the file, never a panic, and nothing else suffers.

use std::fs;
use std::path::{Path, PathBuf};

use outlast_repository::{
    BlobKind, FileKind, LockOptions, ObjectKind, PackId, Repository, RepositoryError as Error, Result,
    Snapshot, Timestamp, Tree, WriterOptions,
};

use crate::support::{TestRepository, data_id, noise, password, some_file, storage};

type Change = fn(&mut Vec<u8>);

const CHANGES: [(&str, Change); 9] = [
    ("emptied", |bytes| bytes.clear()),
    ("one byte left", |bytes| bytes.truncate(1)),
    ("cut in the middle", |bytes| bytes.truncate(bytes.len() / 2)),
    ("last byte gone", |bytes| bytes.truncate(bytes.len() - 1)),
    ("first byte changed", |bytes| bytes[0] ^= 1),
    ("middle byte changed", |bytes| {
        let at = bytes.len() / 2;
        bytes[at] ^= 0x80;
    }),
    ("last byte changed", |bytes| *bytes.last_mut().unwrap() ^= 1),
    ("zeroed", |bytes| bytes.fill(0)),
    ("something else", |bytes| *bytes = noise(99, bytes.len())),
];

/// Opens the repository and uses the file of that kind in every way there is.
fn use_everything(test: &TestRepository) -> Result<()> {
    let repository = Repository::open(storage(&test.directory), &password())?;
    repository.reload_index()?;
    for lock in repository.lock_holders()? {
        lock.info.map_err(|damage| Error::Damaged {
            kind: ObjectKind::File(FileKind::Lock),
            name: lock.id.to_string(),
            location: repository.location().to_owned(),
            damage,
        })?;
    }
    let list = repository.list_snapshots()?;
    if let Some((_, error)) = list.damaged.into_iter().next() {
        return Err(error);
    }
    for blob in blobs() {
        let (kind, id) = data_id(&blob);
        repository.read_blob(kind, &id)?;
    }
    for (_, snapshot) in list.readable {
        repository.load_tree(&snapshot.tree)?;
    }
    for path in packs(test) {
        let id: PackId = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        repository.pack_blobs(&id, fs::metadata(&path).unwrap().len())?;
    }
    Ok(())
}

fn blobs() -> [Vec<u8>; 3] {
    [noise(1, 5000), b"text ".repeat(1000), Vec::new()]
}

fn packs(test: &TestRepository) -> Vec<PathBuf> {
    let directories = fs::read_dir(test.directory.path().join("data")).unwrap();
    directories
        .flat_map(|entry| fs::read_dir(entry.unwrap().path()).unwrap())
        .map(|e| e.unwrap().path())
        .collect()
}

fn written() -> TestRepository {
    let test = TestRepository::new();
    let writer = test.repository.writer(WriterOptions::default()).unwrap();
    for blob in blobs() {
        writer
            .add_blob(data_id(&blob).0, data_id(&blob).1, &blob)
            .unwrap();
    }
    let (tree, _) = writer.add_tree(&Tree::default()).unwrap();
    writer.finish().unwrap();
    test.repository
        .save_snapshot(&Snapshot::new(Timestamp::now(), tree, Vec::new(), String::new()))
        .unwrap();
    test
}

#[test]
fn every_damage_to_every_kind_of_file_is_named() {
    let test = written();
    let lock = LockOptions {
        exclusive: false,
        hostname: "a".to_owned(),
        username: "u".to_owned(),
    };
    let _lock = test.repository.lock(lock).unwrap();
    use_everything(&test).unwrap();
    let root = test.directory.path();
    let mut files: Vec<(FileKind, PathBuf)> = packs(&test)
        .into_iter()
        .map(|path| (FileKind::Pack, path))
        .collect();
    assert_eq!(files.len(), 2, "data and trees have packs of their own");
    files.push((FileKind::Config, root.join("config")));
    files.push((FileKind::Key, some_file(&root.join("keys"))));
    files.push((FileKind::Index, some_file(&root.join("index"))));
    files.push((FileKind::Snapshot, some_file(&root.join("snapshots"))));
    files.push((FileKind::Lock, some_file(&root.join("locks"))));
    for (kind, path) in files {
        let good = fs::read(&path).unwrap();
        for (name, change) in CHANGES {
            let mut bytes = good.clone();
            change(&mut bytes);
            fs::write(&path, bytes).unwrap();
            let result = use_everything(&test);
            // An empty lock file is what an interrupted program can leave behind; it locks nothing.
            if kind == FileKind::Lock && name == "emptied" {
                result.unwrap();
                continue;
            }
            let error = result.expect_err(name);
            if kind == FileKind::Index {
                // It counts as absent.
                let text = error.to_string();
                assert!(
                    matches!(error, Error::MissingBlob { .. }) && text.contains("restic repair index"),
                    "{text}"
                );
                let damaged = test.reopen().damaged_index_files();
                let named: Vec<_> = damaged.iter().map(ToString::to_string).collect();
                assert_eq!(named, [path.file_name().unwrap().to_str().unwrap()], "{name}");
                continue;
            }
            assert!(names_the_file(&error, kind, &path), "{kind} {name}: {error}");
        }
        fs::write(&path, &good).unwrap();
        use_everything(&test).unwrap();
    }
}

fn names_the_file(error: &Error, kind: FileKind, path: &Path) -> bool {
    match error {
        Error::Damaged {
            kind: ObjectKind::File(damaged),
            name,
            ..
        } => *damaged == kind && path.file_name().unwrap().to_str() == Some(name),
        // Damage inside a pack shows in one of its blobs.
        Error::Damaged {
            kind: ObjectKind::Blob(_),
            ..
        } => kind == FileKind::Pack,
        _ => false,
    }
}

#[test]
fn missing_files_are_named() {
    let test = written();
    let pack = some_file(&test.directory.path().join("data"));
    let name = pack.file_name().unwrap().to_str().unwrap().to_owned();
    fs::remove_file(&pack).unwrap();
    let error = use_everything(&test).unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Damaged {
                kind: ObjectKind::File(FileKind::Pack),
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains(&name), "{error}");

    let (kind, id) = data_id(b"never stored");
    let error = test.repository.read_blob(kind, &id).unwrap_err();
    assert!(matches!(error, Error::MissingBlob { .. }));
    let snapshot = Snapshot::new(Timestamp::now(), id, Vec::new(), String::new());
    assert!(matches!(
        test.repository.save_snapshot(&snapshot),
        Err(Error::MissingBlob {
            kind: BlobKind::Tree,
            ..
        })
    ));
}

#[test]
fn a_damaged_snapshot_does_not_hide_the_others() {
    let test = written();
    let (good, mut snapshot) = test.repository.snapshots().unwrap().remove(0);
    snapshot.tags = vec!["second".to_owned()];
    let bad = test.repository.save_snapshot(&snapshot).unwrap();
    let path = test.directory.path().join("snapshots").join(bad.to_string());
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
    let list = test.repository.list_snapshots().unwrap();
    assert_eq!((list.readable.len(), list.readable[0].0), (1, good));
    assert!(list.damaged[0].0 == bad && list.damaged[0].1.to_string().contains(&bad.to_string()));
    assert_eq!(test.repository.snapshots().unwrap().len(), 1);
}

#[test]
fn a_second_copy_of_a_blob_saves_it() {
    let test = TestRepository::new();
    let blob = noise(1, 5000);
    let (kind, id) = data_id(&blob);
    let handles = [test.reopen(), test.reopen()];
    for handle in &handles {
        let writer = handle.writer(WriterOptions::default()).unwrap();
        assert!(writer.add_blob(kind, id, &blob).unwrap().new);
        writer.finish().unwrap();
    }
    let all = packs(&test);
    assert_eq!(all.len(), 2);
    for path in &all {
        let good = fs::read(path).unwrap();
        fs::write(path, &good[..100]).unwrap();
        assert_eq!(test.reopen().read_blob(kind, &id).unwrap(), blob);
        fs::write(path, &good).unwrap();
    }
}

#[test]
fn snapshots_are_found_by_the_beginning_of_their_id() {
    let test = written();
    let (id, snapshot) = test.repository.snapshots().unwrap().remove(0);
    let text = id.to_string();
    for length in [1, 8, 64] {
        assert_eq!(
            test.repository.find_snapshot(&text[..length]).unwrap(),
            (id, snapshot.clone())
        );
    }
    for wrong in ["", "x", "../config", &format!("{text}0")] {
        assert!(
            matches!(
                test.repository.find_snapshot(wrong),
                Err(Error::NoSuchSnapshot { .. })
            ),
            "{wrong}"
        );
    }
    for number in 0..17 {
        let mut other = snapshot.clone();
        other.uid = number + 1;
        test.repository.save_snapshot(&other).unwrap();
    }
    let ambiguous = "0123456789abcdef"
        .chars()
        .map(|digit| test.repository.find_snapshot(&digit.to_string()));
    assert!(
        ambiguous
            .into_iter()
            .any(|found| matches!(found, Err(Error::AmbiguousSnapshot { .. })))
    );
    test.repository.remove_snapshot(&id).unwrap();
    assert!(matches!(
        test.repository.remove_snapshot(&id),
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        test.repository.snapshot(&id),
        Err(Error::NotFound { .. })
    ));
}
