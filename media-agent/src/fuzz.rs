//! What the fuzzer drives: the journal, the cache of known chunks, tickets, and a client's walk. Only in builds for fuzzing
//! and in this crate's own tests; called by `fuzz/` and by the test below.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use outlast_kit::stream::{Frame as _, FromClient as _};
use outlast_proto::v1::backup_up::Body;
use outlast_proto::v1::{self, BackupUp};
use outlast_repository::{BlobId, BlobKind, Node, NodeKind, RepositoryError, Tree, TreeEncoder, TreeReader};
use prost::Message as _;
use ring::signature::Ed25519KeyPair;

use crate::cluster::Cluster;
use crate::journal::fuzz::{journal, journals};
use crate::known_chunks::fuzz::{chunk_cache, chunk_caches};
use crate::tickets::Verifier;
use crate::tree_builder::{Built, ItemPath, TreeBuilder, Trees, node_from_tree};

#[cfg(test)]
#[path = "../../fuzz/mutations.rs"]
mod mutations;

/// Name, real inputs, what is done with an input.
pub type Target = (&'static str, fn() -> Vec<Vec<u8>>, fn(&[u8]));

pub const TARGETS: &[Target] = &[
    ("journal", journals, journal),
    ("chunk_cache", chunk_caches, chunk_cache),
    ("hello", hellos, hello),
    ("walk", walks, walk),
];

static KEY: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[1; 32]).expect("32 bytes are a seed"));

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    use ring::signature::KeyPair as _;
    let file = std::env::temp_dir().join(format!("outlast-fuzz-cluster-{}", std::process::id()));
    let cluster = Cluster::load(file.clone()).expect("there is no such file yet");
    let welcome = outlast_proto::v1::Welcome {
        cluster_id: "c".to_owned(),
        ticket_key: KEY.public_key().as_ref().to_vec().into(),
        ..Default::default()
    };
    cluster.learn(&welcome).expect("there is room");
    std::fs::remove_file(file).expect("it was written above");
    Verifier {
        cluster,
        agent: "media-1".parse().expect("a name"),
        unit: "unit".to_owned(),
    }
});

/// The first message of a data stream; and its ticket as if the primary had signed whatever it is.
fn hello(input: &[u8]) {
    if let Ok(first) = BackupUp::decode(input)
        && let (_, _, Some(body)) = first.split()
        && let Some(hello) = BackupUp::into_hello(body)
    {
        let signed = hello.ticket.unwrap_or_default();
        assert!(VERIFIER.verify(&signed).is_err());
        signed_ticket(&signed.ticket);
    }
    signed_ticket(input);
}

fn signed_ticket(ticket: &[u8]) {
    let signed = v1::SignedTicket {
        ticket: ticket.to_vec().into(),
        signature: KEY.sign(ticket).as_ref().to_vec().into(),
    };
    if let Ok(ticket) = VERIFIER.verify(&signed) {
        assert!(ticket.id.attempt.0 > 0);
        let _ = (
            ticket.owner(),
            ticket.check_first_showing(outlast_proto::words::Timestamp(0)),
        );
        for item in &ticket.items {
            let _ = ItemPath::parse(&item.path);
        }
    }
}

fn hellos() -> Vec<Vec<u8>> {
    let ticket = |kind: v1::JobKind| v1::Ticket {
        cluster_id: "c".into(),
        attempt: Some(v1::AttemptRef {
            job: "7".into(),
            attempt: 2,
            nonce: 5,
        }),
        client: "client-1".into(),
        media_agent: "media-1".into(),
        storage_unit: "unit".into(),
        kind: kind.into(),
        items: vec![v1::TicketItem {
            path: "/home".into(),
            parent_snapshot: vec![5; 32].into(),
            ..v1::TicketItem::default()
        }],
        restore: Some(v1::RestoreOrder {
            snapshot: vec![6; 32].into(),
            paths: vec!["/home/a".into()],
            ..v1::RestoreOrder::default()
        }),
        ..v1::Ticket::default()
    };
    let backup = ticket(v1::JobKind::Backup).encode_to_vec();
    let signed = v1::SignedTicket {
        ticket: backup.clone().into(),
        signature: vec![1; 64].into(),
    };
    let hello = v1::StreamHello {
        ticket: Some(signed),
        start_id: "s".into(),
        ..v1::StreamHello::default()
    };
    let first = BackupUp {
        sequence: 0,
        received: 0,
        body: Some(Body::Hello(hello)),
    };
    vec![
        first.encode_to_vec(),
        backup,
        ticket(v1::JobKind::Restore).encode_to_vec(),
    ]
}

/// Messages of a client one behind the other, each behind its length. With an odd first byte nodes are numbered for it,
/// which is otherwise hard to get right. A walk that comes to an end is walked again beside the tree it made.
fn walk(input: &[u8]) {
    let Some((mode, mut rest)) = input.split_first() else {
        return;
    };
    let mut messages = Vec::new();
    while let Ok(message) = BackupUp::decode_length_delimited(&mut rest) {
        messages.push(message);
        if rest.is_empty() {
            break;
        }
    }
    if mode % 2 == 1 {
        number(&mut messages);
    }
    let memory = Memory::default();
    let Some(Built::Tree(root)) = walked(&memory, &messages, None) else {
        return;
    };
    let parent = memory.trees.borrow()[&root].clone();
    check_tree(&memory, &parent);
    let node = parent.nodes.into_iter().next();
    if let Some(Built::Tree(again)) = walked(&memory, &messages, node) {
        assert!(memory.trees.borrow().contains_key(&again));
    }
}

