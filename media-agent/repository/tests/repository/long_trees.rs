//! A long tree that is streamed from where it is stored, over what happens to it meanwhile.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use outlast_repository::{BlobId, BlobKind, Node, RepositoryError, WriterOptions};

use crate::support::TestRepository;

const ENTRIES: u32 = 120_000;

fn entry(number: u32) -> Node {
    Node {
        name: format!("name {number:07}").into_bytes(),
        content: Some(vec![BlobId::of(&number.to_le_bytes())]),
        ..Node::default()
    }
}

/// A repository with one long tree, and the pack that it is in.
fn stored() -> (TestRepository, BlobId, PathBuf) {
    let test = TestRepository::new();
    let writer = test.repository.writer(WriterOptions::default()).unwrap();
    let mut tree = writer.new_tree();
    (0..ENTRIES).for_each(|number| tree.push(&entry(number)).unwrap());
    let (id, added) = writer.add_encoded_tree(tree).unwrap();
    assert!(added.stored_bytes > 4 << 20, "{}", added.stored_bytes);
    writer.finish().unwrap();
    let folders = fs::read_dir(test.directory.path().join("data")).unwrap();
    let packs: Vec<_> = folders
        .flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap())
        .map(|pack| pack.unwrap().path())
        .collect();
    let [pack] = packs.try_into().unwrap();
    (test, id, pack)
}

fn flip(pack: &PathBuf, at: u64) {
    let file = fs::File::options().read(true).write(true).open(pack).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

#[test]
fn t90_b07_a_streamed_tree_has_the_entries_of_the_tree() {
    let (test, id, _) = stored();
    let repository = test.reopen();
    let (mut streamed, mut opened) = (0, repository.open_tree(&id).unwrap());
    let tree = repository.stream_tree(&id).unwrap();
    assert!(tree.memory() < 3 << 20 && opened.memory() > 4 << 20);
    for node in tree {
        assert_eq!(node.unwrap(), opened.next().unwrap().unwrap());
        streamed += 1;
    }
    assert!(opened.next().is_none() && streamed == ENTRIES);
}

/// What changes after it was checked is no entry: they end with an error, and those before it are right.
#[test]
fn t90_b07_a_streamed_tree_gives_no_entries_that_were_not_checked() {
    type Harm = fn(&PathBuf);
    let harms: [(&str, Harm); 3] = [
        ("a byte is another", |pack| flip(pack, (7 << 20) / 2)),
        ("cut", |pack| {
            fs::File::options()
                .write(true)
                .open(pack)
                .unwrap()
                .set_len(3 << 20)
                .unwrap()
        }),
        ("gone", |pack| fs::remove_file(pack).unwrap()),
    ];
    for (what, harm) in harms {
        let (test, id, pack) = stored();
        let repository = test.reopen();
        let mut tree = repository.stream_tree(&id).unwrap();
        assert_eq!(tree.next().unwrap().unwrap(), entry(0));
        harm(&pack);
        let mut right = 1;
        let error = loop {
            match tree
                .next()
                .unwrap_or_else(|| panic!("{what}: {right} entries and no error"))
            {
                Ok(node) => assert_eq!(node, entry(right), "{what}"),
                Err(error) => break error,
            }
            right += 1;
        };
        assert!(
            right < ENTRIES && tree.next().is_none(),
            "{what}: {right} entries, then {error}"
        );
        // It is noted by who reads it as a whole, and that is done when it cannot be streamed.
        let error = repository.stream_tree(&id).unwrap_err();
        assert!(
            matches!(error, RepositoryError::Damaged { .. }),
            "{what}: {error}"
        );
        assert!(!repository.contains(BlobKind::Tree, &id), "{what}");
    }
}

#[test]
fn t90_b07_of_a_long_tree_that_is_damaged_another_copy_is_taken() {
    let (test, id, pack) = stored();
    flip(&pack, 100_000);
    // To whom the index was not loaded it is new.
    let other = outlast_repository::Repository::open(
        crate::support::storage(&test.directory),
        &crate::support::password(),
    )
    .unwrap();
    let writer = other.writer(WriterOptions::default()).unwrap();
    let mut tree = writer.new_tree();
    (0..ENTRIES).for_each(|number| tree.push(&entry(number)).unwrap());
    writer.add_encoded_tree(tree).unwrap();
    writer.finish().unwrap();
    let repository = test.reopen();
    for _ in 0..2 {
        let tree = repository.stream_tree(&id).unwrap();
        assert_eq!(tree.map(Result::unwrap).count(), ENTRIES as usize);
    }
}
