//! Going on from a checkpoint: whatever it was made of, the finished tree is that of an undisturbed walk, and only what it lacks is read.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use outlast_proto::v1::{Entry, FileEnd, NodeType, entry};
use outlast_proto::words::Counters;
use outlast_repository::{BlobId, Node};

use super::{Memory, TreeBuilder, end, enter, file, leave, other, path};
use crate::tree_builder::{Built, Carried, Partial, Trust};

/// Of each chunk.
const CHUNK: u64 = 10;

/// Files of every length before, in and after directories, one of them with two names.
fn entries() -> Vec<Entry> {
    vec![
        enter(0, "home"),
        file(1, "a", 30),
        enter(2, "b"),
        file(3, "d1", 10),
        other(4, "d2", NodeType::Symlink),
        enter(5, "deep"),
        file(6, "large", 90),
        file(7, "late", 20),
        leave(),
        file(8, "two", 40),
        leave(),
        file(9, "empty", 0),
        enter(10, "nothing"),
        leave(),
        file(11, "one-again", 10),
        file(12, "z", 50),
        leave(),
    ]
}

/// So many bytes of files there are.
const ALL: u64 = 250;

/// The chunks of a file; the two names of one have the same.
fn content(number: u64) -> Vec<BlobId> {
    let of = if number == 11 { 3 } else { number };
    let size = entries().iter().find_map(|entry| match &entry.kind {
        Some(entry::Kind::Node(node)) if node.number == number => Some(node.size),
        _ => None,
    });
    let chunk = |index: u64| BlobId::of(format!("{of} {index}").as_bytes());
    (0..size.unwrap() / CHUNK).map(chunk).collect()
}

fn memory() -> Memory {
    let files = [1, 3, 6, 7, 8, 11, 12];
    Memory {
        chunks: files.into_iter().flat_map(content).collect(),
        ..Memory::default()
    }
}

/// How far a walk came.
enum Came {
    To(Box<Partial>, Vec<u64>),
    Through {
        tree: Built,
        wanted: Vec<u64>,
        counters: Counters,
    },
}

/// Walks until so many steps are done; the walk runs ahead of the content by two files.
fn go(builder: TreeBuilder<&Memory>, steps: usize) -> Came {
    go_telling(builder, steps, |_| {})
}

/// The same; `tell` may change what the client says at the end of a file.
fn go_telling(builder: TreeBuilder<&Memory>, steps: usize, tell: impl Fn(&mut FileEnd)) -> Came {
    go_looking(builder, steps, tell, |_| {})
}

/// The same; `look` sees the builder before its checkpoint is made.
fn go_looking(
    mut builder: TreeBuilder<&Memory>,
    steps: usize,
    tell: impl Fn(&mut FileEnd),
    look: impl FnOnce(&TreeBuilder<&Memory>),
) -> Came {
    let mut look = Some(look);
    let (mut queue, mut wanted, mut ended) = (VecDeque::new(), Vec::new(), Vec::new());
    let mut left = steps;
    let mut entries: VecDeque<Entry> = entries().into();
    let mut offered: BTreeMap<u64, usize> = BTreeMap::new();
    loop {
        if left == 0
            && let Some(partial) = builder.partial().unwrap()
        {
            look.take().unwrap()(&builder);
            return Came::To(Box::new(partial), ended);
        }
        left = left.saturating_sub(1);
        let reads = queue.len() > 2 || entries.is_empty();
        match (reads.then(|| queue.front().copied()).flatten(), entries.front()) {
            (Some(number), _) => {
                let next = offered.entry(number).or_default();
                match content(number).get(*next) {
                    Some(id) => {
                        builder.offer(number, *id, u32::try_from(CHUNK).unwrap()).unwrap();
                        *next += 1;
                    }
                    None => {
                        let mut end = end(number, *next as u64 * CHUNK);
                        tell(&mut end);
                        builder.file_end(&end).unwrap();
                        ended.push(number);
                        queue.pop_front();
                    }
                }
            }
            (None, Some(_)) => {
                let entry = entries.pop_front().unwrap();
                if let Some(number) = builder.entry(&entry).unwrap() {
                    queue.push_back(number);
                    wanted.push(number);
                }
            }
            (None, None) => break,
        }
    }
    let counters = builder.counters();
    Came::Through {
        tree: builder.finish().unwrap(),
        wanted,
        counters,
    }
}

