//! What cannot be kept is left out, named and no more than that (S-14d); which files of a parent are trusted (S-14c).

use outlast_proto::v1::{self, ExtendedAttribute, FileEnd, FileException, NodeType, entry};
use outlast_proto::words::limits::MOST_CHUNKS;
use outlast_repository::{BlobId, Node, Timestamp, TreeReader};

use super::{Memory, end, enter, file, leave, node, noise, path, walk};
use crate::tree_builder::{Built, TreeBuilder, Trees as _, Trust, find_in_parent};

/// A file with so many bytes of attributes.
fn heavy(number: u64, name: &str, size: u64, bytes: usize) -> v1::Entry {
    let mut node = node(number, name, NodeType::File, size);
    node.xattrs = vec![ExtendedAttribute {
        name: b"user.x".to_vec().into(),
        // Nothing that compresses.
        value: noise(number, bytes).into(),
    }];
    let kind = Some(entry::Kind::Node(node));
    v1::Entry { kind }
}

fn nodes(memory: &Memory, built: &Built, item: &str) -> Vec<Node> {
    let Built::Tree(root) = built else { panic!() };
    let open = |id: &BlobId| -> Result<TreeReader, _> { memory.open(id) };
    let found = find_in_parent(open, root, &path(item)).unwrap().unwrap();
    memory.trees.borrow()[&found.subtree.unwrap()].nodes.clone()
}

fn names(memory: &Memory, built: &Built, item: &str) -> Vec<String> {
    let name = |node: Node| String::from_utf8(node.name).unwrap();
    nodes(memory, built, item).into_iter().map(name).collect()
}

fn reasons(found: &[FileException]) -> Vec<(&str, &str)> {
    found
        .iter()
        .map(|e| (e.path.as_str(), e.reason.as_str()))
        .collect()
}

/// 5,075 of 9,001 files were not in the restore point, because those before them had many attributes.
#[test]
fn t90_s14d_attributes_take_no_room_from_the_files_of_their_directory() {
    let memory = Memory::default();
    let mut builder = TreeBuilder::new(&memory, path("/srv/home"), None);
    builder.entry(&enter(0, "home")).unwrap();
    builder.entry(&enter(1, "d")).unwrap();
    // 100 MiB that do not compress.
    for number in 2..402 {
        builder
            .entry(&heavy(number, &format!("{number:05}"), 0, 256 << 10))
            .unwrap();
    }
    builder.entry(&heavy(402, "small", 0, 100)).unwrap();
    builder.entry(&leave()).unwrap();
    builder.entry(&file(403, "z", 0)).unwrap();
    builder.entry(&leave()).unwrap();
    let found = builder.take_exceptions();
    assert!(
        (120..200).contains(&found.len()),
        "{} of 400 do not fit",
        found.len()
    );
    for exception in &found {
        assert!(exception.path.starts_with("/srv/home/d/00"), "{}", exception.path);
        let reason = &exception.reason;
        assert!(
            reason.starts_with("its extended attributes are left out") && reason.contains("80 MiB"),
            "{reason}"
        );
    }
    assert_eq!(builder.counters().files, 402);
    let built = builder.finish().unwrap();
    assert_eq!(names(&memory, &built, "/srv/home"), ["d", "z"]);
    let nodes = nodes(&memory, &built, "/srv/home/d");
    assert_eq!(nodes.len(), 401);
    let bare = nodes.iter().filter(|node| node.extended_attributes.is_empty());
    assert_eq!(bare.count(), found.len());
    assert!(!nodes[400].extended_attributes.is_empty());
}

/// A name that does not compress.
fn long_name(number: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let letter = |byte: u8| char::from(LETTERS[usize::from(byte % 64)]);
    let tail: String = noise(number, 4000).into_iter().map(letter).collect();
    format!("{number:06}{tail}")
}

