//! Tables for the room, over a small repository on disk.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use outlast_repository::{
    BlobId, BlobKind, LocalStorage, Node, NodeKind, Password, Repository, Snapshot, SnapshotId, Timestamp,
    Tree, WriterOptions,
};

use super::cache::{BadCache, decode, encode};
use super::set::ChunkSet;
use super::{KnownChunks, LoadError, OwnChunks};
use crate::storage::SnapshotOwner;

fn owner(client: &str) -> SnapshotOwner {
    SnapshotOwner {
        cluster: "c".into(),
        client: client.into(),
    }
}

fn chunk(name: &str) -> BlobId {
    BlobId::of(name.as_bytes())
}

struct Place {
    dir: tempfile::TempDir,
    repository: Repository,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let storage = Arc::new(LocalStorage::new(dir.path().join("storage")));
        let repository = Repository::open_or_init(storage, &Password::new("secret".to_owned())).unwrap();
        Self { dir, repository }
    }

    /// As a process that just started.
    fn known(&self) -> KnownChunks {
        KnownChunks::new(self.dir.path().join("known-chunks"))
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("known-chunks/laptop.chunks")
    }

    fn load(&self, client: &str) -> OwnChunks {
        self.known()
            .load(&self.repository, &owner(client), &|| false)
            .unwrap()
    }

    fn keep(&self, own: OwnChunks) {
        self.known().keep(self.repository.id(), &owner("laptop"), own);
    }

    /// A snapshot with a directory below its root that holds one file of these chunks.
    fn snapshot(&self, client: &str, chunks: &[&str]) -> SnapshotId {
        let file = Node {
            name: b"f".to_vec(),
            kind: NodeKind::File,
            content: Some(chunks.iter().map(|name| chunk(name)).collect()),
            ..Node::default()
        };
        let writer = self.repository.writer(WriterOptions::default()).unwrap();
        for name in chunks {
            writer
                .add_blob(BlobKind::Data, chunk(name), name.as_bytes())
                .unwrap();
        }
        let (below, _) = writer.add_tree(&Tree { nodes: vec![file] }).unwrap();
        let root = self.root_over(&writer, below);
        writer.finish().unwrap();
        self.save(client, root)
    }

    fn root_over(&self, writer: &outlast_repository::Writer, subtree: BlobId) -> BlobId {
        let directory = Node {
            name: b"d".to_vec(),
            kind: NodeKind::Dir,
            subtree: Some(subtree),
            ..Node::default()
        };
        writer
            .add_tree(&Tree {
                nodes: vec![directory],
            })
            .unwrap()
            .0
    }

    fn save(&self, client: &str, root: BlobId) -> SnapshotId {
        let mut snapshot = Snapshot::new(Timestamp::now(), root, vec!["/d".into()], client.to_owned());
        snapshot.tags = vec!["outlast".into(), format!("client:{client}"), "cluster:c".into()];
        self.repository.save_snapshot(&snapshot).unwrap()
    }
}

#[test]
fn a_set_holds_what_was_put_in_through_every_merge() {
    let id = |n: u32| BlobId::of(&n.to_le_bytes());
    let mut set = ChunkSet::default();
    for n in 0..200_000 {
        set.insert(&id(n));
        set.insert(&id(n / 2));
    }
    assert_eq!(set.len(), 200_000);
    assert!((0..200_000).all(|n| set.contains(&id(n))));
    assert!((200_000..210_000).all(|n| !set.contains(&id(n))));
    assert!(set.sorted().is_sorted_by(|a, b| a < b));
    assert_eq!(set.len(), 200_000);
}

#[test]
fn a_chunk_takes_some_twenty_bytes() {
    let mut set = ChunkSet::default();
    let mut most = 0;
    for n in 0..500_000_u32 {
        set.insert(&BlobId::of(&n.to_le_bytes()));
        if n > 200_000 {
            most = most.max(set.bytes_in_memory() / set.len());
        }
    }
    set.sorted();
    assert_eq!((set.bytes_in_memory() / set.len(), set.len()), (16, 500_000));
    assert!(most <= 30, "{most}");
}

#[test]
fn only_the_own_snapshots_count() {
    let place = Place::new();
    assert!(!place.load("laptop").contains(&chunk("a")));
    place.snapshot("laptop", &["a", "both"]);
    place.snapshot("tower", &["b", "both"]);
    place.snapshot("laptop", &["c"]);
    let rows = [
        ("laptop", ["a", "both", "c"].as_slice(), ["b"].as_slice()),
        ("tower", &["b", "both"], &["a", "c"]),
        ("new", &[], &["a", "b", "c", "both"]),
    ];
    for (client, named, not_named) in rows {
        let own = place.load(client);
        assert!(named.iter().all(|name| own.contains(&chunk(name))), "{client}");
        assert!(
            !not_named.iter().any(|name| own.contains(&chunk(name))),
            "{client}"
        );
    }
    let mut elsewhere = owner("laptop");
    elsewhere.cluster = "another".into();
    let own = place
        .known()
        .load(&place.repository, &elsewhere, &|| false)
        .unwrap();
    assert!(!own.contains(&chunk("a")));
}

