//! Reads trees from JSON. Called by `Tree::decode`.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::error::Damage;
use crate::id::BlobId;
use crate::time::Timestamp;
use crate::tree::pieces::Piece;
use crate::tree::quote::unquote;
use crate::tree::{ExtendedAttribute, Node, NodeKind, Tree};

#[derive(Deserialize)]
struct TreeJson<'a> {
    #[serde(borrow)]
    nodes: Option<Vec<NodeJson<'a>>>,
}

/// Go writes `null` for lists that were never filled, so lists are options here.
#[derive(Deserialize)]
struct NodeJson<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default)]
    mode: u32,
    #[serde(default)]
    mtime: Timestamp,
    #[serde(default)]
    atime: Timestamp,
    #[serde(default)]
    ctime: Timestamp,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    #[serde(default)]
    user: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    inode: u64,
    #[serde(default)]
    device_id: u64,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    links: u64,
    linktarget: Option<String>,
    linktarget_raw: Option<String>,
    #[serde(borrow)]
    extended_attributes: Option<Vec<AttributeJson<'a>>>,
    #[serde(default)]
    device: u64,
    content: Option<Vec<BlobId>>,
    subtree: Option<BlobId>,
}

#[derive(Deserialize)]
struct AttributeJson<'a> {
    name: String,
    #[serde(borrow)]
    value: Option<Cow<'a, str>>,
}

pub(super) fn tree(blob: &[u8]) -> Result<Tree, Damage> {
    // A list would be taken for the members of the object in their order.
    if blob.trim_ascii_start().first() != Some(&b'{') {
        return Err(Damage::malformed("the tree is no list of entries"));
    }
    let json: TreeJson<'_> = serde_json::from_slice(blob).map_err(Damage::malformed)?;
    let nodes = json
        .nodes
        .unwrap_or_default()
        .into_iter()
        .map(node)
        .collect::<Result<_, _>>()?;
    Ok(Tree { nodes })
}

/// One entry, cut out of a tree.
pub(super) fn entry(piece: Piece<'_>) -> Result<Node, Damage> {
    let Piece { text, mut content } = piece;
    let mut json: NodeJson<'_> = serde_json::from_slice(text).map_err(Damage::malformed)?;
    if !content.is_empty() {
        content.extend(json.content.unwrap_or_default());
        json.content = Some(content);
    }
    node(json)
}

fn node(json: NodeJson<'_>) -> Result<Node, Damage> {
    let name = unquote(&json.name)
        .ok_or_else(|| Damage::malformed(format_args!("the name {:?} has a wrong escape", json.name)))?;
    let linktarget = match json.linktarget_raw {
        Some(raw) => Some(STANDARD.decode(raw).map_err(Damage::malformed)?),
        None => json.linktarget.map(String::into_bytes),
    };
    let attributes = json
        .extended_attributes
        .unwrap_or_default()
        .into_iter()
        .map(attribute);
    Ok(Node {
        name,
        kind: NodeKind::parse(&json.kind),
        mode: json.mode,
        mtime: json.mtime,
        atime: json.atime,
        ctime: json.ctime,
        uid: json.uid,
        gid: json.gid,
        user: json.user,
        group: json.group,
        inode: json.inode,
        device_id: json.device_id,
        size: json.size,
        links: json.links,
        linktarget,
        extended_attributes: attributes.collect::<Result<_, _>>()?,
        device: json.device,
        content: json.content,
        subtree: json.subtree,
    })
}

fn attribute(json: AttributeJson<'_>) -> Result<ExtendedAttribute, Damage> {
    let value = STANDARD
        .decode(json.value.as_deref().unwrap_or_default())
        .map_err(Damage::malformed)?;
    Ok(ExtendedAttribute {
        name: json.name,
        value,
    })
}

#[cfg(test)]
mod tests {
    use crate::id::BlobId;
    use crate::time::Timestamp;
    use crate::tree::{ExtendedAttribute, Node, NodeKind, Tree, TreeReader};

    fn sample() -> Tree {
        let file = Node {
            name: b"z \xff \n <&> \" \\".to_vec(),
            mode: 0o4755,
            mtime: Timestamp::new(-5, 7),
            uid: 1,
            user: "us<er".to_owned(),
            size: 3,
            extended_attributes: vec![
                ExtendedAttribute {
                    name: "user.a".to_owned(),
                    value: vec![0, 255, 1],
                },
                ExtendedAttribute {
                    name: "user.b".to_owned(),
                    value: Vec::new(),
                },
            ],
            content: Some(vec![BlobId::of(b"abc")]),
            ..Node::default()
        };
        let link = Node {
            name: b"a".to_vec(),
            kind: NodeKind::Symlink,
            linktarget: Some(b"to/\xe4\xff".to_vec()),
            ..Node::default()
        };
        let directory = Node {
            name: b"b".to_vec(),
            kind: NodeKind::Dir,
            subtree: Some(BlobId::of(b"")),
            ..Node::default()
        };
        Tree {
            nodes: vec![file, link, directory],
        }
    }

