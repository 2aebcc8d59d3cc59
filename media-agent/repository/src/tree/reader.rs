//! The entries of a tree one by one. A long tree is decompressed piece by piece as they are asked for, twice: before
//! the first entry is given, all of it has passed through the checksum. Made by `Repository::open_tree`, and by `stream_tree`, which
//! leaves it where it is stored.

use std::io::{BufRead, Read};

use bytes::{Buf, Bytes};
use sha2::{Digest, Sha256};
use zstd::stream::read::Decoder;

use crate::error::Damage;
use crate::id::BlobId;
use crate::repository::{OpenedPieces, SealedPieces};
use crate::tree::pieces::Pieces;
use crate::tree::{Node, Tree, decode};

/// A tree that is longer than this when plain is read in pieces.
const MOST_WHOLE: usize = 1 << 20;

/// Gives the entries in order; after an error there are none.
#[derive(Debug)]
pub struct TreeReader(Source);

#[derive(Debug)]
enum Source {
    Whole(std::vec::IntoIter<Node>),
    Pieces(Box<Pieces<Text>>),
}

/// The text of a tree as it is stored.
pub(crate) enum Text {
    Plain(Stored),
    Compressed(Decoder<'static, Stored>),
}

/// Where that is.
pub(crate) enum Stored {
    Memory(bytes::buf::Reader<Bytes>),
    Pack(Box<OpenedPieces>),
}

impl TreeReader {
    /// Reads the stored form of the tree `id`, which has `plain_len` bytes if it is compressed.
    pub(crate) fn open(id: &BlobId, stored: Bytes, plain_len: Option<u32>) -> Result<TreeReader, Damage> {
        let length = plain_len.map_or(stored.len(), |length| length as usize);
        if length <= MOST_WHOLE {
            let plain = crate::compress::plain_bytes(&stored, plain_len)?;
            check(id, Sha256::digest(&plain).into())?;
            return Ok(Tree::decode(&plain)?.into());
        }
        let open = || Stored::Memory(stored.clone().reader());
        TreeReader::pieces(id, open, length, plain_len.is_some())
    }

    /// As [`TreeReader::open`], of what is read piece by piece, from the beginning each time.
    pub(crate) fn stream(
        id: &BlobId,
        stored: &SealedPieces,
        plain_len: Option<u32>,
    ) -> Result<TreeReader, Damage> {
        let length = plain_len.map_or(stored.len(), |length| length as usize);
        let open = || Stored::Pack(Box::new(stored.open()));
        TreeReader::pieces(id, open, length, plain_len.is_some())
    }

    fn pieces(
        id: &BlobId,
        open: impl Fn() -> Stored,
        length: usize,
        is_compressed: bool,
    ) -> Result<TreeReader, Damage> {
        let mut hasher = Sha256::new();
        let mut read = 0u64;
        let mut text = Text::open(open(), is_compressed)?;
        let mut piece = vec![0; 128 << 10];
        loop {
            let count = text.read(&mut piece).map_err(Damage::malformed)?;
            if count == 0 {
                break;
            }
            hasher.update(&piece[..count]);
            read += count as u64;
            if read > length as u64 {
                break;
            }
        }
        if read != length as u64 {
            let expected = length as u64;
            return Err(Damage::BadCompression { expected });
        }
        check(id, hasher.finalize().into())?;
        let pieces = Pieces::new(Text::open(open(), is_compressed)?);
        Ok(TreeReader(Source::Pieces(Box::new(pieces))))
    }
}

impl TreeReader {
    /// What it takes of the memory, about.
    #[must_use]
    pub fn memory(&self) -> usize {
        match &self.0 {
            Source::Whole(nodes) => nodes.as_slice().iter().map(Node::memory).sum(),
            Source::Pieces(pieces) => pieces.memory(),
        }
    }
}

#[cfg(any(test, fuzzing))]
impl TreeReader {
    /// Reads a text in pieces, however short it is and whatever its checksum.
    pub(crate) fn in_pieces(text: &[u8]) -> TreeReader {
        let text = Text::Plain(Stored::Memory(Bytes::copy_from_slice(text).reader()));
        TreeReader(Source::Pieces(Box::new(Pieces::new(text))))
    }
}

fn check(id: &BlobId, hash: [u8; 32]) -> Result<(), Damage> {
    if *id.as_bytes() == hash {
        Ok(())
    } else {
        Err(Damage::HashMismatch)
    }
}

impl Text {
    fn open(stored: Stored, is_compressed: bool) -> Result<Text, Damage> {
        if !is_compressed {
            return Ok(Text::Plain(stored));
        }
        Decoder::with_buffer(stored)
            .map(Text::Compressed)
            .map_err(Damage::malformed)
    }

