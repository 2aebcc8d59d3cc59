//! Tables of the tree builder: what breaks the walk, what counts as changed, what trees come out.

mod going_on;
mod limits;
mod parents;
mod partial;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use outlast_proto::v1::{self, Entry, FileEnd, FileTime, LeaveDirectory, NodeType, entry};
use outlast_repository::{
    BlobId, Damage, Node, NodeKind, ObjectKind, RepositoryError, Tree, TreeEncoder, TreeReader,
};

use super::{BuildError, Built, ItemPath, TreeBuilder, Trees, find_in_parent, show_bytes};

/// Trees and chunks in memory.
#[derive(Default)]
struct Memory {
    trees: RefCell<BTreeMap<BlobId, Tree>>,
    chunks: BTreeSet<BlobId>,
    damaged: BTreeSet<BlobId>,
}

impl Trees for &Memory {
    fn open(&self, id: &BlobId) -> Result<TreeReader, RepositoryError> {
        let damaged = RepositoryError::Damaged {
            kind: ObjectKind::Blob(outlast_repository::BlobKind::Tree),
            name: id.to_string(),
            location: "memory".into(),
            damage: Damage::HashMismatch,
        };
        if self.damaged.contains(id) {
            return Err(damaged);
        }
        Ok(self.trees.borrow()[id].clone().into())
    }

    fn has_chunk(&self, id: &BlobId) -> bool {
        self.chunks.contains(id)
    }

    fn new_tree(&self) -> TreeEncoder {
        TreeEncoder::new(1)
    }

    fn save(&self, tree: TreeEncoder) -> Result<BlobId, RepositoryError> {
        let bytes = tree.into_bytes()?;
        let id = BlobId::of(&bytes);
        self.trees.borrow_mut().insert(id, Tree::decode(&bytes).unwrap());
        Ok(id)
    }
}

fn node(number: u64, name: &str, kind: NodeType, size: u64) -> v1::Node {
    v1::Node {
        number,
        name: name.as_bytes().to_vec().into(),
        r#type: kind.into(),
        mode: 0o644,
        size,
        modified: Some(FileTime {
            seconds: 1000,
            nanos: 5,
        }),
        accessed: Some(FileTime {
            seconds: 9999,
            nanos: 9,
        }),
        changed: Some(FileTime {
            seconds: 2000,
            nanos: 6,
        }),
        inode: 77,
        links: 1,
        ..v1::Node::default()
    }
}

fn enter(number: u64, name: &str) -> Entry {
    let kind = entry::Kind::Enter(node(number, name, NodeType::Directory, 0));
    Entry { kind: Some(kind) }
}

fn file(number: u64, name: &str, size: u64) -> Entry {
    let kind = entry::Kind::Node(node(number, name, NodeType::File, size));
    Entry { kind: Some(kind) }
}

fn leave() -> Entry {
    let kind = entry::Kind::Leave(LeaveDirectory {});
    Entry { kind: Some(kind) }
}

fn other(number: u64, name: &str, kind: NodeType) -> Entry {
    let kind = entry::Kind::Node(node(number, name, kind, 3));
    Entry { kind: Some(kind) }
}

fn path(text: &str) -> ItemPath {
    ItemPath::parse(text).unwrap()
}

fn end(node: u64, size: u64) -> FileEnd {
    FileEnd {
        node,
        size,
        ..FileEnd::default()
    }
}

/// Bytes that do not compress.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(length).collect()
}

/// Walks the entries; all wanted files.
fn walk(builder: &mut TreeBuilder<&Memory>, entries: &[Entry]) -> Result<Vec<u64>, BuildError> {
    let mut wanted = Vec::new();
    for entry in entries {
        wanted.extend(builder.entry(entry)?);
    }
    Ok(wanted)
}

