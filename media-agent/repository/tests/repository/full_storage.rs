//! A storage that runs full: a typed error, no index for what is not there, and everything earlier stays good.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use outlast_repository::{
    BlobId, BlobKind, LocalStorage, Node, Repository, RepositoryError as Error, Snapshot, Timestamp, Tree,
    Writer, WriterOptions,
};

use crate::support::mounted::{Mounted, run};
use crate::support::restic::check;
use crate::support::{data_id, fast, noise, password};

fn options() -> WriterOptions {
    WriterOptions {
        pack_size: 2 << 20,
        ..WriterOptions::default()
    }
}

fn save(repository: &Repository, writer: &Writer, content: Vec<BlobId>) -> Result<(), Error> {
    let file = Node {
        name: b"file".to_vec(),
        content: Some(content),
        ..Node::default()
    };
    let (tree, _) = writer.add_tree(&Tree { nodes: vec![file] })?;
    writer.flush()?;
    repository
        .save_snapshot(&Snapshot::new(Timestamp::now(), tree, Vec::new(), String::new()))
        .map(|_| ())
}

/// Writes checkpoints until the storage is full, and looks at what is left.
fn fill_up(root: &Path) {
    let storage = Arc::new(LocalStorage::new(root));
    let repository = Repository::open_or_init_with(storage.clone(), &password(), fast()).unwrap();
    repository.reload_index().unwrap();
    let before = repository.snapshots().unwrap().len();
    let writer = repository.writer(options()).unwrap();
    let mut content = Vec::new();
    let mut saved = 0;
    let error = 'full: {
        for seed in 0..1000 {
            let blob = noise(seed, 700_000);
            let (kind, id) = data_id(&blob);
            if let Err(error) = writer.add_blob(kind, id, &blob) {
                break 'full error;
            }
            content.push(id);
            if seed % 5 == 4 {
                match save(&repository, &writer, content.clone()) {
                    Ok(()) => saved += 1,
                    Err(error) => break 'full error,
                }
            }
        }
        panic!("never full");
    };
    assert!(matches!(error, Error::StorageFull { .. }), "{error}");
    let blob = noise(5000, 100);
    let (kind, id) = data_id(&blob);
    // Unless only the snapshot did not fit, the writer is finished.
    if writer.flush().is_err() {
        assert!(matches!(
            writer.add_blob(kind, id, &blob),
            Err(Error::StorageFull { .. })
        ));
        assert!(matches!(writer.flush(), Err(Error::StorageFull { .. })));
    }
    drop(writer);
    assert!(saved > 0);
    check(root);
    let again = Repository::open(storage, &password()).unwrap();
    again.reload_index().unwrap();
    let snapshots = again.snapshots().unwrap();
    assert_eq!(snapshots.len(), before + saved);
    for (_, snapshot) in snapshots {
        for id in again.load_tree(&snapshot.tree).unwrap().nodes[0]
            .content
            .as_ref()
            .unwrap()
        {
            again.read_blob(BlobKind::Data, id).unwrap();
        }
    }
}

/// After room was made, a new writer goes on where the old one stopped.
fn go_on(root: &Path) {
    let repository = Repository::open(Arc::new(LocalStorage::new(root)), &password()).unwrap();
    repository.reload_index().unwrap();
    let writer = repository.writer(options()).unwrap();
    let blobs: Vec<Vec<u8>> = (0..10).map(|seed| noise(seed + 7000, 700_000)).collect();
    for blob in &blobs {
        writer.add_blob(data_id(blob).0, data_id(blob).1, blob).unwrap();
    }
    save(
        &repository,
        &writer,
        blobs.iter().map(|blob| BlobId::of(blob)).collect(),
    )
    .unwrap();
    check(root);
}

#[test]
fn a_full_memory_file_system_loses_nothing() {
    let mounted = match Mounted::new(&["-t", "tmpfs", "-o", "size=24m", "tmpfs"]) {
        Ok(mounted) => mounted,
        Err(reason) => return println!("skipped: this machine cannot mount a tmpfs: {reason}"),
    };
    fill_up(mounted.path());
    run(Command::new("mount")
        .args(["-o", "remount,size=64m"])
        .arg(mounted.path()))
    .unwrap();
    go_on(mounted.path());
}

#[test]
fn a_full_disk_file_system_loses_nothing() {
    let images = tempfile::tempdir().unwrap();
    let image = images.path().join("image");
    std::fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
    let mounted = run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image))
        .and_then(|()| Mounted::new(&["-o", "loop", image.to_str().unwrap()]));
    let mounted = match mounted {
        Ok(mounted) => mounted,
        Err(reason) => return println!("skipped: this machine cannot mount an image: {reason}"),
    };
    fill_up(mounted.path());
}

/// A ramfs refuses direct writes.
#[test]
fn a_file_system_without_direct_writes_is_used_all_the_same() {
    let mounted = match Mounted::new(&["-t", "ramfs", "ramfs"]) {
        Ok(mounted) => mounted,
        Err(reason) => return println!("skipped: this machine cannot mount a ramfs: {reason}"),
    };
    Repository::init_with(Arc::new(LocalStorage::new(mounted.path())), &password(), fast()).unwrap();
    go_on(mounted.path());
}