fn through(builder: TreeBuilder<&Memory>) -> (Built, Vec<u64>, Counters) {
    match go(builder, usize::MAX) {
        Came::Through {
            tree,
            wanted,
            counters,
        } => (tree, wanted, counters),
        Came::To(..) => panic!("it stopped"),
    }
}

fn carried(root: Node) -> Carried {
    Carried {
        root,
        trust: Trust::Marked,
        again: HashSet::new(),
        position: None,
        begun: HashMap::new(),
    }
}

fn builder(memory: &Memory) -> TreeBuilder<&Memory> {
    TreeBuilder::new(memory, path("/srv/home"), None)
}

#[test]
fn f07_from_every_checkpoint_the_tree_is_that_of_an_undisturbed_walk_and_only_the_rest_is_read() {
    let memory = memory();
    let (undisturbed, all, counters) = through(builder(&memory));
    assert_eq!((all.len(), counters.bytes_read), (7, ALL));
    let mut made = 0;
    for steps in 1..100 {
        let Came::To(partial, ended) = go(builder(&memory), steps) else {
            break;
        };
        made += 1;
        let (tree, wanted, counters) = through(builder(&memory).going_on(carried(partial.root)));
        assert_eq!(tree, undisturbed, "after {steps} steps");
        let rest: Vec<u64> = all
            .iter()
            .copied()
            .filter(|number| !ended.contains(number))
            .collect();
        assert_eq!(wanted, rest, "after {steps} steps");
        let held: u64 = ended
            .iter()
            .map(|number| content(*number).len() as u64 * CHUNK)
            .sum();
        assert_eq!(
            (counters.bytes_carried_over, counters.bytes_read, counters.bytes),
            (held, ALL - held, ALL)
        );
    }
    assert!(made > 40, "{made} checkpoints");
}

/// One that was made soon after a restart had less than the one before, and took its place.
#[test]
fn t90_f07_one_checkpoint_after_another_loses_nothing() {
    let memory = memory();
    let (undisturbed, ..) = through(builder(&memory));
    let (mut made, mut too_early) = (0, 0);
    for first in 1..49 {
        let Came::To(partial, ended) = go(builder(&memory), first) else {
            break;
        };
        for second in 1..49 {
            let next = builder(&memory).going_on(Carried {
                position: (!ended.is_empty()).then(|| partial.position.clone()),
                ..carried(partial.root.clone())
            });
            let (mut has_passed, mut read) = (false, Vec::new());
            let look = |builder: &TreeBuilder<&Memory>| has_passed = builder.has_passed_checkpoint();
            let Came::To(newer, also_ended) = go_looking(next, second, |_| {}, look) else {
                break;
            };
            if !has_passed {
                too_early += 1;
                continue;
            }
            made += 1;
            read.extend(ended.iter().chain(&also_ended));
            let (tree, wanted, _) = through(builder(&memory).going_on(carried(newer.root)));
            assert_eq!(tree, undisturbed);
            let lost: Vec<&u64> = wanted.iter().filter(|number| read.contains(number)).collect();
            assert!(lost.is_empty(), "{lost:?} are read again: {first}, {second}");
        }
    }
    assert!(
        made > 500 && too_early > 100,
        "{made} made, {too_early} too early"
    );
}

/// The checkpoint after so many steps, that has files 1, 3, 6 and 7.
fn checkpoint(memory: &Memory) -> Box<Partial> {
    let last = (1..100).rev().find_map(|steps| match go(builder(memory), steps) {
        Came::To(partial, ended) if ended == [1, 3, 6, 7] => Some(partial),
        _ => None,
    });
    last.unwrap()
}

#[test]
fn s02_a_file_that_had_an_exception_is_read_again() {
    let memory = memory();
    let partial = checkpoint(&memory);
    let again = HashSet::from(["/srv/home/b/deep/large".to_owned()]);
    let carried = Carried {
        again,
        ..carried(partial.root)
    };
    let (_, wanted, _) = through(builder(&memory).going_on(carried));
    assert_eq!(wanted, [6, 8, 11, 12]);
}