#[test]
fn walks_out_of_order_are_violations() {
    let long = "x".repeat(5000);
    let rows: Vec<(&str, Vec<Entry>)> = vec![
        ("number skipped", vec![enter(0, "home"), file(2, "a", 0)]),
        ("number repeated", vec![enter(0, "home"), file(0, "a", 0)]),
        ("first number", vec![enter(1, "home")]),
        (
            "names fall",
            vec![enter(0, "home"), file(1, "b", 0), file(2, "a", 0)],
        ),
        (
            "name twice",
            vec![enter(0, "home"), file(1, "a", 0), file(2, "a", 0)],
        ),
        ("slash", vec![enter(0, "home"), file(1, "a/b", 0)]),
        ("nul", vec![enter(0, "home"), file(1, "a\0b", 0)]),
        ("empty name", vec![enter(0, "home"), file(1, "", 0)]),
        ("dot", vec![enter(0, "home"), file(1, ".", 0)]),
        ("dot dot", vec![enter(0, "home"), enter(1, "..")]),
        ("long name", vec![enter(0, "home"), file(1, &long, 0)]),
        ("other root", vec![enter(0, "root")]),
        ("leave first", vec![leave()]),
        ("left twice", vec![enter(0, "home"), leave(), leave()]),
        (
            "after the root",
            vec![enter(0, "home"), leave(), file(1, "home", 0)],
        ),
        ("two roots", vec![file(0, "home", 0), file(1, "home", 0)]),
        (
            "directory as node",
            vec![enter(0, "home"), other(1, "a", NodeType::Directory)],
        ),
        (
            "no type",
            vec![enter(0, "home"), other(1, "a", NodeType::Unspecified)],
        ),
        (
            "file entered",
            vec![Entry {
                kind: Some(entry::Kind::Enter(node(0, "home", NodeType::File, 0))),
            }],
        ),
        ("nothing", vec![Entry { kind: None }]),
    ];
    for (case, entries) in rows {
        let memory = Memory::default();
        let mut builder = TreeBuilder::new(&memory, path("/srv/home"), None);
        let walked = walk(&mut builder, &entries);
        assert!(
            matches!(walked, Err(BuildError::Violation(_))),
            "{case}: {walked:?}"
        );
    }
}

#[test]
fn content_out_of_order_is_a_violation() {
    type Step = fn(&mut TreeBuilder<&Memory>) -> Result<(), BuildError>;
    let rows: [(&str, &[Step]); 8] = [
        ("not wanted", &[|b| b.offer(3, BlobId::of(b"c"), 1)]),
        ("a directory", &[|b| b.offer(0, BlobId::of(b"c"), 1)]),
        (
            "back",
            &[
                |b| b.offer(2, BlobId::of(b"c"), 1),
                |b| b.offer(1, BlobId::of(b"c"), 1),
            ],
        ),
        (
            "after the end",
            &[
                |b| b.offer(1, BlobId::of(b"c"), 1),
                |b| b.file_end(&end(1, 1)),
                |b| b.offer(1, BlobId::of(b"c"), 1),
            ],
        ),
        (
            "size",
            &[|b| b.offer(1, BlobId::of(b"c"), 1), |b| b.file_end(&end(1, 2))],
        ),
        (
            "ended twice",
            &[|b| b.file_end(&end(1, 0)), |b| b.file_end(&end(1, 0))],
        ),
        (
            "ends fall",
            &[|b| b.file_end(&end(2, 0)), |b| b.file_end(&end(1, 0))],
        ),
        (
            "another type",
            &[|b| {
                b.file_end(&FileEnd {
                    changed: Some(node(1, "a", NodeType::Symlink, 0)),
                    ..end(1, 0)
                })
            }],
        ),
    ];
    for (case, steps) in rows {
        let memory = Memory::default();
        let mut builder = TreeBuilder::new(&memory, path("/home"), None);
        let entries = [
            enter(0, "home"),
            file(1, "a", 9),
            file(2, "b", 9),
            file(3, "c", 0),
            leave(),
        ];
        assert_eq!(walk(&mut builder, &entries).unwrap(), [1, 2]);
        let done = steps.iter().try_for_each(|step| step(&mut builder));
        assert!(matches!(done, Err(BuildError::Violation(_))), "{case}");
    }
    for entries in [
        vec![],
        vec![enter(0, "home")],
        vec![enter(0, "home"), file(1, "a", 9), leave()],
    ] {
        let memory = Memory::default();
        let mut builder = TreeBuilder::new(&memory, path("/home"), None);
        walk(&mut builder, &entries).unwrap();
        assert!(
            matches!(builder.finish(), Err(BuildError::Violation(_))),
            "{} entries",
            entries.len()
        );
    }
}

#[test]
fn directories_above_the_item_are_in_the_tree() {
    for (item, name, above) in [
        ("/a", "a", 0),
        ("/srv/x/home", "home", 2),
        ("//srv/./home/", "home", 1),
    ] {
        let memory = Memory::default();
        let mut builder = TreeBuilder::new(&memory, path(item), None);
        walk(
            &mut builder,
            &[enter(0, name), other(1, "l", NodeType::Symlink), leave()],
        )
        .unwrap();
        let Built::Tree(root) = builder.finish().unwrap() else {
            panic!()
        };
        let found = find_in_parent(|id| (&memory).open(id), &root, &path(item))
            .unwrap()
            .unwrap();
        assert_eq!(found.kind, NodeKind::Dir);
        assert_eq!(memory.trees.borrow().len(), above + 2, "{item}");
        assert!(memory.trees.borrow().values().all(|tree| tree.nodes.len() == 1));
    }
    // The whole file system: its root has no name.
    let memory = Memory::default();
    let mut builder = TreeBuilder::new(&memory, path("/"), None);
    walk(
        &mut builder,
        &[enter(0, ""), other(1, "fifo", NodeType::Fifo), leave()],
    )
    .unwrap();
    let Built::Tree(root) = builder.finish().unwrap() else {
        panic!()
    };
    let fifo = find_in_parent(|id| (&memory).open(id), &root, &path("/fifo"))
        .unwrap()
        .unwrap();
    assert_eq!((fifo.kind, fifo.size), (NodeKind::Fifo, 0));
}

