//! A little tree of files in memory, its walk and its chunks, as a client agent would make them.

use std::collections::BTreeMap;

use outlast_proto::v1::{Entry, FileTime, LeaveDirectory, Node, NodeType, entry};

#[derive(Clone, Debug)]
pub enum Source {
    File(Vec<u8>),
    Link(&'static str),
    Dir(BTreeMap<Vec<u8>, Source>),
}

pub fn file(content: impl Into<Vec<u8>>) -> Source {
    Source::File(content.into())
}

pub fn dir<const N: usize>(entries: [(&str, Source); N]) -> Source {
    let entries = entries.into_iter();
    Source::Dir(
        entries
            .map(|(name, source)| (name.as_bytes().to_vec(), source))
            .collect(),
    )
}

/// Bytes that do not compress and differ by `seed`.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The walk of an item, and the content of its files by node number.
pub fn walk(name: &str, source: &Source) -> (Vec<Entry>, BTreeMap<u64, Vec<u8>>) {
    let mut walk = Walk::default();
    walk.add(name.as_bytes(), source);
    (walk.entries, walk.contents)
}

#[derive(Default)]
struct Walk {
    entries: Vec<Entry>,
    contents: BTreeMap<u64, Vec<u8>>,
    next: u64,
}

impl Walk {
    fn add(&mut self, name: &[u8], source: &Source) {
        let number = self.next;
        self.next += 1;
        let node = |r#type: NodeType, size: usize, mode| Node {
            number,
            name: name.to_vec().into(),
            r#type: r#type.into(),
            mode,
            size: size as u64,
            modified: Some(FileTime {
                seconds: 1_700_000_000,
                nanos: 123,
            }),
            changed: Some(FileTime {
                seconds: 1_700_000_001,
                nanos: 0,
            }),
            inode: 1000 + number,
            links: 1,
            ..Node::default()
        };
        match source {
            Source::File(content) => {
                self.contents.insert(number, content.clone());
                self.push(entry::Kind::Node(node(NodeType::File, content.len(), 0o640)));
            }
            Source::Link(target) => {
                let mut node = node(NodeType::Symlink, target.len(), 0o777);
                node.link_target = target.as_bytes().to_vec().into();
                self.push(entry::Kind::Node(node));
            }
            Source::Dir(children) => {
                self.push(entry::Kind::Enter(node(NodeType::Directory, 0, 0o750)));
                for (name, child) in children {
                    self.add(name, child);
                }
                self.push(entry::Kind::Leave(LeaveDirectory {}));
            }
        }
    }

    fn push(&mut self, kind: entry::Kind) {
        self.entries.push(Entry { kind: Some(kind) });
    }
}