#[test]
fn t90_s14d_what_does_not_fit_into_the_list_of_its_directory_is_named_and_not_counted() {
    let memory = Memory::default();
    let mut builder = TreeBuilder::new(&memory, path("/srv/home"), None);
    builder.entry(&enter(0, "home")).unwrap();
    builder.entry(&enter(1, "d")).unwrap();
    // 110 MB, of which a quarter goes by compression.
    for number in 2..28_002 {
        builder.entry(&file(number, &long_name(number), 0)).unwrap();
    }
    // A directory that comes too late is not counted either.
    builder
        .entry(&enter(28_002, &format!("z{}", long_name(1))))
        .unwrap();
    assert_eq!(builder.counters().directories, 3);
    builder.entry(&leave()).unwrap();
    assert_eq!(builder.counters().directories, 2);
    builder.entry(&leave()).unwrap();
    builder.entry(&leave()).unwrap();
    let left_out = builder.take_exceptions();
    let count = left_out.len();
    assert!((10..8000).contains(&count), "{count} of 28,000 do not fit");
    for exception in &left_out {
        assert!(exception.path.starts_with("/srv/home/d/"), "{}", exception.path);
        assert!(exception.reason.contains("80 MiB"), "{}", exception.reason);
    }
    assert_eq!(builder.counters().files, 28_001 - count as u64);
    let built = builder.finish().unwrap();
    assert_eq!(names(&memory, &built, "/srv/home/d").len(), 28_001 - count);
}

#[test]
fn s14d_what_waits_for_a_file_before_it_is_bounded_in_bytes() {
    let memory = Memory::default();
    let mut builder = TreeBuilder::new(&memory, path("/home"), None);
    builder.entry(&enter(0, "home")).unwrap();
    // Wanted ones, then some that are whole but wait for those.
    let mut wanted = Vec::new();
    for number in 1..=400 {
        let entry = heavy(number, &format!("a{number:05}"), 1, 256 << 10);
        wanted.extend(builder.entry(&entry).unwrap());
    }
    for number in 401..=800 {
        let entry = heavy(number, &format!("b{number:05}"), 0, 256 << 10);
        assert_eq!(builder.entry(&entry).unwrap(), None);
    }
    assert!((200..256).contains(&wanted.len()), "{} are wanted", wanted.len());
    let left_out = builder.take_exceptions();
    assert_eq!(
        left_out.iter().filter(|e| e.path.starts_with("/home/a")).count(),
        400 - wanted.len()
    );
    let waiting = 400 - left_out.iter().filter(|e| e.path.starts_with("/home/b")).count();
    assert!((200..256).contains(&waiting), "{waiting} wait");
    assert!(left_out.iter().all(|e| e.reason.contains("64 MiB")));
    // Once they are through there is room again.
    for number in wanted {
        let skipped = FileEnd {
            skipped: true,
            ..end(number, 0)
        };
        builder.file_end(&skipped).unwrap();
    }
    builder.entry(&heavy(801, "c", 0, 1000)).unwrap();
    builder.entry(&leave()).unwrap();
    // Attributes of the last ones may be missing: they are more than their directory's list takes.
    for exception in builder.take_exceptions() {
        assert!(
            exception.reason.starts_with("its extended attributes"),
            "{exception:?}"
        );
    }
    let built = builder.finish().unwrap();
    assert_eq!(names(&memory, &built, "/home").len(), waiting + 1);
}

#[test]
fn s14d_a_file_of_too_many_chunks_is_left_out_and_named() {
    let memory = Memory::default();
    let mut builder = TreeBuilder::new(&memory, path("/home"), None);
    let entries = [enter(0, "home"), file(1, "long", 5), file(2, "short", 1), leave()];
    assert_eq!(walk(&mut builder, &entries).unwrap(), [1, 2]);
    let chunk = BlobId::of(b"x");
    for _ in 0..=MOST_CHUNKS {
        builder.offer(1, chunk, 1).unwrap();
    }
    builder.file_end(&end(1, MOST_CHUNKS as u64 + 1)).unwrap();
    builder.offer(2, chunk, 1).unwrap();
    builder.file_end(&end(2, 1)).unwrap();
    assert_eq!(
        reasons(&builder.take_exceptions()),
        [("/home/long", "it is left out: it has more than 2097152 chunks")]
    );
    let built = builder.finish().unwrap();
    assert_eq!(names(&memory, &built, "/home"), ["short"]);
}

