//! What counts as changed against the parent snapshot.

use outlast_proto::v1::{self, Entry, NodeType, entry};
use outlast_repository::BlobId;

use super::{Memory, end, enter, file, leave, node, path, walk};
use crate::tree_builder::{Built, TreeBuilder, Trees as _, find_in_parent};

/// A backup of /srv/home with one file of one chunk, and the root tree of its snapshot.
fn parent(memory: &mut Memory) -> BlobId {
    let chunk = BlobId::of(b"content");
    memory.chunks.insert(chunk);
    let mut builder = TreeBuilder::new(&*memory, path("/srv/home"), None);
    let entries = [
        enter(0, "home"),
        enter(1, "d"),
        file(2, "f", 7),
        leave(),
        file(3, "z", 0),
        leave(),
    ];
    assert_eq!(walk(&mut builder, &entries).unwrap(), [2]);
    builder.offer(2, chunk, 7).unwrap();
    builder.file_end(&end(2, 7)).unwrap();
    let counters = builder.counters();
    assert_eq!(
        (
            counters.files,
            counters.directories,
            counters.bytes,
            counters.bytes_read
        ),
        (2, 2, 7, 7)
    );
    match builder.finish().unwrap() {
        Built::Tree(tree) => tree,
        Built::Nothing => panic!("nothing was built"),
    }
}

#[test]
fn s01_only_what_differs_from_the_parent_is_wanted() {
    type Change = fn(&mut v1::Node);
    let rows: [(&str, Change, bool); 11] = [
        ("nothing", |_| {}, false),
        ("size", |n| n.size = 8, true),
        ("mtime", |n| n.modified.as_mut().unwrap().nanos += 1, true),
        ("ctime", |n| n.changed.as_mut().unwrap().seconds += 1, true),
        ("inode", |n| n.inode += 1, true),
        ("name", |n| n.name = b"g".to_vec().into(), true),
        ("atime", |n| n.accessed = None, false),
        ("owner", |n| n.uid = 5, false),
        ("mode", |n| n.mode = 0o600, false),
        ("emptied", |n| n.size = 0, false),
        ("holes", |n| n.has_holes = true, false),
    ];
    for (case, change, wanted) in rows {
        let mut memory = Memory::default();
        let root = parent(&mut memory);
        let home = find_in_parent(|id| (&memory).open(id), &root, &path("/srv/home")).unwrap();
        let mut builder = TreeBuilder::new(&memory, path("/srv/home"), home);
        let mut changed = node(2, "f", NodeType::File, 7);
        change(&mut changed);
        let kind = Some(entry::Kind::Node(changed));
        let entries = [
            enter(0, "home"),
            enter(1, "d"),
            Entry { kind },
            leave(),
            file(3, "z", 0),
            leave(),
        ];
        let found = walk(&mut builder, &entries).unwrap();
        assert_eq!(!found.is_empty(), wanted, "{case}");
        if case == "nothing" {
            assert_eq!(
                builder.finish().unwrap(),
                Built::Tree(root),
                "an unchanged item is the same tree"
            );
        }
    }
}

#[test]
fn f10_a_file_whose_chunks_are_gone_is_wanted_again() {
    let mut memory = Memory::default();
    let root = parent(&mut memory);
    memory.chunks.clear();
    let home = find_in_parent(|id| (&memory).open(id), &root, &path("/srv/home")).unwrap();
    let mut builder = TreeBuilder::new(&memory, path("/srv/home"), home);
    let entries = [enter(0, "home"), enter(1, "d"), file(2, "f", 7), leave(), leave()];
    assert_eq!(walk(&mut builder, &entries).unwrap(), [2]);
}

#[test]
fn a_damaged_parent_tree_makes_its_files_wanted() {
    let mut memory = Memory::default();
    let root = parent(&mut memory);
    let home = find_in_parent(|id| (&memory).open(id), &root, &path("/srv/home")).unwrap();
    let d = find_in_parent(|id| (&memory).open(id), &root, &path("/srv/home/d"))
        .unwrap()
        .unwrap();
    memory.damaged.insert(d.subtree.unwrap());
    let mut builder = TreeBuilder::new(&memory, path("/srv/home"), home);
    let entries = [enter(0, "home"), enter(1, "d"), file(2, "f", 7), leave(), leave()];
    assert_eq!(walk(&mut builder, &entries).unwrap(), [2]);
}