    #[test]
    fn trees_round_trip_sorted() {
        let mut tree = sample();
        let read = Tree::decode(&tree.encode()).unwrap();
        tree.nodes.rotate_left(1);
        assert_eq!(read, tree);
        assert_eq!(read.encode(), tree.encode());
        assert_eq!(read.find(b"b").unwrap().kind, NodeKind::Dir);
        assert!(read.find(b"c").is_none());
    }

    #[test]
    fn the_json_is_that_of_go() {
        let text = String::from_utf8(sample().encode()).unwrap();
        let link = r#"{"nodes":[{"name":"a","type":"symlink","mtime":"1970-01-01T00:00:00Z","atime":"1970-01-01T00:00:00Z","ctime":"1970-01-01T00:00:00Z","uid":0,"gid":0,"linktarget":"to/\ufffd\ufffd","linktarget_raw":"dG8v5P8=","content":null},"#;
        assert!(text.starts_with(link), "{text}");
        assert!(
            text.contains(r#""name":"z \\xff \\n \u003c\u0026\u003e \\\" \\\\","type":"file","mode":2541"#),
            "{text}"
        );
        assert!(text.contains(
            r#""user":"us\u003cer","size":3,"extended_attributes":[{"name":"user.a","value":"AP8B"}"#
        ));
        assert!(text.ends_with("]}\n"));
        assert_eq!(Tree::default().encode(), b"{\"nodes\":[]}\n");
    }

    #[test]
    fn files_remember_that_they_had_holes() {
        let mut file = Node {
            name: b"f".to_vec(),
            content: Some(Vec::new()),
            ..Node::default()
        };
        for (has_holes, written) in [
            (true, ",\"device\":1,\"content\":[]}"),
            (false, "Z\",\"uid\":0,\"gid\":0,\"content\":[]}"),
        ] {
            file.set_has_holes(has_holes);
            let tree = Tree {
                nodes: vec![file.clone()],
            };
            let text = String::from_utf8(tree.encode()).unwrap();
            assert!(text.contains(written), "{text}");
            let read = Tree::decode(text.as_bytes()).unwrap();
            assert_eq!(read, tree);
            assert_eq!(read.nodes[0].has_holes(), has_holes);
        }
        // Whatever else stands there: by another program, or of another kind.
        for (kind, device, has_holes) in [
            ("file", "1", true),
            ("file", "0", false),
            ("file", "2", false),
            ("file", "18446744073709551615", false),
            ("chardev", "1", false),
            ("dev", "1", false),
            ("dir", "1", false),
        ] {
            let text = format!(r#"{{"nodes":[{{"name":"n","type":"{kind}","device":{device}}}]}}"#);
            let read = Tree::decode(text.as_bytes()).unwrap();
            assert_eq!(read.nodes[0].has_holes(), has_holes, "{text}");
            assert_eq!(
                read.nodes[0].device.to_string(),
                device,
                "kept when it is written again"
            );
        }
    }

    #[test]
    fn newer_fields_and_nulls_are_tolerated() {
        let text = r#"{"x":1,"nodes":[{"name":"n\\u00e4","type":"irregular","generic_attributes":{"w":1},
            "mtime":"2020-01-01T00:00:00+01:00","content":null,"extended_attributes":null,"error":"e"}]}"#;
        let tree = Tree::decode(text.as_bytes()).unwrap();
        assert_eq!(tree.nodes[0].name, "nä".as_bytes());
        assert_eq!(tree.nodes[0].kind, NodeKind::Irregular);
        assert_eq!(Tree::decode(b"{\"nodes\":null}").unwrap(), Tree::default());
    }

    #[test]
    fn t90_a_bare_list_is_no_tree_however_it_is_read() {
        for (text, is_tree) in [
            ("[[]]", false),
            ("[null]", false),
            ("", false),
            (" {\"nodes\":[]}", true),
        ] {
            assert_eq!(Tree::decode(text.as_bytes()).is_ok(), is_tree, "{text}");
            let in_pieces = TreeReader::in_pieces(text.as_bytes()).all(|entry| entry.is_ok());
            assert_eq!(in_pieces, is_tree, "{text}");
        }
    }

    #[test]
    fn hostile_bytes_are_refused() {
        let blob = sample().encode();
        for length in 0..blob.len() - 2 {
            assert!(Tree::decode(&blob[..length]).is_err(), "{length}");
        }
        for at in 0..blob.len() {
            let mut changed = blob.clone();
            changed[at] ^= 0x81;
            let _ = Tree::decode(&changed);
        }
        let deep = [b"{\"nodes\":".as_slice(), &b"[".repeat(100_000)].concat();
        assert!(Tree::decode(&deep).is_err());
    }
}