/// What happens to a good cache file or the snapshots it covers, and whether it still counts. The chunk "proved" is
/// in the file only, so it tells whether the file was used.
#[test]
fn a_cache_file_counts_only_when_everything_fits() {
    type Change = fn(&Place, &mut Vec<u8>);
    let rows: [(&str, Change, bool); 9] = [
        ("as it was", |_, _| {}, true),
        (
            "a snapshot more",
            |place, _| {
                place.snapshot("laptop", &["late"]);
            },
            true,
        ),
        (
            "a foreign snapshot more",
            |place, _| {
                place.snapshot("tower", &["x"]);
            },
            true,
        ),
        ("empty", |_, bytes| bytes.clear(), false),
        ("cut", |_, bytes| bytes.truncate(100), false),
        ("a bit fell over", |_, bytes| bytes[90] ^= 4, false),
        ("another magic", |_, bytes| bytes[0] = b'X', false),
        (
            "of another repository",
            |_, bytes| {
                let mut own = OwnChunks::default();
                own.prove(&chunk("proved"));
                *bytes = encode("elsewhere", &owner("laptop"), &mut own);
            },
            false,
        ),
        (
            "a snapshot is gone",
            |place, _| {
                let (first, _) = place.repository.snapshots().unwrap()[0];
                place.repository.remove_snapshot(&first).unwrap();
            },
            false,
        ),
    ];
    for (case, change, counts) in rows {
        let place = Place::new();
        place.snapshot("laptop", &["gone"]);
        place.snapshot("laptop", &["a"]);
        let mut own = place.load("laptop");
        own.prove(&chunk("proved"));
        place.keep(own);
        let mut bytes = std::fs::read(place.file()).unwrap();
        change(&place, &mut bytes);
        std::fs::write(place.file(), bytes).unwrap();
        let own = place.load("laptop");
        assert_eq!(own.contains(&chunk("proved")), counts, "{case}");
        assert!(own.contains(&chunk("a")), "{case}");
        assert_eq!(
            own.contains(&chunk("gone")),
            case != "a snapshot is gone",
            "{case}"
        );
        assert_eq!(own.contains(&chunk("late")), case == "a snapshot more", "{case}");
        assert!(!own.contains(&chunk("x")), "{case}");
        // What was made anew or grew is written again, and is good then.
        place.keep(own);
        assert!(!place.load("laptop").has_changed, "{case}");
    }
}

#[test]
fn a_committed_snapshot_is_covered_if_its_parent_is() {
    let parent = SnapshotId::of(b"parent");
    let new = SnapshotId::of(b"new");
    let rows = [
        (None, BTreeSet::new(), true),
        (Some(parent), BTreeSet::from([parent]), true),
        (Some(parent), BTreeSet::new(), false),
    ];
    for (parent, covered, is_covered) in rows {
        let mut own = OwnChunks {
            covered,
            ..OwnChunks::default()
        };
        own.committed(new, parent);
        assert_eq!(
            (own.covered.contains(&new), own.has_changed),
            (is_covered, is_covered)
        );
    }
}

#[test]
fn t90_a_tree_of_a_covered_snapshot_is_not_walked_again() {
    let place = Place::new();
    let writer = place.repository.writer(WriterOptions::default()).unwrap();
    // A walk would fail.
    let root = place.root_over(&writer, BlobId::of(b"a tree nobody has"));
    writer.finish().unwrap();
    let first = place.save("laptop", root);
    place.keep(OwnChunks {
        covered: BTreeSet::from([first]),
        has_changed: true,
        ..OwnChunks::default()
    });
    let again = place.save("laptop", root);
    assert_ne!(again, first);
    assert_eq!(place.load("laptop").covered, BTreeSet::from([first, again]));
}

#[test]
fn a_tree_that_cannot_be_read_is_looked_for_again() {
    let place = Place::new();
    let writer = place.repository.writer(WriterOptions::default()).unwrap();
    let root = place.root_over(&writer, BlobId::of(b"a tree nobody has"));
    writer.finish().unwrap();
    let broken = place.save("laptop", root);
    let own = place.load("laptop");
    assert!(!own.covered.contains(&broken) && !own.has_changed);
}

#[test]
fn a_walk_ends_when_the_attempt_does() {
    let place = Place::new();
    place.snapshot("laptop", &["a"]);
    let halted = place
        .known()
        .load(&place.repository, &owner("laptop"), &|| true)
        .unwrap_err();
    assert!(matches!(halted, LoadError::Halted));
}

/// A file of version 1 as the first release wrote it. It is never edited.
const VERSION_1: &str = "4f55544c4b4e4f570100000001000000720100000063060000006c6170746f700100000000000000043a718774c572bd8a25\
    adbeb1bfcd5c0256ae11cecf9f9c3f925d0e52beaf8902000000000000003e23e8160039594a33894f6564e1b134ca978112\
    ca1bbdcafac231b39a23dc4dbe4ad56f";

#[test]
fn version_1_is_read_and_written() {
    let mut own = OwnChunks::default();
    own.prove(&chunk("a"));
    own.prove(&chunk("b"));
    own.committed(SnapshotId::of(b"s"), None);
    assert_eq!(hex::encode(encode("r", &owner("laptop"), &mut own)), VERSION_1);
    let bytes = hex::decode(VERSION_1).unwrap();
    let read = decode(&bytes, "r", &owner("laptop")).unwrap();
    assert!(read.contains(&chunk("a")) && read.contains(&chunk("b")) && !read.contains(&chunk("c")));
    assert_eq!(read.covered, BTreeSet::from([SnapshotId::of(b"s")]));

    let mut newer = bytes.clone();
    newer[8] = 2;
    assert_eq!(
        decode(&newer, "r", &owner("laptop")).unwrap_err(),
        BadCache::OtherVersion(2)
    );
    let foreign = [("x", owner("laptop")), ("r", owner("tower"))];
    for (repository, owner) in foreign {
        assert_eq!(decode(&bytes, repository, &owner).unwrap_err(), BadCache::Foreign);
    }
    for length in 0..bytes.len() {
        assert!(
            decode(&bytes[..length], "r", &owner("laptop")).is_err(),
            "{length}"
        );
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(decode(&damaged, "r", &owner("laptop")).is_err(), "{at}");
    }
}
