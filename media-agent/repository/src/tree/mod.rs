//! Trees: the entries of one directory, as a blob.
//! `node` is one entry, `mode` and `quote` its odd encodings, `encode` and `decode` the JSON; `encoder` and `reader` go
//! through it entry by entry (`pieces` cuts the text), for directories of any length.
//! Called by `repository`, `writer` and the media agent.

mod decode;
mod encode;
mod encoder;
mod mode;
mod node;
mod pieces;
mod quote;
mod reader;

pub(crate) use encoder::{EncodedTree, Frame};
pub use encoder::{TreeEncoder, TreeRoom};
pub use mode::{go_mode_from_st_mode, st_mode_from_go_mode};
pub use node::{ExtendedAttribute, Node, NodeKind};
pub use reader::TreeReader;

use crate::error::Damage;

/// The entries of one directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    pub nodes: Vec<Node>,
}

impl Tree {
    /// The bytes of the tree blob: JSON exactly as restic writes it, entries sorted by the bytes of their names.
    pub fn encode(&self) -> Vec<u8> {
        let mut sorted: Vec<&Node> = self.nodes.iter().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        encode::tree(&sorted)
    }

    /// Understands a tree blob; fields of newer versions of restic are passed over.
    pub fn decode(blob: &[u8]) -> Result<Tree, Damage> {
        decode::tree(blob)
    }

    /// The entry of that name, in a tree as `decode` gave it or otherwise sorted.
    pub fn find(&self, name: &[u8]) -> Option<&Node> {
        let at = self
            .nodes
            .binary_search_by(|node| node.name.as_slice().cmp(name))
            .ok()?;
        self.nodes.get(at)
    }
}
