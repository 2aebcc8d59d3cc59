//! What a checkpoint keeps of an item: held against a plain account of the walk, after every step of many walks.

use std::collections::{BTreeMap, VecDeque};

use outlast_proto::v1::{Entry, FileEnd, NodeType};
use outlast_repository::{BlobId, Node, NodeKind};

use super::{Memory, TreeBuilder, Trees as _, end, enter, file, leave, other, path};
use crate::tree_builder::{Built, Partial, UnderWay, show_bytes};

/// A wanted file as far as it was offered.
#[derive(Clone, Default)]
struct Content {
    path: String,
    size: u64,
    chunks: Vec<BlobId>,
}

/// A walk, step by step, and what is in the item so far.
struct Play {
    seed: u64,
    steps: VecDeque<Entry>,
    /// Names of the directories that are open, without the root's.
    open: Vec<String>,
    depth: usize,
    /// Directories, symlinks and files that are complete: with their chunks.
    whole: BTreeMap<String, Vec<BlobId>>,
    /// Wanted files that have not ended, by number.
    wanted: BTreeMap<u64, Content>,
    position: String,
}

impl Play {
    fn below(&mut self, end: u64) -> u64 {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % end
    }

    /// A tree of about `nodes` entries.
    fn new(seed: u64, nodes: u64) -> Self {
        let mut play = Self {
            seed,
            steps: VecDeque::new(),
            open: Vec::new(),
            depth: 0,
            whole: BTreeMap::new(),
            wanted: BTreeMap::new(),
            position: String::new(),
        };
        play.steps.push_back(enter(0, "home"));
        let mut depth = 1;
        for number in 1..nodes {
            let name = format!("n{number:04}");
            match play.below(10) {
                0..2 => {
                    play.steps.push_back(enter(number, &name));
                    depth += 1;
                }
                2 => play.steps.push_back(other(number, &name, NodeType::Symlink)),
                3 => play.steps.push_back(file(number, &name, 0)),
                _ => play.steps.push_back(file(number, &name, 100)),
            }
            while depth > 1 && play.below(4) == 0 {
                play.steps.push_back(leave());
                depth -= 1;
            }
        }
        play.steps.extend(std::iter::repeat_with(leave).take(depth));
        play
    }

    fn path_of(&self, name: &str) -> String {
        let mut parts = self.open.clone();
        parts.push(name.to_owned());
        parts.join("/")
    }

    /// One step; false when all is said.
    fn step(&mut self, builder: &mut TreeBuilder<&Memory>) -> bool {
        let front = self.wanted.keys().next().copied();
        // The walk runs ahead of the content, now more, now less.
        match (self.below(3), front) {
            (0, Some(number)) => self.read(builder, number),
            _ if !self.steps.is_empty() => self.walk(builder),
            (_, Some(number)) => self.read(builder, number),
            (_, None) => return false,
        }
        true
    }

    fn walk(&mut self, builder: &mut TreeBuilder<&Memory>) {
        use outlast_proto::v1::entry::Kind;
        let entry = self.steps.pop_front().unwrap();
        let wanted = builder.entry(&entry).unwrap();
        match entry.kind.unwrap() {
            Kind::Enter(node) => {
                let name = show_bytes(&node.name);
                if self.depth > 0 {
                    self.position = self.path_of(&name);
                    self.whole.insert(self.position.clone(), vec![]);
                    self.open.push(name);
                    self.position.push('/');
                }
                self.depth += 1;
            }
            Kind::Leave(_) => {
                self.position = self.open.join("/");
                self.open.pop();
                self.depth -= 1;
            }
            Kind::Node(node) => {
                let path = self.path_of(&show_bytes(&node.name));
                self.position.clone_from(&path);
                match wanted {
                    None => drop(self.whole.insert(path, vec![])),
                    Some(number) => {
                        assert_eq!(number, node.number);
                        let size = node.size;
                        let content = Content {
                            path,
                            size,
                            ..Content::default()
                        };
                        self.wanted.insert(number, content);
                    }
                }
            }
        }
    }

    /// The next chunk of the first wanted file, or its end.
    fn read(&mut self, builder: &mut TreeBuilder<&Memory>, number: u64) {
        let what = self.below(5);
        let content = self.wanted.get_mut(&number).unwrap();
        if what < 3 {
            let id = BlobId::of(format!("{number} {}", content.chunks.len()).as_bytes());
            builder.offer(number, id, 10).unwrap();
            content.chunks.push(id);
            return;
        }
        let content = self.wanted.remove(&number).unwrap();
        let skipped = what == 3;
        let end = FileEnd {
            skipped,
            ..end(number, content.chunks.len() as u64 * 10)
        };
        builder.file_end(&end).unwrap();
        if !skipped {
            self.whole.insert(content.path, content.chunks);
        }
    }

    fn check(&self, memory: &Memory, partial: &Partial) {
        let mut expected = self.whole.clone();
        let begun = || self.wanted.values().filter(|content| !content.chunks.is_empty());
        expected.extend(begun().map(|content| (content.path.clone(), content.chunks.clone())));
        let mut found = BTreeMap::new();
        list(memory, &partial.root, "", &mut found);
        assert_eq!(found, expected);
        let under_way: Vec<_> = partial.under_way.iter().map(UnderWay::said).collect();
        let expected: Vec<_> = begun()
            .map(|content| {
                (
                    content.path.clone(),
                    content.size,
                    content.chunks.len() as u64 * 10,
                )
            })
            .collect();
        assert_eq!(under_way, expected);
        assert_eq!(show_bytes(&partial.position), self.position);
    }
}

