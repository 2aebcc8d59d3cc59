//! Repositories that restic made: we read every byte, and write beside restic.

use std::path::Path;

use outlast_repository::{BlobId, BlobKind, NodeKind, PackId, Repository, Tree, WriterOptions};

use crate::support::backup::back_up;
use crate::support::compare::same_as_tree;
use crate::support::restic::{check, restic};
use crate::support::{password, sample, storage};

#[test]
fn everything_restic_wrote_is_read_back() {
    for compression in ["auto", "max", "off"] {
        let directory = tempfile::tempdir().unwrap();
        let source = tempfile::tempdir().unwrap();
        sample::fill(source.path());
        restic(directory.path(), &["init", "--repository-version", "2"]);
        let path = source.path().to_str().unwrap();
        restic(
            directory.path(),
            &["backup", "--compression", compression, "--tag", "a,b", path],
        );

        let repository = Repository::open(storage(&directory), &password()).unwrap();
        assert!(restic(directory.path(), &["cat", "config"]).contains(repository.id()));
        repository.reload_index().unwrap();
        let snapshots = repository.snapshots().unwrap();
        let [(id, snapshot)] = &snapshots[..] else {
            panic!("{snapshots:?}")
        };
        assert_eq!(snapshot.paths, [path]);
        assert_eq!(snapshot.tags, ["a", "b"]);
        assert_eq!(repository.find_snapshot(&id.to_string()[..8]).unwrap().0, *id);

        let root = descend(&repository, snapshot.tree, source.path());
        same_as_tree(&repository, &root, source.path());
        trees_are_written_as_restic_does(&repository, &snapshot.tree);
        packs_agree_with_the_index(&repository, directory.path());

        // Both write into it from now on.
        let ours = back_up(&repository, source.path(), WriterOptions::default());
        restic(directory.path(), &["backup", path]);
        check(directory.path());
        assert_eq!(repository.snapshots().unwrap().len(), 3);
        same_as_tree(
            &repository,
            &repository.snapshot(&ours).unwrap().tree,
            source.path(),
        );
    }
}

/// restic puts the absolute path's directories above the backup.
fn descend(repository: &Repository, tree: BlobId, path: &Path) -> BlobId {
    path.components().skip(1).fold(tree, |tree, part| {
        let tree = repository.load_tree(&tree).unwrap();
        tree.find(part.as_os_str().as_encoded_bytes())
            .unwrap()
            .subtree
            .unwrap()
    })
}

fn trees_are_written_as_restic_does(repository: &Repository, tree: &BlobId) {
    let blob = repository.read_blob(BlobKind::Tree, tree).unwrap();
    let decoded = Tree::decode(&blob).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&decoded.encode()),
        String::from_utf8_lossy(&blob)
    );
    for node in decoded.nodes.iter().filter(|node| node.kind == NodeKind::Dir) {
        trees_are_written_as_restic_does(repository, &node.subtree.unwrap());
    }
}

fn packs_agree_with_the_index(repository: &Repository, directory: &Path) {
    let mut blobs = 0;
    for prefix in std::fs::read_dir(directory.join("data")).unwrap() {
        for pack in std::fs::read_dir(prefix.unwrap().path()).unwrap() {
            let pack = pack.unwrap();
            let id: PackId = pack.file_name().to_str().unwrap().parse().unwrap();
            for blob in repository
                .pack_blobs(&id, pack.metadata().unwrap().len())
                .unwrap()
            {
                assert_eq!(repository.blob_len(blob.kind, &blob.id), Some(blob.plain_len()));
                repository.read_blob(blob.kind, &blob.id).unwrap();
                blobs += 1;
            }
        }
    }
    assert_eq!(repository.reload_index().unwrap().blobs, blobs);
}
