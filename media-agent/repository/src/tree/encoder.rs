//! A tree that is written entry by entry, so that the entries of a directory of a million are never in memory together:
//! what is written is compressed as soon as it is long, into the very memory that is sealed and written as a pack in the end.
//! Called by whoever backs up; `Writer::add_encoded_tree` stores it.

use std::io::{Read as _, Write};

use outlast_direct_io::GrowingBuffer;
use sha2::{Digest, Sha256};
use zstd::stream::read::Decoder;
use zstd::stream::write::Encoder;

use crate::compress::{MAX_BLOB, decompress_exactly};
use crate::crypto::NONCE;
use crate::error::{Damage, RepositoryError, Result};
use crate::id::{BlobId, BlobKind};
use crate::tree::Node;
use crate::tree::encode::{BEGIN, END, ID, push_content, push_head, push_tail};

/// Text beyond this is compressed; a shorter tree is when it is stored, as all other blobs.
const MOST_PLAIN: usize = 256 << 10;
/// Bytes of a whole tree.
const MOST_TREE: usize = MAX_BLOB as usize - END.len();
/// Behind the content of an entry: no more than the id of a tree and what is around it.
const TAIL: usize = 100;
/// An id is 64 digits of random bytes: compressed, a little more than those.
const ID_COMPRESSED: usize = 38;

/// How far a tree may grow with an entry.
#[derive(Debug, Clone, Copy)]
pub struct TreeRoom {
    /// Plain bytes; never more than a blob may have.
    pub text: usize,
    /// What it takes of the memory; see [`TreeEncoder::memory`].
    pub memory: usize,
}

impl TreeRoom {
    /// As long as a blob may be, within so much of the memory.
    #[must_use]
    pub fn in_memory(memory: usize) -> TreeRoom {
        let text = MOST_TREE;
        TreeRoom { text, memory }
    }
}

/// A tree in the making.
pub struct TreeEncoder {
    zstd_level: i32,
    is_empty: bool,
    text: String,
    quoted: String,
    /// Where the beginning of the text went, once it was long.
    long: Option<Long>,
}

struct Long {
    hasher: Sha256,
    encoder: Encoder<'static, GrowingBuffer>,
    plain_len: usize,
}

/// A whole tree as a blob.
pub(crate) enum EncodedTree {
    Plain(Vec<u8>),
    Compressed {
        id: BlobId,
        frame: Frame,
        plain_len: u32,
    },
}

/// A compressed tree behind room for the nonce, so that it can be sealed where it is.
pub(crate) struct Frame(GrowingBuffer);

impl Frame {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0.bytes()[NONCE..]
    }

    /// With the room in front.
    pub(crate) fn into_buffer(self) -> GrowingBuffer {
        self.0
    }
}

impl TreeEncoder {
    pub fn new(zstd_level: i32) -> TreeEncoder {
        TreeEncoder {
            zstd_level,
            is_empty: true,
            text: BEGIN.to_owned(),
            quoted: String::new(),
            long: None,
        }
    }

    /// Adds an entry. Its name must come after the one before it.
    ///
    /// # Errors
    /// [`RepositoryError::Refused`] if the tree would become longer than a blob may be.
    pub fn push(&mut self, node: &Node) -> Result<()> {
        if self.try_push(node, TreeRoom::in_memory(usize::MAX))? {
            return Ok(());
        }
        let limit = MOST_TREE as u64;
        Err(refused(BlobId::of(&node.name), Damage::TooLarge { limit }))
    }

    /// As [`TreeEncoder::push`], if there is room: false leaves the tree as it is.
    pub fn try_push(&mut self, node: &Node, room: TreeRoom) -> Result<bool> {
        let before = self.text.len();
        if !self.is_empty {
            self.text.push(',');
        }
        push_head(&mut self.text, node, &mut self.quoted);
        let ids = node.content.as_ref().map_or(0, Vec::len);
        let plain_len = self.plain_len() + ids * ID + TAIL;
        if plain_len > room.text.min(MOST_TREE) || self.memory() + ids * ID_COMPRESSED > room.memory {
            self.text.truncate(before);
            return Ok(false);
        }
        self.is_empty = false;
        let Self {
            zstd_level,
            text,
            long,
            ..
        } = self;
        push_content(text, node.content.as_deref(), |text| {
            match text.len() > MOST_PLAIN {
                true => compress(long, text, *zstd_level),
                false => Ok(()),
            }
        })?;
        push_tail(text, node);
        if text.len() > MOST_PLAIN {
            compress(long, text, *zstd_level)?;
        }
        Ok(true)
    }

