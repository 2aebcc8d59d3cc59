//! Compares: a directory with a directory, and a tree in a repository with a directory.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use outlast_repository::{BlobId, BlobKind, Node, Repository, st_mode_from_go_mode};

/// Type, content, permissions, owner, times, links and attributes are the same, all the way down.
pub(crate) fn same_directories(left: &Path, right: &Path) {
    let (names, others) = (names_in(left), names_in(right));
    assert_eq!(names, others, "entries of {}", left.display());
    for name in names {
        let (left, right) = (left.join(&name), right.join(&name));
        let (a, b) = (
            left.symlink_metadata().unwrap(),
            right.symlink_metadata().unwrap(),
        );
        let what = |m: &fs::Metadata| (m.mode(), m.uid(), m.gid(), m.mtime(), m.mtime_nsec(), m.nlink());
        assert_eq!(what(&a), what(&b), "{}", left.display());
        if a.is_dir() {
            same_directories(&left, &right);
        } else if a.is_symlink() {
            assert_eq!(fs::read_link(&left).unwrap(), fs::read_link(&right).unwrap());
            continue;
        } else if a.is_file() {
            assert!(
                fs::read(&left).unwrap() == fs::read(&right).unwrap(),
                "content of {}",
                left.display()
            );
        }
        assert_eq!(
            attributes(&left),
            attributes(&right),
            "attributes of {}",
            left.display()
        );
    }
}

/// The tree describes exactly what is in the directory; read through our API.
pub(crate) fn same_as_tree(repository: &Repository, tree: &BlobId, directory: &Path) {
    let tree = repository.load_tree(tree).unwrap();
    let names: Vec<OsString> = tree
        .nodes
        .iter()
        .map(|node| OsStr::from_bytes(&node.name).to_owned())
        .collect();
    assert_eq!(names, names_in(directory), "entries of {}", directory.display());
    for node in &tree.nodes {
        same_entry(repository, node, &directory.join(OsStr::from_bytes(&node.name)));
    }
}

fn same_entry(repository: &Repository, node: &Node, path: &Path) {
    let metadata = path.symlink_metadata().unwrap();
    let described = (
        st_mode_from_go_mode(node.mode),
        node.uid,
        node.gid,
        node.mtime.secs,
        i64::from(node.mtime.nanos),
    );
    let real = (
        metadata.mode(),
        metadata.uid(),
        metadata.gid(),
        metadata.mtime(),
        metadata.mtime_nsec(),
    );
    assert_eq!(described, real, "{}", path.display());
    assert_eq!(node.inode, metadata.ino());
    if metadata.is_dir() {
        return same_as_tree(repository, &node.subtree.unwrap(), path);
    }
    if metadata.is_symlink() {
        let target = fs::read_link(path).unwrap();
        return assert_eq!(node.linktarget.as_deref(), Some(target.as_os_str().as_bytes()));
    }
    let mut content = Vec::new();
    for id in node.content.as_ref().unwrap() {
        let blob = repository.read_blob(BlobKind::Data, id).unwrap();
        assert_eq!(
            repository.blob_len(BlobKind::Data, id),
            Some(u32::try_from(blob.len()).unwrap())
        );
        content.extend_from_slice(&blob);
    }
    assert_eq!(node.size, metadata.len());
    assert!(
        content == fs::read(path).unwrap(),
        "content of {}",
        path.display()
    );
    let described: BTreeMap<_, _> = node
        .extended_attributes
        .iter()
        .map(|a| (OsString::from(&a.name), a.value.clone()))
        .collect();
    assert_eq!(described, attributes(path), "attributes of {}", path.display());
}

fn names_in(directory: &Path) -> Vec<OsString> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    names
}

fn attributes(path: &Path) -> BTreeMap<OsString, Vec<u8>> {
    xattr::list(path)
        .unwrap()
        .map(|name| (name.clone(), xattr::get(path, &name).unwrap().unwrap_or_default()))
        .collect()
}