impl UnderWay {
    fn said(&self) -> (String, u64, u64) {
        (show_bytes(&self.path), self.node.size, self.bytes)
    }
}

/// Everything below a directory, with its chunks; a file's size is what its chunks add up to.
fn list(memory: &Memory, directory: &Node, prefix: &str, found: &mut BTreeMap<String, Vec<BlobId>>) {
    let tree = memory.open(&directory.subtree.unwrap()).unwrap();
    let mut last: Vec<u8> = Vec::new();
    for node in tree {
        let node = node.unwrap();
        assert!(last < node.name, "names rise");
        last.clone_from(&node.name);
        let path = format!("{prefix}{}", show_bytes(&node.name));
        let content = node.content.clone().unwrap_or_default();
        if node.kind == NodeKind::File {
            assert_eq!(node.size, content.len() as u64 * 10, "{path}");
        }
        found.insert(path.clone(), content);
        if node.kind == NodeKind::Dir {
            list(memory, &node, &format!("{path}/"), found);
        }
    }
}

fn play(seed: u64, looks: bool) -> (Built, usize) {
    let memory = Memory::default();
    let mut builder = TreeBuilder::new(&memory, path("/home"), None);
    let mut play = Play::new(seed, 60);
    let mut looked = 0;
    while play.step(&mut builder) {
        if !looks {
            continue;
        }
        match builder.partial().unwrap() {
            Some(partial) => {
                play.check(&memory, &partial);
                looked += 1;
            }
            None => assert!(
                play.depth == 0 && play.wanted.is_empty(),
                "only a whole item has none"
            ),
        }
    }
    (builder.finish().unwrap(), looked)
}

#[test]
fn f06_a_checkpoint_has_what_has_come_and_changes_nothing() {
    let mut looked = 0;
    for seed in 0..60 {
        let (plain, _) = play(seed, false);
        let (watched, looks) = play(seed, true);
        assert_eq!(plain, watched, "seed {seed}");
        looked += looks;
    }
    assert!(looked > 60 * 60, "{looked} looks");
}

#[test]
fn f06_an_item_that_is_one_file_has_a_checkpoint_once_it_has_content() {
    let memory = Memory::default();
    let mut builder = TreeBuilder::new(&memory, path("/srv/disk"), None);
    assert!(builder.partial().unwrap().is_none());
    builder.entry(&file(0, "disk", 500)).unwrap();
    assert!(builder.partial().unwrap().is_none());
    let chunk = BlobId::of(b"the first");
    builder.offer(0, chunk, 90).unwrap();
    let partial = builder.partial().unwrap().unwrap();
    assert_eq!(
        (partial.root.size, partial.root.content),
        (90, Some(vec![chunk])),
        "the tree has what came"
    );
    let under_way: Vec<_> = partial.under_way.iter().map(UnderWay::said).collect();
    assert_eq!(
        under_way,
        [(String::new(), 500, 90)],
        "and the mark the true size"
    );
    builder.file_end(&end(0, 90)).unwrap();
    assert!(builder.partial().unwrap().is_none());
}

/// A client may have very many files under way very deep; their paths together are no more than a checkpoint can hold.
#[test]
fn f06_of_very_many_deep_files_the_newest_are_named() {
    let memory = Memory::default();
    let mut builder = TreeBuilder::new(&memory, path("/srv/home"), None);
    builder.entry(&enter(0, "home")).unwrap();
    let name = "d".repeat(4096);
    let (depth, files) = (100, 50);
    for number in 1..=depth {
        builder.entry(&enter(number, &name)).unwrap();
    }
    for number in depth + 1..=depth + files {
        builder.entry(&file(number, &format!("f{number}"), 100)).unwrap();
        let chunk = BlobId::of(&number.to_le_bytes());
        builder.offer(number, chunk, 40).unwrap();
    }
    let partial = builder.partial().unwrap().unwrap();
    let bytes: usize = partial.under_way.iter().map(|file| file.path.len()).sum();
    let named: Vec<u8> = partial.under_way.last().unwrap().path.clone();
    assert!(named.ends_with(b"/f150"), "the one that is being read");
    assert!(
        bytes <= 1 << 20,
        "{bytes} bytes of {} paths",
        partial.under_way.len()
    );
    assert_eq!(partial.under_way.len(), 2);
}

/// A checkpoint in a directory of some thousand entries ended the attempt: what its list takes had grown without being counted.
#[test]
fn t90_f05_a_walk_goes_on_after_checkpoints_in_a_long_directory() {
    let memory = Memory::default();
    let mut builder = TreeBuilder::new(&memory, path("/home"), None);
    builder.entry(&enter(0, "home")).unwrap();
    builder.entry(&enter(1, "d")).unwrap();
    for number in 2..6002 {
        builder.entry(&file(number, &format!("{number:06}"), 0)).unwrap();
        if number % 1000 == 7 {
            assert!(builder.partial().unwrap().is_some());
        }
    }
    builder.entry(&leave()).unwrap();
    builder.partial().unwrap();
    builder.entry(&leave()).unwrap();
    assert_eq!(builder.take_exceptions(), []);
    assert_eq!(builder.counters().files, 6000);
    assert!(matches!(builder.finish().unwrap(), Built::Tree(_)));
}