    /// What it takes of the memory, as far as it grows with the entries.
    #[must_use]
    pub fn memory(&self) -> usize {
        let frame = self.long.as_ref().map_or(0, |long| long.frame().len());
        self.text.len() + frame
    }

    fn plain_len(&self) -> usize {
        self.long.as_ref().map_or(0, |long| long.plain_len) + self.text.len()
    }

    /// A tree of its own that begins with the entries so far. This one goes on as if nothing had been asked.
    ///
    /// # Errors
    /// If what is compressed already cannot be read back: not expected, memory is.
    pub fn copy(&mut self) -> Result<TreeEncoder> {
        let long = match &mut self.long {
            Some(long) => Some(long.copy(self.zstd_level)?),
            None => None,
        };
        Ok(TreeEncoder {
            zstd_level: self.zstd_level,
            is_empty: self.is_empty,
            text: self.text.clone(),
            quoted: String::new(),
            long,
        })
    }

    pub(crate) fn finish(mut self) -> Result<EncodedTree> {
        self.text.push_str(END);
        if self.long.is_some() {
            compress(&mut self.long, &mut self.text, self.zstd_level)?;
        }
        match self.long {
            Some(long) => long.finish(),
            None => Ok(EncodedTree::Plain(self.text.into_bytes())),
        }
    }

    /// The plain bytes of the whole tree.
    pub fn into_bytes(self) -> Result<Vec<u8>> {
        match self.finish()? {
            EncodedTree::Plain(bytes) => Ok(bytes),
            EncodedTree::Compressed { id, frame, plain_len } => {
                let mut bytes = Vec::new();
                let refused = |damage| refused(id, damage);
                decompress_exactly(frame.bytes(), plain_len, &mut bytes).map_err(refused)?;
                Ok(bytes)
            }
        }
    }
}

/// Moves the text to where the beginning went.
fn compress(long: &mut Option<Long>, text: &mut String, zstd_level: i32) -> Result<()> {
    let long = match long {
        Some(long) => long,
        None => long.insert(Long::begin(zstd_level)?),
    };
    long.take(text.as_bytes())?;
    text.clear();
    Ok(())
}

impl Long {
    fn begin(zstd_level: i32) -> Result<Long> {
        let mut buffer = GrowingBuffer::default();
        buffer.extend_from_slice(&[0; NONCE]);
        let encoder = Encoder::new(buffer, zstd_level).map_err(|error| failed(0, &error))?;
        Ok(Long {
            hasher: Sha256::new(),
            encoder,
            plain_len: 0,
        })
    }

    /// What is compressed so far.
    fn frame(&self) -> &[u8] {
        &self.encoder.get_ref().bytes()[NONCE..]
    }

    fn take(&mut self, text: &[u8]) -> Result<()> {
        self.plain_len += text.len();
        if self.plain_len > MAX_BLOB as usize {
            let limit = u64::from(MAX_BLOB);
            let id = BlobId::from_bytes(self.hasher.clone().finalize().into());
            return Err(refused(id, Damage::TooLarge { limit }));
        }
        self.hasher.update(text);
        let plain_len = self.plain_len;
        self.encoder
            .write_all(text)
            .map_err(|error| failed(plain_len, &error))
    }

    /// An encoder cannot be cloned, so what it has taken goes through another one.
    fn copy(&mut self, zstd_level: i32) -> Result<Long> {
        let plain_len = self.plain_len;
        let failed = |error: std::io::Error| failed(plain_len, &error);
        self.encoder.flush().map_err(failed)?;
        let mut copy = Long::begin(zstd_level)?;
        // The frame has no end yet: no more may be asked of it than was put in.
        let mut so_far = Decoder::with_buffer(self.frame())
            .map_err(failed)?
            .take(plain_len as u64);
        let copied = std::io::copy(&mut so_far, &mut copy.encoder).map_err(failed)?;
        if copied != plain_len as u64 {
            return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
        }
        (copy.hasher, copy.plain_len) = (self.hasher.clone(), plain_len);
        Ok(copy)
    }

    fn finish(self) -> Result<EncodedTree> {
        let frame = self
            .encoder
            .finish()
            .map_err(|error| failed(self.plain_len, &error))?;
        Ok(EncodedTree::Compressed {
            id: BlobId::from_bytes(self.hasher.finalize().into()),
            frame: Frame(frame),
            plain_len: u32::try_from(self.plain_len).expect("not above MAX_BLOB"),
        })
    }
}