#[test]
fn s14c_a_file_that_was_young_at_its_checkpoint_is_read_again() {
    let memory = memory();
    let says = |end: &mut FileEnd| end.young = end.node == 3;
    let Came::To(partial, ended) = go_telling(builder(&memory), 30, says) else {
        panic!("it came through");
    };
    assert!(ended.starts_with(&[1, 3, 6]), "{ended:?}");
    let (_, wanted, _) = through(builder(&memory).going_on(carried(partial.root)));
    assert!(wanted.starts_with(&[3]), "{wanted:?}");
    // And nothing of it is believed, if its client marks none.
    let partial = checkpoint(&memory);
    let carried = Carried {
        trust: Trust::Before(outlast_repository::Timestamp::new(2000, 6)),
        ..carried(partial.root)
    };
    let (_, wanted, counters) = through(builder(&memory).going_on(carried));
    assert_eq!((wanted.len(), counters.bytes_carried_over), (7, 0));
}

#[test]
fn f07_chunks_and_lists_that_a_checkpoint_lacks_by_now_are_read_again() {
    let mut memory = memory();
    let (undisturbed, ..) = through(builder(&memory));
    let partial = checkpoint(&memory);
    let gone = content(6)[4];
    memory.chunks.remove(&gone);
    let (tree, wanted, _) = through(builder(&memory).going_on(carried(partial.root.clone())));
    assert_eq!((tree, wanted), (undisturbed, vec![6, 8, 11, 12]));
    memory.chunks.insert(gone);
    memory.damaged.insert(partial.root.subtree.unwrap());
    let (_, wanted, _) = through(builder(&memory).going_on(carried(partial.root)));
    assert_eq!(wanted.len(), 7);
}

/// What the checkpoint does not have, the parent snapshot may.
#[test]
fn f07_the_parent_snapshot_counts_beside_the_checkpoint() {
    let memory = memory();
    let whole = builder(&memory);
    let parent = match through(whole).0 {
        Built::Tree(tree) => {
            super::find_in_parent(|id| super::Trees::open(&&memory, id), &tree, &path("/srv/home"))
        }
        Built::Nothing => panic!("nothing was built"),
    };
    let partial = checkpoint(&memory);
    let next = TreeBuilder::new(&memory, path("/srv/home"), parent.unwrap());
    let (_, wanted, counters) = through(next.going_on(carried(partial.root)));
    assert_eq!(wanted, Vec::<u64>::new());
    assert_eq!((counters.bytes_read, counters.bytes_carried_over), (0, 150));
}

/// A checkpoint in the middle of file 6, with so many of its chunks; and how that file is known again.
fn in_the_middle(memory: &Memory, chunks: usize, is_settled: bool) -> Carried {
    let mut builder = builder(memory);
    for entry in &entries()[..7] {
        builder.entry(entry).unwrap();
    }
    for number in [1, 3] {
        for id in content(number) {
            builder.offer(number, id, 10).unwrap();
        }
        let size = content(number).len() as u64 * CHUNK;
        builder.file_end(&end(number, size)).unwrap();
    }
    builder.begin_file(6, 0, is_settled).unwrap();
    for id in &content(6)[..chunks] {
        builder.offer(6, *id, 10).unwrap();
    }
    let partial = builder.partial().unwrap().unwrap();
    let begun = partial.under_way.into_iter();
    Carried {
        begun: begun.map(|file| (file.path.clone(), file)).collect(),
        ..carried(partial.root)
    }
}

/// Walks on from there to file 6, which is wanted.
fn at_the_file<'m>(memory: &'m Memory, carried: Carried, entries: &[Entry]) -> TreeBuilder<&'m Memory> {
    let mut builder = builder(memory).going_on(carried);
    let wanted: Vec<u64> = entries
        .iter()
        .filter_map(|entry| builder.entry(entry).unwrap())
        .collect();
    assert_eq!(wanted, [6, 7, 8, 11, 12]);
    builder
}

/// What is still to be read of it and of those after it.
fn rest(mut builder: TreeBuilder<&Memory>, offset: u64) -> (Built, Counters) {
    for number in [6, 7, 8, 11, 12] {
        let from = if number == 6 { offset } else { 0 };
        for id in content(number)
            .iter()
            .skip(usize::try_from(from / CHUNK).unwrap())
        {
            builder.begin_file(number, from, true).unwrap();
            builder.offer(number, *id, 10).unwrap();
        }
        let size = content(number).len() as u64 * CHUNK;
        builder.file_end(&end(number, size)).unwrap();
    }
    let counters = builder.counters();
    (builder.finish().unwrap(), counters)
}

