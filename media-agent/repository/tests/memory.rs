//! What the tree of a huge directory takes of the memory while it is written and read. Alone in its process, whose peak is what is
//! looked at.

#![allow(
    clippy::unwrap_used,
    reason = "clippy sees test functions but not what they call"
)]

use std::fs;
use std::sync::Arc;

use outlast_repository::{
    BlobId, InitOptions, LocalStorage, Node, Password, Repository, TreeReader, WriterOptions,
};

const ENTRIES: u32 = 1_000_000;

fn kib(of: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(of)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// By how many bytes the process grew at most meanwhile.
fn growth<T>(of: impl FnOnce() -> T) -> (T, usize) {
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = kib("VmRSS:");
    let done = of();
    (done, kib("VmHWM:").saturating_sub(before) << 10)
}

fn entry(number: u32) -> Node {
    Node {
        name: format!("name {number:07}").into_bytes(),
        content: Some(vec![BlobId::of(&number.to_le_bytes())]),
        ..Node::default()
    }
}

#[test]
fn t90_b07_a_long_tree_is_in_memory_once() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Arc::new(LocalStorage::new(folder.path()));
    let password = Password::new("correct horse".to_owned());
    let options = InitOptions { scrypt_log_n: 4 };
    let repository = Repository::init_with(storage.clone(), &password, options).unwrap();

    let ((id, stored), grown) = growth(|| {
        let writer = repository.writer(WriterOptions::default()).unwrap();
        let mut tree = writer.new_tree();
        (0..ENTRIES).for_each(|number| tree.push(&entry(number)).unwrap());
        let (id, added) = writer.add_encoded_tree(tree).unwrap();
        writer.finish().unwrap();
        (id, usize::try_from(added.stored_bytes).unwrap())
    });
    assert!(stored > 32 << 20, "{stored} bytes");
    assert!(
        grown < stored / 2 * 3,
        "written: {grown} bytes for a tree of {stored}"
    );

    let repository = Repository::open(storage, &password).unwrap();
    repository.reload_index().unwrap();
    let all = |trees: [TreeReader; 2]| {
        let [one, other] = trees;
        let pairs = one.zip(other).zip(0..);
        pairs
            .map(|((one, other), number)| {
                assert!([one.unwrap(), other.unwrap()] == [(); 2].map(|()| entry(number)))
            })
            .count()
    };
    // The walk of a backup along its parent, and who collects what the client may name.
    let (read, grown) = growth(|| all([(); 2].map(|()| repository.stream_tree(&id).unwrap())));
    assert_eq!(read, ENTRIES as usize);
    assert!(
        grown < stored / 2,
        "streamed: {grown} bytes for a tree of {stored}"
    );
    let (read, grown) = growth(|| all([(); 2].map(|()| repository.open_tree(&id).unwrap())));
    assert_eq!(read, ENTRIES as usize);
    assert!(
        grown < stored / 2 * 5,
        "read twice: {grown} bytes for a tree of {stored}"
    );
}