#[test]
fn s02_skipped_and_changed_files() {
    let memory = Memory::default();
    let mut builder = TreeBuilder::new(&memory, path("/home"), None);
    let entries = [enter(0, "home"), file(1, "a", 9), file(2, "b", 9), leave()];
    walk(&mut builder, &entries).unwrap();
    builder.offer(1, BlobId::of(b"part"), 4).unwrap();
    let skipped = FileEnd {
        skipped: true,
        ..end(1, 4)
    };
    builder.file_end(&skipped).unwrap();
    builder.offer(2, BlobId::of(b"longer"), 12).unwrap();
    let mut after = node(2, "ignored", NodeType::File, 12);
    after.changed = Some(FileTime {
        seconds: 3000,
        nanos: 0,
    });
    let changed = FileEnd {
        changed: Some(after),
        ..end(2, 12)
    };
    builder.file_end(&changed).unwrap();
    assert_eq!(builder.counters().bytes_read, 16);
    let Built::Tree(root) = builder.finish().unwrap() else {
        panic!()
    };
    let home = find_in_parent(|id| (&memory).open(id), &root, &path("/home"))
        .unwrap()
        .unwrap();
    let nodes = memory.trees.borrow()[&home.subtree.unwrap()].nodes.clone();
    let [b]: [Node; 1] = nodes.try_into().unwrap();
    // The older ctime makes the next backup read it again.
    assert_eq!(
        (b.name.as_slice(), b.size, b.ctime.secs),
        (b"b".as_slice(), 12, 2000)
    );
    // An item that is a file and cannot be read leaves nothing.
    let mut builder = TreeBuilder::new(&memory, path("/one"), None);
    assert_eq!(walk(&mut builder, &[file(0, "one", 5)]).unwrap(), [0]);
    let skipped = FileEnd {
        skipped: true,
        ..end(0, 0)
    };
    builder.file_end(&skipped).unwrap();
    assert_eq!(builder.finish().unwrap(), Built::Nothing);
}

#[test]
fn memory_holds_open_directories_only() {
    let memory = Memory::default();
    let mut builder = TreeBuilder::new(&memory, path("/home"), None);
    builder.entry(&enter(0, "home")).unwrap();
    let mut number = 1;
    for directory in 0..500 {
        let name = format!("{directory:04}");
        builder.entry(&enter(number, &name)).unwrap();
        builder.entry(&file(number + 1, "f", 0)).unwrap();
        builder.entry(&leave()).unwrap();
        number += 2;
        assert_eq!(builder.directories_in_memory(), 1);
    }
}

#[test]
fn paths_and_names_for_people() {
    for bad in ["", "home", "/a/../b", "/a\0b", "/.."] {
        assert_eq!(ItemPath::parse(bad), None, "{bad:?}");
    }
    assert_eq!(show_bytes(b"a\xff\xc3\xa4"), "a\\xff\u{e4}");
}

#[test]
fn t90_a_large_directory_is_not_kept_in_memory() {
    let mut memory = Memory::default();
    let mut parent = None;
    // The first time the content of every tenth file comes in late; then nothing is wanted.
    for wanted in [true, false] {
        let mut builder = TreeBuilder::new(&memory, path("/home"), parent.take());
        builder.entry(&enter(0, "home")).unwrap();
        let mut under_way = std::collections::VecDeque::new();
        for number in 1..=20_000u64 {
            let size = u64::from(number % 10 == 0);
            let entry = file(number, &format!("{number:08}"), size);
            under_way.extend(builder.entry(&entry).unwrap());
            if under_way.len() > 5 {
                let first = under_way.pop_front().unwrap();
                builder.offer(first, BlobId::of(b"x"), 1).unwrap();
                builder.file_end(&end(first, 1)).unwrap();
            }
            assert!(builder.entries_in_memory() <= 60);
        }
        assert_eq!(under_way.is_empty(), !wanted);
        for number in under_way {
            builder.offer(number, BlobId::of(b"x"), 1).unwrap();
            builder.file_end(&end(number, 1)).unwrap();
        }
        builder.entry(&leave()).unwrap();
        let Built::Tree(root) = builder.finish().unwrap() else {
            panic!()
        };
        let home = find_in_parent(|id| (&memory).open(id), &root, &path("/home")).unwrap();
        assert_eq!(
            memory.trees.borrow()[&home.as_ref().unwrap().subtree.unwrap()]
                .nodes
                .len(),
            20_000
        );
        parent = home;
        memory.chunks.insert(BlobId::of(b"x"));
    }
}
