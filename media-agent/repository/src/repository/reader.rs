//! Reads many blobs, as a restore does, and many trees, as a walk does: small ones that lie together are fetched together.
//!
//! What was fetched is kept only as long as the reader lives, and there is a bound to it. Several threads share one.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use outlast_direct_io::{AlignedBuffer, BLOCK};
use parking_lot::Mutex;

use crate::error::Result;
use crate::id::{BlobId, BlobKind};
use crate::repository::Repository;
use crate::storage::FileKind;
use crate::tree::TreeReader;

/// Packs are fetched in pieces of this length.
const SEGMENT: u64 = 256 << 10;
/// Longer blobs are fetched on their own.
const SMALL: u64 = SEGMENT / 2;
const KEPT_SEGMENTS: usize = 64;
/// A walk comes back to where a directory's parent lies, and goes on.
const KEPT_OF_TREES: usize = 4;

/// Reads blobs of one repository.
#[derive(Debug)]
pub struct BlobReader {
    repository: Repository,
    /// How many are kept.
    most: usize,
    /// Those used last at the end.
    segments: Mutex<VecDeque<Segment>>,
}

/// Opens the trees of one repository.
#[derive(Debug)]
pub struct TreesReader {
    blobs: BlobReader,
    /// Where the latest one lies.
    last: Mutex<Option<(String, u64)>>,
}

#[derive(Debug, Clone)]
struct Segment {
    pack: String,
    number: u64,
    /// Set by the first thread that wants it; the others wait for that.
    bytes: Arc<OnceLock<Result<Fetched>>>,
}

#[derive(Debug)]
struct Fetched {
    buffer: AlignedBuffer,
    at: Range<usize>,
}

impl Repository {
    /// For reading many blobs.
    pub fn reader(&self) -> BlobReader {
        self.reader_that_keeps(KEPT_SEGMENTS)
    }

    /// For opening many trees.
    pub fn trees(&self) -> TreesReader {
        TreesReader {
            blobs: self.reader_that_keeps(KEPT_OF_TREES),
            last: Mutex::default(),
        }
    }

    fn reader_that_keeps(&self, most: usize) -> BlobReader {
        BlobReader {
            repository: self.clone(),
            most,
            segments: Mutex::default(),
        }
    }
}

impl TreesReader {
    /// As [`Repository::open_tree`].
    pub fn open(&self, id: &BlobId) -> Result<TreeReader> {
        self.blobs
            .repository
            .open_tree_through(id, |pack, range, buffer| {
                if self.is_near(pack, &range) {
                    // What could not be fetched around it says nothing of the tree itself.
                    let fetched = self.blobs.gather(pack, range.clone(), buffer);
                    if fetched.is_ok() {
                        return fetched;
                    }
                }
                let storage = self.blobs.repository.storage();
                storage.read_range(FileKind::Pack, pack, range, buffer)
            })
    }

    /// As [`Repository::stream_tree`].
    pub fn stream(&self, id: &BlobId) -> Result<TreeReader> {
        let streamed = self.blobs.repository.streamed(id);
        streamed.map_or_else(|| self.open(id), Ok)
    }

    /// Whether a short tree lies near the latest one: then those that follow may do so, too.
    fn is_near(&self, pack: &str, range: &Range<u64>) -> bool {
        let mut last = self.last.lock();
        let near = |(latest, at): &(String, u64)| latest == pack && at.abs_diff(range.start) < SEGMENT;
        let is_near = range.end - range.start <= SMALL && last.as_ref().is_some_and(near);
        *last = Some((pack.to_owned(), range.start));
        is_near
    }
}

impl BlobReader {
    /// As [`Repository::read_blob`].
    pub fn read_blob(&self, kind: BlobKind, id: &BlobId) -> Result<Bytes> {
        self.repository.read_through(kind, id, |pack, range, buffer| {
            if range.end - range.start > SMALL {
                let storage = self.repository.storage();
                return storage.read_range(FileKind::Pack, pack, range, buffer);
            }
            self.gather(pack, range, buffer)
        })
    }

    /// The repository that is read.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Puts a range together from the one or two segments it lies in.
    fn gather(&self, pack: &str, range: Range<u64>, buffer: &mut AlignedBuffer) -> Result<Range<usize>> {
        let wanted = length(&range);
        if buffer.capacity() < wanted {
            *buffer = AlignedBuffer::new((SMALL as usize).next_multiple_of(BLOCK));
        }
        let mut filled = 0;
        while filled < wanted {
            let position = range.start + filled as u64;
            let segment = self.segment(pack, position / SEGMENT);
            let fetched = segment.bytes.get_or_init(|| self.fetch(&segment));
            let Fetched { buffer: bytes, at } = fetched.as_ref().map_err(Clone::clone)?;
            let skip = length(&(0..position % SEGMENT));
            let rest = bytes.bytes()[at.clone()].get(skip..).unwrap_or_default();
            if rest.is_empty() {
                // Let the storage say how far the file goes.
                let storage = self.repository.storage();
                return storage.read_range(FileKind::Pack, pack, range, buffer);
            }
            let taken = rest.len().min(wanted - filled);
            buffer.bytes_mut()[filled..filled + taken].copy_from_slice(&rest[..taken]);
            filled += taken;
        }
        Ok(0..wanted)
    }

    fn segment(&self, pack: &str, number: u64) -> Segment {
        let mut segments = self.segments.lock();
        let known = segments
            .iter()
            .rposition(|segment| segment.number == number && segment.pack == pack)
            .and_then(|index| segments.remove(index));
        let segment = known.unwrap_or_else(|| Segment {
            pack: pack.to_owned(),
            number,
            bytes: Arc::default(),
        });
        if segments.len() >= self.most {
            segments.pop_front();
        }
        segments.push_back(segment.clone());
        segment
    }

    fn fetch(&self, segment: &Segment) -> Result<Fetched> {
        let storage = self.repository.storage();
        let size = storage.size(FileKind::Pack, &segment.pack)?;
        let start = (segment.number * SEGMENT).min(size);
        let range = start..size.min(start + SEGMENT);
        let mut buffer = AlignedBuffer::new(SEGMENT as usize);
        let at = storage.read_range(FileKind::Pack, &segment.pack, range, &mut buffer)?;
        Ok(Fetched { buffer, at })
    }
}

fn length(range: &Range<u64>) -> usize {
    usize::try_from(range.end - range.start).unwrap_or(usize::MAX)
}
