//! Which nodes are names of one file: those that say so, and say the same of everything that is one for all names of a file.
//!
//! Pure. The number of an inode alone does not tell: a file system gives it to the next file when the first is removed, be it while the
//! backup walks; and a tree can say anything. A name gets no other content than its own node names, whatever else is lost by that.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use outlast_proto::v1::Node;
use sha2::{Digest as _, Sha256};

/// What names of one file have in common. Not the count of its names, nor the time of the last change of the inode: links that are made
/// or removed while the backup walks change both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct OneFile {
    number: (u64, u64),
    kind: i32,
    size: u64,
    /// Of what it holds or leads to.
    content: [u8; 16],
    modified: (i64, u32),
    owner: (u32, u32),
    mode: u32,
}

/// What a node with several names is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// Its content is to come.
    First,
    /// A further name of what came before.
    Further,
    /// Something else than what came first under its number; why.
    Other(String),
}

/// The nodes with several names so far.
#[derive(Default)]
pub(super) struct Names {
    /// What each number was met as first.
    firsts: HashMap<(u64, u64), OneFile>,
    /// What else came under a number that had been met.
    others: HashSet<OneFile>,
}

impl OneFile {
    pub(super) fn of(node: &Node) -> Self {
        let modified = node.modified.unwrap_or_default();
        // A media agent of before this was sent says nothing of a file's chunks.
        let content = Sha256::new()
            .chain_update(&node.content_sha256)
            .chain_update(node.device.to_le_bytes())
            .chain_update(&node.link_target)
            .finalize();
        let mut short = [0; 16];
        short.copy_from_slice(&content[..16]);
        Self {
            number: (node.device_id, node.inode),
            kind: node.r#type,
            size: node.size,
            content: short,
            modified: (modified.seconds, modified.nanos),
            owner: (node.uid, node.gid),
            mode: node.mode,
        }
    }

    /// The first thing in which it is another file than `first`.
    fn differs(&self, first: &Self) -> String {
        if self.kind != first.kind {
            "type".to_owned()
        } else if self.size != first.size {
            format!("size ({} bytes, not {})", self.size, first.size)
        } else if self.content != first.content {
            "content".to_owned()
        } else if self.modified != first.modified {
            "time of modification".to_owned()
        } else if self.owner != first.owner {
            "owner".to_owned()
        } else {
            "mode".to_owned()
        }
    }
}

impl Names {
    /// A node comes that is to be restored. One that has one name is nobody's other name.
    pub(super) fn meet(&mut self, node: &Node) -> Met {
        if node.links < 2 {
            return Met::First;
        }
        let file = OneFile::of(node);
        match self.firsts.entry(file.number) {
            Entry::Vacant(free) => {
                free.insert(file);
                Met::First
            }
            Entry::Occupied(first) if *first.get() == file => Met::Further,
            Entry::Occupied(_) if !self.others.insert(file) => Met::Further,
            Entry::Occupied(first) => Met::Other(format!(
                "restored as a file of its own, not as a link: the restore point has another file of its number (inode {}) with another {}; \
                 it changed while it was backed up, or its number was given to another file",
                node.inode,
                file.differs(first.get())
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use outlast_proto::v1::{FileTime, Node, NodeType};

    use super::{Met, Names};

    /// What differs from a first node, and what that makes of it: a further name, or the beginning of why not.
    #[test]
    fn t90_names_are_links_only_if_they_say_the_same_of_the_file() {
        let first = Node {
            r#type: NodeType::File.into(),
            inode: 12,
            device_id: 3,
            links: 2,
            size: 5,
            mode: 0o644,
            content_sha256: vec![1; 32].into(),
            modified: Some(FileTime { seconds: 5, nanos: 6 }),
            ..Node::default()
        };
        type Change = fn(&mut Node);
        let rows: [(Change, Option<&str>); 12] = [
            (|_| {}, None),
            // What making and removing links changes, and what may differ for no reason of the file's.
            (|node| node.links = 3, None),
            (|node| node.changed = Some(FileTime::default()), None),
            (|node| node.accessed = Some(FileTime::default()), None),
            (|node| node.has_holes = true, None),
            (|node| node.r#type = NodeType::Fifo.into(), Some("type;")),
            (|node| node.size = 6, Some("size (6 bytes, not 5);")),
            (|node| node.content_sha256 = vec![2; 32].into(), Some("content;")),
            (|node| node.link_target = b"x".to_vec().into(), Some("content;")),
            (|node| node.modified = None, Some("time of modification;")),
            (|node| node.gid = 1, Some("owner;")),
            (|node| node.mode = 0o600, Some("mode;")),
        ];
        for (change, other) in rows {
            let mut names = Names::default();
            assert_eq!(names.meet(&first), Met::First);
            let mut node = first.clone();
            change(&mut node);
            let met = names.meet(&node);
            match (&met, other) {
                (Met::Further, None) => {}
                (Met::Other(why), Some(other))
                    if why.contains(&format!("(inode 12) with another {other}")) => {}
                _ => panic!("{met:?}, expected {other:?}"),
            }
            // Each of them has further names of its own.
            assert_eq!(names.meet(&node), Met::Further);
            assert_eq!(names.meet(&first), Met::Further);
        }
        // Another number is another file, and one with a single name is nobody's link.
        let mut names = Names::default();
        names.meet(&first);
        for (device_id, inode) in [(3, 13), (4, 12)] {
            let other = Node {
                device_id,
                inode,
                ..first.clone()
            };
            assert_eq!(names.meet(&other), Met::First);
        }
        let single = Node {
            links: 1,
            ..first.clone()
        };
        assert_eq!(names.meet(&single), Met::First);
    }
}