    fn stored(&self) -> &Stored {
        match self {
            Text::Plain(stored) => stored,
            Text::Compressed(decoder) => decoder.get_ref(),
        }
    }
}

impl Stored {
    fn memory(&self) -> usize {
        match self {
            // All bytes are there until the last is read.
            Stored::Memory(reader) => reader.get_ref().len(),
            Stored::Pack(_) => OpenedPieces::MEMORY,
        }
    }
}

impl BufRead for Stored {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        match self {
            Stored::Memory(reader) => reader.fill_buf(),
            Stored::Pack(pieces) => pieces.fill_buf(),
        }
    }

    fn consume(&mut self, count: usize) {
        match self {
            Stored::Memory(reader) => reader.consume(count),
            Stored::Pack(pieces) => pieces.consume(count),
        }
    }
}

impl Read for Stored {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stored::Memory(reader) => reader.read(into),
            Stored::Pack(pieces) => pieces.read(into),
        }
    }
}

impl Pieces<Text> {
    fn memory(&self) -> usize {
        // Of the decoder: the window of its frame.
        const DECODER: usize = 1 << 20;
        self.text().stored().memory() + DECODER
    }
}

impl Read for Text {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Text::Plain(reader) => reader.read(into),
            Text::Compressed(decoder) => decoder.read(into),
        }
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Text(..)")
    }
}

impl From<Tree> for TreeReader {
    fn from(tree: Tree) -> TreeReader {
        TreeReader(Source::Whole(tree.nodes.into_iter()))
    }
}

impl Iterator for TreeReader {
    type Item = Result<Node, Damage>;

    fn next(&mut self) -> Option<Result<Node, Damage>> {
        match &mut self.0 {
            Source::Whole(nodes) => nodes.next().map(Ok),
            Source::Pieces(pieces) => {
                let node = pieces
                    .next_entry()
                    .and_then(|entry| entry.map(decode::entry).transpose());
                if node.is_err() {
                    *self = Tree::default().into();
                }
                node.transpose()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::TreeReader;
    use crate::error::Damage;
    use crate::id::BlobId;
    use crate::tree::{Node, Tree};

    fn long() -> Tree {
        let nodes = (0..20_000u32).map(|n| Node {
            name: format!("{n:06} \u{e4}\"}}]").into_bytes(),
            content: Some(vec![BlobId::of(&n.to_le_bytes())]),
            ..Node::default()
        });
        Tree {
            nodes: nodes.collect(),
        }
    }

    #[test]
    fn long_trees_are_read_in_pieces_as_they_are_whole() {
        let tree = long();
        let plain = tree.encode();
        let id = BlobId::of(&plain);
        let frame = Bytes::from(zstd::bulk::compress(&plain, 1).unwrap());
        let length = u32::try_from(plain.len()).unwrap();
        for (stored, plain_len) in [(frame, Some(length)), (plain.into(), None)] {
            let read = TreeReader::open(&id, stored, plain_len).unwrap();
            let nodes: Vec<Node> = read.map(Result::unwrap).collect();
            assert_eq!(nodes, tree.nodes);
        }
    }

    #[test]
    fn damage_of_long_trees_shows_before_the_first_entry() {
        let plain = long().encode();
        let id = BlobId::of(&plain);
        let length = u32::try_from(plain.len()).unwrap();
        let frame = zstd::bulk::compress(&plain, 1).unwrap();
        let open = |frame: &[u8], length| TreeReader::open(&id, Bytes::copy_from_slice(frame), Some(length));
        for wrong in [length - 1, length + 1, u32::MAX] {
            let error = open(&frame, wrong).unwrap_err();
            assert!(matches!(error, Damage::BadCompression { .. }), "{error}");
        }
        let other = zstd::bulk::compress(&plain.to_ascii_uppercase(), 1).unwrap();
        assert_eq!(open(&other, length).unwrap_err(), Damage::HashMismatch);
        assert!(open(&frame[..frame.len() / 2], length).is_err());
    }

    #[test]
    fn an_entry_that_is_none_ends_the_tree() {
        let mut plain = long().encode();
        let at = plain.len() / 2;
        plain[at..at + 600].fill(b'x');
        let read = TreeReader::open(&BlobId::of(&plain), plain.into(), None).unwrap();
        let nodes: Vec<_> = read.collect();
        assert!(nodes.len() > 9000 && nodes.len() < 10_100, "{}", nodes.len());
        assert!(nodes.last().unwrap().is_err());
    }
}