/// Whether a file is wanted again whose ctime and mtime were those when `trust` was made of its snapshot.
fn is_wanted(young: bool, trust: Trust, ctime: (i64, u32), mtime: (i64, u32)) -> bool {
    let mut memory = Memory::default();
    memory.chunks.insert(BlobId::of(b"x"));
    let mut seen = node(1, "f", NodeType::File, 1);
    let time = |(seconds, nanos)| Some(v1::FileTime { seconds, nanos });
    (seen.changed, seen.modified) = (time(ctime), time(mtime));
    let kind = Some(entry::Kind::Node(seen));
    let entries = [enter(0, "home"), v1::Entry { kind }, leave()];
    let mut first = TreeBuilder::new(&memory, path("/home"), None);
    walk(&mut first, &entries).unwrap();
    first.offer(1, BlobId::of(b"x"), 1).unwrap();
    first.file_end(&FileEnd { young, ..end(1, 1) }).unwrap();
    let Built::Tree(root) = first.finish().unwrap() else {
        panic!()
    };
    let home = find_in_parent(|id| (&memory).open(id), &root, &path("/home")).unwrap();
    let mut second = TreeBuilder::new(&memory, path("/home"), home).trusting(trust);
    !walk(&mut second, &entries).unwrap().is_empty()
}

#[test]
fn s14c_a_file_read_too_soon_after_its_ctime_is_read_again() {
    let before = |seconds| Trust::Before(Timestamp::new(seconds, 0));
    let rows = [
        ("old enough", false, Trust::Marked, (1000, 0), (7, 0), false),
        (
            "young, in whole seconds",
            true,
            Trust::Marked,
            (1000, 0),
            (7, 0),
            true,
        ),
        (
            "young, in nanoseconds",
            true,
            Trust::Marked,
            (1000, 5),
            (7, 0),
            true,
        ),
        (
            "young, without a ctime",
            true,
            Trust::Marked,
            (0, 0),
            (1000, 0),
            true,
        ),
        (
            "not marked, long ago",
            false,
            before(1001),
            (1000, 999_999_999),
            (2000, 0),
            false,
        ),
        (
            "not marked, not so long ago",
            false,
            before(1000),
            (1000, 0),
            (7, 0),
            true,
        ),
        (
            "not marked, without a ctime, long ago",
            false,
            before(1001),
            (0, 0),
            (1000, 0),
            false,
        ),
        (
            "not marked, without a ctime",
            false,
            before(1000),
            (0, 0),
            (1000, 0),
            true,
        ),
    ];
    for (case, young, trust, ctime, mtime, wanted) in rows {
        assert_eq!(is_wanted(young, trust, ctime, mtime), wanted, "{case}");
    }
}

#[test]
fn s14d_directories_of_the_parent_that_are_folded_are_found_again() {
    let memory = Memory::default();
    let chunk = BlobId::of(b"x");
    let mut entries = vec![enter(0, "home")];
    let mut number = 1;
    // Four levels; what lies beside each of them in the parent takes more than is held of it.
    for level in 0..4 {
        for at in 0..50 {
            entries.push(heavy(number, &format!("a{level}{at:03}"), 1, 256 << 10));
            number += 1;
        }
        entries.push(enter(number, "d"));
        number += 1;
    }
    for level in 0..4 {
        entries.push(leave());
        entries.push(file(number, &format!("z{level}"), 1));
        number += 1;
    }
    entries.push(leave());
    let mut parent = None;
    let mut memory = memory;
    for wanted in [true, false] {
        let mut builder = TreeBuilder::new(&memory, path("/home"), parent.take());
        for entry in &entries {
            if let Some(number) = builder.entry(entry).unwrap() {
                assert!(wanted, "node {number} is not found in the parent");
                builder.offer(number, chunk, 1).unwrap();
                builder.file_end(&end(number, 1)).unwrap();
            }
            assert!(builder.parents_in_memory() < 64 << 20);
        }
        let left_out = builder.take_exceptions();
        assert_eq!(reasons(&left_out), []);
        let Built::Tree(root) = builder.finish().unwrap() else {
            panic!()
        };
        parent = find_in_parent(|id| (&memory).open(id), &root, &path("/home")).unwrap();
        memory.chunks.insert(chunk);
    }
}
