//! Entries of the walk as nodes of a tree, and back. Everything from the network is checked here.
//!
//! Used by the builder (backup) and the restore.

use outlast_proto::v1;
use outlast_proto::words::limits::{MOST_NAME, MOST_OWNER};
use outlast_repository::{
    ExtendedAttribute, Node, NodeKind, Timestamp, go_mode_from_st_mode, sha256_of_ids, st_mode_from_go_mode,
};

use super::{BuildError, violation};

const DIRECTORY_TYPE: u32 = 0o040_000;

/// Type of message, kind of node, bits of `st_mode`.
const TYPES: [(v1::NodeType, NodeKind, u32); 7] = [
    (v1::NodeType::File, NodeKind::File, 0o100_000),
    (v1::NodeType::Directory, NodeKind::Dir, DIRECTORY_TYPE),
    (v1::NodeType::Symlink, NodeKind::Symlink, 0o120_000),
    (v1::NodeType::Fifo, NodeKind::Fifo, 0o010_000),
    (v1::NodeType::Socket, NodeKind::Socket, 0o140_000),
    (v1::NodeType::CharacterDevice, NodeKind::CharDev, 0o020_000),
    (v1::NodeType::BlockDevice, NodeKind::Dev, 0o060_000),
];

/// A checked node without content.
pub(super) fn node_of_message(message: &v1::Node) -> Result<Node, BuildError> {
    let Some((_, kind, type_bits)) = TYPES.iter().find(|(wire, ..)| *wire == message.r#type()) else {
        return violation(format!("node {} has no known type", message.number));
    };
    let is_file = *kind == NodeKind::File;
    let mtime = time(message.modified.as_ref());
    let mut node = Node {
        name: message.name.to_vec(),
        kind: *kind,
        mode: go_mode_from_st_mode(message.mode & 0o7777 | type_bits),
        mtime,
        // As restic does by default: with the real one every directory would be a new tree every day.
        atime: mtime,
        ctime: time(message.changed.as_ref()),
        uid: message.uid,
        gid: message.gid,
        user: owner(&message.user),
        group: owner(&message.group),
        inode: message.inode,
        device_id: message.device_id,
        size: if is_file { message.size } else { 0 },
        links: message.links,
        linktarget: (*kind == NodeKind::Symlink).then(|| message.link_target.to_vec()),
        extended_attributes: message
            .xattrs
            .iter()
            .map(|xattr| ExtendedAttribute {
                name: String::from_utf8_lossy(&xattr.name).into_owned(),
                value: xattr.value.to_vec(),
            })
            .collect(),
        device: message.device,
        content: is_file.then(Vec::new),
        subtree: None,
    };
    if is_file {
        node.set_has_holes(message.has_holes);
    }
    Ok(node)
}

/// The name of a user or group; one that is too long counts as not known.
fn owner(name: &str) -> String {
    if name.len() > MOST_OWNER {
        String::new()
    } else {
        name.to_owned()
    }
}

/// Whether a name can be that of an entry of a directory.
pub(crate) fn check_name(name: &[u8]) -> Result<(), BuildError> {
    let odd = name.is_empty()
        || name == b"."
        || name == b".."
        || name.len() > MOST_NAME
        || name.iter().any(|byte| matches!(byte, b'/' | 0));
    if odd {
        return violation(format!("{:?} is no name of a file", show_bytes(name)));
    }
    Ok(())
}

/// A directory above an item: the walk says nothing of it.
pub(super) fn directory_above(name: &[u8], subtree: outlast_repository::BlobId, time: Timestamp) -> Node {
    Node {
        name: name.to_vec(),
        kind: NodeKind::Dir,
        mode: go_mode_from_st_mode(DIRECTORY_TYPE | 0o755),
        mtime: time,
        atime: time,
        ctime: time,
        subtree: Some(subtree),
        ..Node::default()
    }
}

