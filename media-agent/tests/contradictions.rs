//! Trees that say two things of one entry: what can be restored is, and the contradiction is told with both.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::Arc;

use outlast_kit::identity::Kind;
use outlast_proto::v1::journal_event::What;
use outlast_repository::{
    BlobId, BlobKind, LocalStorage, Node, NodeKind, Password, Repository, Snapshot, Timestamp, Tree,
    WriterOptions,
};
use support::restorer::restore;
use support::world::{PASSWORD, World};

/// What a file says of its size, and of its content in chunks of six bytes.
const FILES: [(&str, u64, usize); 9] = [
    ("cut", 77, 1),
    ("empty", 0, 0),
    ("good", 6, 1),
    ("half", i64::MAX as u64, 1),
    ("highest", u64::MAX, 2),
    ("million", 1_000_000, 1),
    ("nothing", 77, 0),
    ("short", 0, 1),
    ("twice", 12, 2),
];

fn contradicting(world: &World) -> Vec<u8> {
    let password = Password::new(PASSWORD.to_owned());
    let repository = Repository::open(Arc::new(LocalStorage::new(world.storage())), &password).unwrap();
    let writer = repository.writer(WriterOptions::default()).unwrap();
    let content = BlobId::of(b"123456");
    writer.add_blob(BlobKind::Data, content, b"123456").unwrap();
    let file = |(name, size, chunks): (&str, u64, usize)| Node {
        name: name.as_bytes().to_vec(),
        mode: 0o644,
        size,
        content: Some(vec![content; chunks]),
        ..Node::default()
    };
    let folder = |name: &[u8], subtree| Node {
        name: name.to_vec(),
        kind: NodeKind::Dir,
        mode: 1 << 31 | 0o755,
        subtree,
        ..Node::default()
    };
    let mut nodes: Vec<_> = FILES.map(file).into();
    nodes.push(Node {
        content: Some(vec![BlobId::of(b"nowhere")]),
        ..file(("lost", 0, 0))
    });
    nodes.push(folder(b"unlisted", None));
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
    let (files, _) = writer.add_tree(&Tree { nodes }).unwrap();
    let nodes = vec![folder(b"item", Some(files))];
    let (root, _) = writer.add_tree(&Tree { nodes }).unwrap();
    writer.finish().unwrap();
    let (item, client) = ("/item".to_owned(), "laptop".to_owned());
    let snapshot = Snapshot::new(Timestamp::now(), root, vec![item], client);
    repository.save_snapshot(&snapshot).unwrap().as_bytes().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_what_a_tree_says_twice_is_compared() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let snapshot = contradicting(&world);
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let paths = ["/item/unlisted/below"];
    for (attempt, paths, all) in [(2, &[][..], true), (3, &paths[..], false)] {
        let ticket = world.restore_ticket(attempt, &snapshot, paths);
        let (restored, skipped, over) = restore(&laptop, &agent.address, world.hello(&ticket)).await;
        world.primary.end_of(attempt, 1).await;
        let events = world.primary.events(attempt, 1);
        let named: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                What::Exceptions(found) => Some(&found.exceptions),
                _ => None,
            })
            .flatten()
            .map(|exception| format!("{}: {}", exception.path, exception.reason))
            .collect();
        let is_named = |path: &str, what: &str| {
            let found = named
                .iter()
                .filter(|named| named.starts_with(&format!("{path}: ")));
            let found: Vec<_> = found.collect();
            assert!(
                found.len() == 1 && found[0].contains(what),
                "{path}: {what}: {named:#?}"
            );
        };
        is_named("/item/unlisted", "the directory names none");
        if !all {
            assert_eq!(named.len(), 1, "{named:#?}");
            continue;
        }
        assert_eq!(over.code, 1, "{}", over.text);
        let mut told = 2;
        for (name, size, chunks) in FILES {
            let path = format!("/item/{name}");
            let length = 6 * chunks;
            if size != length as u64 {
                told += 1;
                is_named(
                    &path,
                    &format!("has {size} bytes, and names content of {length} bytes"),
                );
            }
            let found = restored.get(&path).map_or(0, Vec::len);
            assert_eq!(found, length, "{name}: the content counts");
        }
        is_named("/item/lost", "damaged in the storage unit");
        assert_eq!(skipped, ["/item/lost"]);
        assert_eq!(named.len(), told, "{named:#?}");
    }
    agent.stop().await;
}
