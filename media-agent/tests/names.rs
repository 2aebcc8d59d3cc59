//! Names in a repository that no file can have: whoever wrote them, they do not get to a client.

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

/// A snapshot with a good file and, beside and above it, names that lead elsewhere.
fn hostile(world: &World) -> Vec<u8> {
    let password = Password::new(PASSWORD.to_owned());
    let repository = Repository::open(Arc::new(LocalStorage::new(world.storage())), &password).unwrap();
    let writer = repository.writer(WriterOptions::default()).unwrap();
    let content = BlobId::of(b"content");
    writer.add_blob(BlobKind::Data, content, b"content").unwrap();
    let file = |name: &[u8]| Node {
        name: name.to_vec(),
        mode: 0o644,
        size: 7,
        content: Some(vec![content]),
        ..Node::default()
    };
    let folder = |name: &[u8], subtree| Node {
        name: name.to_vec(),
        kind: NodeKind::Dir,
        mode: 1 << 31 | 0o755,
        subtree: Some(subtree),
        ..Node::default()
    };
    let bad = [&b".."[..], b".", b"", b"../out", b"/out", b"a\0b"];
    let (inner, _) = writer
        .add_tree(&Tree {
            nodes: vec![file(b"good")],
        })
        .unwrap();
    let mut nodes: Vec<_> = bad.map(file).into();
    nodes.push(file(b"good"));
    let (files, _) = writer.add_tree(&Tree { nodes }).unwrap();
    let mut nodes: Vec<_> = bad.map(|name| folder(name, inner)).into();
    nodes.push(folder(b"item", files));
    let (root, _) = writer.add_tree(&Tree { nodes }).unwrap();
    writer.finish().unwrap();
    let snapshot = Snapshot::new(
        Timestamp::now(),
        root,
        vec!["/item".to_owned()],
        "laptop".to_owned(),
    );
    repository.save_snapshot(&snapshot).unwrap().as_bytes().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_names_that_no_file_can_have_are_left_out_of_a_restore() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let snapshot = hostile(&world);
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.restore_ticket(2, &snapshot, &[]);
    let (restored, skipped, over) = restore(&laptop, &agent.address, world.hello(&ticket)).await;
    assert_eq!((over.code, skipped), (1, vec![]), "{}", over.text);
    assert_eq!(restored.keys().collect::<Vec<_>>(), ["/item/good"]);
    world.primary.end_of(2, 1).await;
    let named: usize = world
        .primary
        .events(2, 1)
        .iter()
        .map(|event| match event {
            What::Exceptions(found) => found.exceptions.len(),
            _ => 0,
        })
        .sum();
    assert_eq!(named, 12);
    agent.stop().await;
}