fn walked(memory: &Memory, messages: &[BackupUp], parent: Option<Node>) -> Option<Built> {
    let path = ItemPath::parse("/home").expect("it is absolute");
    let mut builder = TreeBuilder::new(memory, path, parent);
    for message in messages {
        match message.body.as_ref()? {
            Body::Entries(entries) => {
                for entry in &entries.entries {
                    builder.entry(entry).ok()?;
                }
            }
            Body::Offers(offers) => {
                for offer in &offers.offers {
                    let id = offer.id.as_ref().try_into().map(BlobId::from_bytes).ok()?;
                    builder.offer(offer.node, id, offer.length).ok()?;
                }
            }
            Body::FileEnds(ends) => {
                for end in &ends.ends {
                    builder.file_end(end).ok()?;
                }
            }
            _ => {}
        }
        let _ = (builder.counters(), builder.through());
    }
    builder.finish().ok()
}

/// What was built is what a restore can send: names that stay in their directory, trees that are there.
fn check_tree(memory: &Memory, tree: &Tree) {
    assert!(tree.nodes.is_sorted_by(|a, b| a.name < b.name));
    for node in &tree.nodes {
        assert!(!node.name.is_empty() && node.name != b".." && node.name != b".");
        assert!(!node.name.iter().any(|byte| matches!(byte, b'/' | 0)));
        assert!(node_from_tree(0, node).is_some());
        assert_eq!(node.kind == NodeKind::Dir, node.subtree.is_some());
        if let Some(subtree) = node.subtree {
            let below = memory.trees.borrow()[&subtree].clone();
            check_tree(memory, &below);
        }
    }
}

fn number(messages: &mut [BackupUp]) {
    let mut next = 0;
    for message in messages {
        let Some(Body::Entries(entries)) = &mut message.body else {
            continue;
        };
        for entry in &mut entries.entries {
            if let Some(v1::entry::Kind::Enter(node) | v1::entry::Kind::Node(node)) = &mut entry.kind {
                node.number = next;
                next += 1;
            }
        }
    }
}

fn walks() -> Vec<Vec<u8>> {
    let node = |number, name: &str, kind: v1::NodeType, size| v1::Node {
        number,
        name: name.as_bytes().to_vec().into(),
        r#type: kind.into(),
        mode: 0o644,
        size,
        modified: Some(v1::FileTime {
            seconds: -5,
            nanos: 7,
        }),
        ..v1::Node::default()
    };
    let entry = |kind| v1::Entry { kind: Some(kind) };
    use v1::NodeType::{Directory, File, Symlink};
    use v1::entry::Kind;
    let entries = vec![
        entry(Kind::Enter(node(0, "home", Directory, 0))),
        entry(Kind::Node(node(1, "a", File, 3))),
        entry(Kind::Enter(node(2, "b", Directory, 0))),
        entry(Kind::Node(node(3, "c", Symlink, 0))),
        entry(Kind::Leave(v1::LeaveDirectory {})),
        entry(Kind::Node(node(4, "d", File, 0))),
        entry(Kind::Leave(v1::LeaveDirectory {})),
    ];
    let id = BlobId::of(b"abc").as_bytes().to_vec();
    let offer = v1::Offer {
        node: 1,
        id: id.into(),
        length: 3,
        ..v1::Offer::default()
    };
    let end = v1::FileEnd {
        node: 1,
        size: 3,
        skipped: false,
        changed: Some(node(1, "a", File, 3)),
        young: true,
    };
    let bodies = [
        Body::Entries(v1::Entries { entries }),
        Body::Offers(v1::Offers {
            number: 1,
            offers: vec![offer],
        }),
        Body::FileEnds(v1::FileEnds { ends: vec![end] }),
    ];
    let mut bytes = vec![0];
    for (sequence, body) in (1..).zip(bodies) {
        let message = BackupUp {
            sequence,
            received: 0,
            body: Some(body),
        };
        bytes.extend(message.encode_length_delimited_to_vec());
    }
    let mut numbered = bytes.clone();
    numbered[0] = 1;
    vec![bytes, numbered]
}

/// Trees in memory; every chunk is there.
#[derive(Default)]
struct Memory {
    trees: RefCell<BTreeMap<BlobId, Tree>>,
}

impl Trees for &Memory {
    fn open(&self, id: &BlobId) -> Result<TreeReader, RepositoryError> {
        let found = self.trees.borrow().get(id).cloned();
        found
            .map(TreeReader::from)
            .ok_or_else(|| RepositoryError::MissingBlob {
                kind: BlobKind::Tree,
                id: *id,
                location: "memory".to_owned(),
            })
    }

    fn has_chunk(&self, _id: &BlobId) -> bool {
        true
    }

    fn new_tree(&self) -> TreeEncoder {
        TreeEncoder::new(1)
    }

    fn save(&self, tree: TreeEncoder) -> Result<BlobId, RepositoryError> {
        let bytes = tree.into_bytes()?;
        let id = BlobId::of(&bytes);
        let read = Tree::decode(&bytes).expect("just written");
        self.trees.borrow_mut().insert(id, read);
        Ok(id)
    }
}

#[test]
fn s02a_what_lies_on_disk_and_what_clients_send_may_be_anything() {
    mutations::exercise(TARGETS, 1500);
}