/// As an entry of a restore.
pub(crate) fn node_from_tree(number: u64, node: &Node) -> Option<v1::Node> {
    let (wire, ..) = TYPES.iter().find(|(_, kind, _)| *kind == node.kind)?;
    Some(v1::Node {
        number,
        name: node.name.clone().into(),
        r#type: (*wire).into(),
        mode: st_mode_from_go_mode(node.mode) & 0o7777,
        uid: node.uid,
        gid: node.gid,
        user: node.user.clone(),
        group: node.group.clone(),
        size: node.size,
        modified: Some(file_time(node.mtime)),
        accessed: Some(file_time(node.atime)),
        changed: Some(file_time(node.ctime)),
        inode: node.inode,
        device_id: node.device_id,
        links: node.links,
        device: if node.kind == NodeKind::File {
            0
        } else {
            node.device
        },
        link_target: node.linktarget.clone().unwrap_or_default().into(),
        xattrs: node
            .extended_attributes
            .iter()
            .map(|xattr| v1::ExtendedAttribute {
                name: xattr.name.clone().into_bytes().into(),
                value: xattr.value.clone().into(),
            })
            .collect(),
        on_the_way: false,
        has_holes: node.has_holes(),
        content_sha256: content_of_names(node).into(),
    })
}

/// By which a client tells names of one file from others; empty for what has one name or no content.
fn content_of_names(node: &Node) -> Vec<u8> {
    let content = node.content.as_deref().filter(|_| node.links > 1);
    content.map_or_else(Vec::new, |ids| sha256_of_ids(ids).to_vec())
}

/// Bytes for a person: what is not UTF-8 as `\xNN`.
pub(crate) fn show_bytes(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Whether somebody who says `said` means the entry `name`: bytes that are not UTF-8 can only be named as they are shown.
pub(crate) fn is_meant(name: &[u8], said: &[u8]) -> bool {
    name == said
        || (name.utf8_chunks().any(|chunk| !chunk.invalid().is_empty())
            && show_bytes(name).as_bytes() == said)
}

fn time(message: Option<&v1::FileTime>) -> Timestamp {
    message.map_or_else(Timestamp::default, |t| {
        Timestamp::new(t.seconds, t.nanos.min(999_999_999))
    })
}

fn file_time(time: Timestamp) -> v1::FileTime {
    v1::FileTime {
        seconds: time.secs,
        nanos: time.nanos,
    }
}

#[cfg(test)]
mod tests {
    use outlast_proto::v1::{self, NodeType};
    use outlast_repository::{BlobId, Node, NodeKind};

    use super::{node_from_tree, node_of_message};

    #[test]
    fn t90_what_names_of_one_file_hold_is_told() {
        let told = |links, chunks: &[&[u8]]| {
            let content = chunks.iter().map(|chunk| BlobId::of(chunk)).collect();
            let node = Node {
                links,
                content: Some(content),
                ..Node::default()
            };
            node_from_tree(0, &node).unwrap().content_sha256
        };
        assert_eq!(told(1, &[b"a"]), "", "nobody's other name");
        assert_eq!(told(2, &[b"a", b"b"]), told(3, &[b"a", b"b"]));
        assert_ne!(told(2, &[b"a", b"b"]), told(2, &[b"b", b"a"]));
        assert_ne!(told(2, &[b"a"]), told(2, &[]));
    }

    /// Type, what the client says of holes and of the device; what comes back of both.
    #[test]
    fn holes_are_of_files_and_devices_of_devices() {
        let rows = [
            (NodeType::File, true, 0, (true, 0)),
            (NodeType::File, false, 0, (false, 0)),
            (NodeType::File, false, 1, (false, 0)),
            (NodeType::File, true, u64::MAX, (true, 0)),
            (NodeType::CharacterDevice, true, 1, (false, 1)),
            (NodeType::BlockDevice, false, 2049, (false, 2049)),
        ];
        for (kind, has_holes, device, expected) in rows {
            let message = v1::Node {
                r#type: kind.into(),
                has_holes,
                device,
                ..v1::Node::default()
            };
            let back = node_from_tree(0, &node_of_message(&message).unwrap()).unwrap();
            let found = (back.has_holes, back.device);
            assert_eq!(found, expected, "{kind:?} {has_holes} {device}");
        }
        // What another program may have written.
        let odd = Node {
            kind: NodeKind::File,
            device: 7,
            ..Node::default()
        };
        let back = node_from_tree(0, &odd).unwrap();
        assert_eq!((back.has_holes, back.device), (false, 0));
    }
}