impl std::fmt::Debug for TreeEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TreeEncoder")
            .field("plain_len", &self.plain_len())
            .finish_non_exhaustive()
    }
}

fn failed(length: usize, error: &std::io::Error) -> RepositoryError {
    let reason = error.to_string();
    RepositoryError::Compression { length, reason }
}

fn refused(id: BlobId, damage: Damage) -> RepositoryError {
    let kind = BlobKind::Tree;
    RepositoryError::Refused { kind, id, damage }
}

#[cfg(test)]
mod tests {
    use super::{EncodedTree, TreeEncoder, TreeRoom};
    use crate::id::BlobId;
    use crate::tree::{Node, Tree};

    #[test]
    fn a_tree_written_entry_by_entry_is_the_same_blob() {
        for count in [0, 1, 2, 500, 5000] {
            let nodes = (0..count).map(|n| Node {
                name: format!("name {n:06}").into_bytes(),
                inode: n * 7919,
                content: Some(vec![BlobId::of(&n.to_le_bytes())]),
                ..Node::default()
            });
            let tree = Tree {
                nodes: nodes.collect(),
            };
            let mut encoder = TreeEncoder::new(1);
            tree.nodes.iter().for_each(|node| encoder.push(node).unwrap());
            let whole = tree.encode();
            match encoder.finish().unwrap() {
                EncodedTree::Plain(bytes) => assert!(count < 1000 && bytes == whole),
                EncodedTree::Compressed { id, frame, plain_len } => {
                    assert!(count > 1000 && frame.bytes().len() < whole.len() / 2);
                    assert_eq!((id, plain_len as usize), (BlobId::of(&whole), whole.len()));
                }
            }
            let mut encoder = TreeEncoder::new(1);
            tree.nodes.iter().for_each(|node| encoder.push(node).unwrap());
            assert_eq!(encoder.into_bytes().unwrap(), whole);
        }
    }

    #[test]
    fn t90_an_entry_without_room_leaves_the_tree_as_it_is() {
        let node = |name: &str, bytes: usize| Node {
            name: name.as_bytes().to_vec(),
            user: "u".repeat(bytes),
            ..Node::default()
        };
        let (room, long) = (
            TreeRoom::in_memory(5000),
            TreeRoom {
                text: 500,
                ..TreeRoom::in_memory(5000)
            },
        );
        let mut encoder = TreeEncoder::new(1);
        for (name, bytes, fits) in [
            ("a", 1, true),
            ("b", 9000, false),
            ("c", 1, true),
            ("d", 9000, false),
        ] {
            assert_eq!(
                encoder.try_push(&node(name, bytes), room).unwrap(),
                fits,
                "{name}"
            );
        }
        let tree = Tree {
            nodes: vec![node("a", 1), node("c", 1)],
        };
        assert_eq!(encoder.into_bytes().unwrap(), tree.encode());
        // The first entry is not followed by a comma either.
        let mut encoder = TreeEncoder::new(1);
        assert!(!encoder.try_push(&node("a", 9000), room).unwrap());
        assert!(!encoder.try_push(&node("a", 700), long).unwrap());
        assert!(encoder.try_push(&node("b", 1), long).unwrap());
        let tree = Tree {
            nodes: vec![node("b", 1)],
        };
        assert_eq!(encoder.into_bytes().unwrap(), tree.encode());
    }

    #[test]
    fn a_copy_is_a_tree_of_its_own_and_the_first_goes_on() {
        let node = |n: u64| Node {
            name: format!("name {n:06}").into_bytes(),
            inode: n * 7919,
            content: Some(vec![BlobId::of(&n.to_le_bytes())]),
            ..Node::default()
        };
        let tree = |numbers: std::ops::Range<u64>| Tree {
            nodes: numbers.map(node).collect(),
        };
        let mut encoder = TreeEncoder::new(1);
        let mut asked = 0;
        for n in 0..6000 {
            // Often while it is short, and some times once it is compressed.
            if n < 3 || n % 1500 == 7 {
                let mut copy = encoder.copy().unwrap();
                copy.push(&node(999_999)).unwrap();
                let mut expected = tree(0..n);
                expected.nodes.push(node(999_999));
                assert!(copy.into_bytes().unwrap() == expected.encode(), "a copy of {n}");
                asked += 1;
            }
            encoder.push(&node(n)).unwrap();
        }
        assert_eq!(asked, 7);
        assert!(encoder.into_bytes().unwrap() == tree(0..6000).encode());
    }
}