#[test]
fn f06_a_file_goes_on_where_the_checkpoint_was_in_its_middle_or_begins_anew() {
    let memory = memory();
    let (undisturbed, ..) = through(builder(&memory));
    for chunks in 1..9 {
        let offset = chunks as u64 * CHUNK;
        // Whether its client goes on there, or has found something else than the walk.
        for from in [offset, 0] {
            let builder = at_the_file(&memory, in_the_middle(&memory, chunks, true), &entries());
            assert_eq!(builder.goes_on_at(6), Some(offset));
            assert_eq!(builder.goes_on_at(7), None);
            let (tree, counters) = rest(builder, from);
            assert_eq!(tree, undisturbed, "{chunks} from {from}");
            // Files 1 and 3 are whole.
            assert_eq!(
                (counters.bytes_carried_over, counters.bytes_read, counters.bytes),
                (40 + from, 210 - from, ALL)
            );
        }
    }
}

/// A checkpoint that is made before the client has said where it begins has the beginning, too.
#[test]
fn f06_the_beginning_of_a_file_is_carried_from_checkpoint_to_checkpoint() {
    let memory = memory();
    let mut builder = at_the_file(&memory, in_the_middle(&memory, 5, true), &entries());
    let partial = builder.partial().unwrap().unwrap();
    let under_way = &partial.under_way[0];
    assert_eq!((under_way.bytes, under_way.is_settled), (50, true));
    let begun = partial.under_way.into_iter();
    let carried = Carried {
        begun: begun.map(|file| (file.path.clone(), file)).collect(),
        ..carried(partial.root)
    };
    assert_eq!(at_the_file(&memory, carried, &entries()).goes_on_at(6), Some(50));
}

#[test]
fn t90_f06_the_beginning_of_a_file_is_not_believed_if_anything_about_it_differs() {
    let memory = memory();
    let goes_on = |carried, entries: &[Entry]| at_the_file(&memory, carried, entries).goes_on_at(6);
    let found = in_the_middle(&memory, 5, true);
    assert_eq!(goes_on(found, &entries()), Some(50));
    assert_eq!(
        goes_on(in_the_middle(&memory, 5, false), &entries()),
        None,
        "young"
    );
    type Change = fn(&mut outlast_proto::v1::Node);
    let changes: [(&str, Change); 5] = [
        ("size", |node| node.size += 1),
        ("mtime", |node| node.modified.as_mut().unwrap().nanos += 1),
        ("ctime", |node| node.changed.as_mut().unwrap().nanos += 1),
        ("inode", |node| node.inode += 1),
        ("device", |node| node.device_id += 1),
    ];
    for (what, change) in changes {
        let mut entries = entries();
        let Some(entry::Kind::Node(node)) = &mut entries[6].kind else {
            unreachable!()
        };
        change(node);
        assert_eq!(goes_on(in_the_middle(&memory, 5, true), &entries), None, "{what}");
    }
    let mut said = in_the_middle(&memory, 5, true);
    said.begun.values_mut().next().unwrap().bytes = 40;
    assert_eq!(goes_on(said, &entries()), None, "the tree has another length");
    let mut damaged = self::memory();
    damaged.chunks.remove(&content(6)[2]);
    let builder = at_the_file(&damaged, in_the_middle(&damaged, 5, true), &entries());
    assert_eq!(builder.goes_on_at(6), None, "a chunk is gone");
}

#[test]
fn f06_a_client_goes_on_only_where_it_was_told() {
    let memory = memory();
    for offset in [10, 60] {
        let mut builder = at_the_file(&memory, in_the_middle(&memory, 5, true), &entries());
        let refused = builder.begin_file(6, offset, true).unwrap_err().to_string();
        assert!(refused.contains("which nobody has said"), "{refused}");
        let refused = builder.begin_file(7, offset, true).unwrap_err().to_string();
        assert!(refused.contains("which nobody has said"), "{refused}");
    }
    // And what it has is not the whole file, whatever its client says.
    let mut builder = at_the_file(&memory, in_the_middle(&memory, 5, true), &entries());
    assert!(builder.file_end(&end(6, 90)).is_err());
}
