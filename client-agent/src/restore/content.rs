//! A regular file while it is written, under a temporary name. In one that had holes, blocks of zeros become holes again; any
//! other is written whole: room that was allocated, for a swap file say, is so again.
//!
//! Long files are written past the page cache where the file system can: its pages would cost more than the disk does.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use outlast_direct_io::{AlignedBuffer, BLOCK, is_refusal, set_direct};
use outlast_kit::calls::{fallocate, ftruncate, openat, unlinkat};
use outlast_kit::files::close;
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags};
use rustix::io::{Errno, pwrite};

/// What file systems keep as one: a block of this length that is all zeros is not written.
static ZEROS: [u8; BLOCK] = [0; BLOCK];
static FEW_ZEROS: [u8; LONG_HOLE as usize] = [0; LONG_HOLE as usize];

/// Files from this length on are written past the page cache, gathered into pieces of [`PIECE`].
const DIRECT_FROM: u64 = 1 << 20;
const PIECE: usize = 4 << 20;
/// In those files shorter holes are written and then punched: a write for each piece between two would take longer. Two blocks at
/// least, so that a hole always covers the rest of the block it begins in.
const LONG_HOLE: u64 = 64 << 10;

/// An open file that has no name of its own yet.
pub(super) struct Writing {
    pub(super) file: OwnedFd,
    pub(super) folder: Arc<OwnedFd>,
    pub(super) temporary: Vec<u8>,
    position: u64,
    has_holes: bool,
    /// None: what comes is written at once, through the page cache.
    gathered: Option<Gathered>,
}

/// A complete file that is where it is to be kept, and has no name of its own yet.
pub(super) struct Closed {
    pub(super) folder: Arc<OwnedFd>,
    pub(super) temporary: Vec<u8>,
    pub(super) bytes: u64,
}

fn remove(folder: &OwnedFd, temporary: &[u8]) {
    // Without success it stays under a name that says whose it is.
    let _ = unlinkat(folder, temporary, AtFlags::empty());
}

/// The end of what came, not written yet. It begins where a block of the file does, and zeros may follow it.
struct Gathered {
    buffer: AlignedBuffer,
    /// Where in the file the buffer's first byte belongs.
    start: u64,
    length: usize,
    zeros: u64,
    /// Blocks of zeros that are gathered, and are to become holes once they are written.
    holes: Vec<Range<u64>>,
}

/// The buffer for the file that is written now: they come one after the other.
#[derive(Default)]
pub(super) struct PieceBuffer(Option<AlignedBuffer>);

/// Removes what an earlier attempt may have left under a temporary name.
pub(super) fn remove_leftover(folder: &OwnedFd, temporary: &[u8]) -> Result<(), Errno> {
    match unlinkat(folder, temporary, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

impl Writing {
    /// A new, empty file.
    pub(super) fn create(folder: Arc<OwnedFd>, temporary: Vec<u8>) -> Result<Self, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || openat(&folder, temporary.as_slice(), flags, Mode::RUSR | Mode::WUSR);
        let file = match create() {
            Err(Errno::EXIST) => {
                remove_leftover(&folder, &temporary)?;
                create()?
            }
            created => created?,
        };
        Ok(Self {
            file,
            folder,
            temporary,
            position: 0,
            has_holes: false,
            gathered: None,
        })
    }

    /// Prepares for `size` bytes of content. The buffer is given back by [`Writing::finish`].
    pub(super) fn expect(&mut self, size: u64, has_holes: bool, spare: &mut PieceBuffer) {
        self.has_holes = has_holes;
        if size >= DIRECT_FROM && set_direct(&self.file, true).is_ok() {
            let buffer = spare.0.take().unwrap_or_else(|| AlignedBuffer::new(PIECE));
            self.gathered = Some(Gathered {
                buffer,
                start: self.position,
                length: 0,
                zeros: 0,
                holes: Vec::new(),
            });
        }
    }

    /// How far the content has come.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Appends `data`. What is not written reads as zeros: the file is new, and [`Writing::finish`] gives it its length.
    pub(super) fn write(&mut self, data: &[u8]) -> Result<(), Errno> {
        if !self.has_holes {
            return self.append(data);
        }
        let end = self.position + data.len() as u64;
        // Pieces end anywhere: a hole goes on in the next one wherever a block begins.
        let mut data = without_zeros_at_the_end(data);
        while !data.is_empty() {
            let (zeros, rest) = data.split_at(zeros(data));
            self.skip(zeros.len() as u64);
            let (full, rest) = rest.split_at(up_to_zeros(rest, self.position));
            self.append(full)?;
            data = rest;
        }
        self.skip(end - self.position);
        Ok(())
    }

    /// Appends so many zeros.
    pub(super) fn write_zeros(&mut self, mut count: u64) -> Result<(), Errno> {
        if self.has_holes {
            self.skip(count);
            return Ok(());
        }
        while count > 0 {
            let some = usize::try_from(count).unwrap_or(usize::MAX).min(FEW_ZEROS.len());
            self.append(&FEW_ZEROS[..some])?;
            count -= some as u64;
        }
        Ok(())
    }

    /// Writes what is left and gives the file its length: it may end in a hole.
    pub(super) fn finish(&mut self, spare: &mut PieceBuffer) -> Result<(), Errno> {
        if let Some(mut gathered) = self.gathered.take() {
            let written = gathered.write(&self.file);
            spare.0 = Some(gathered.buffer);
            written?;
        } else if !self.has_holes {
            return Ok(());
        }
        ftruncate(&self.file, self.position)
    }

    /// Closes the file, which is complete and synced: some file systems store it only now, and say only now that they could not. It
    /// is gone then.
    pub(super) fn close(self) -> Result<Closed, Errno> {
        let Self {
            file,
            folder,
            temporary,
            position: bytes,
            ..
        } = self;
        let closed = Closed {
            folder,
            temporary,
            bytes,
        };
        match close(file) {
            Ok(()) => Ok(closed),
            Err(error) => {
                remove(&closed.folder, &closed.temporary);
                Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
            }
        }
    }

    /// Removes the file again.
    pub(super) fn abandon(self) {
        remove(&self.folder, &self.temporary);
    }

    fn skip(&mut self, zeros: u64) {
        self.position += zeros;
        if let Some(gathered) = &mut self.gathered {
            gathered.zeros += zeros;
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        if self.gathered.is_none() {
            write_at(&self.file, bytes, self.position)?;
        } else {
            self.gather_zeros()?;
            self.gather(bytes)?;
        }
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Turns the zeros before the present position into a hole, if they fill a block, or else into gathered bytes.
    fn gather_zeros(&mut self) -> Result<(), Errno> {
        let Some(gathered) = &mut self.gathered else {
            return Ok(());
        };
        let mut zeros = std::mem::take(&mut gathered.zeros);
        let block = BLOCK as u64;
        let hole = (self.position - zeros).next_multiple_of(block)..self.position - self.position % block;
        if zeros >= LONG_HOLE {
            gathered.write(&self.file)?;
            zeros = self.position - hole.end;
            gathered.start = hole.end;
        } else if !hole.is_empty() {
            gathered.holes.push(hole);
        }
        self.gather(&FEW_ZEROS[..usize::try_from(zeros).unwrap_or(0)])
    }

    fn gather(&mut self, mut bytes: &[u8]) -> Result<(), Errno> {
        let Some(gathered) = &mut self.gathered else {
            return Ok(());
        };
        while !bytes.is_empty() {
            let length = gathered.length;
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - length));
            gathered.buffer.bytes_mut()[length..length + now.len()].copy_from_slice(now);
            gathered.length += now.len();
            bytes = later;
            if gathered.length == PIECE {
                gathered.write(&self.file)?;
            }
        }
        Ok(())
    }
}

impl Gathered {
    /// Writes what is gathered. If that ends inside a block, zeros are written to the end of that, and only a hole or the end
    /// of the file may follow.
    fn write(&mut self, file: &OwnedFd) -> Result<(), Errno> {
        let length = std::mem::take(&mut self.length);
        let whole = length.next_multiple_of(BLOCK);
        self.buffer.bytes_mut()[length..whole].fill(0);
        let bytes = &self.buffer.bytes()[..whole];
        match write_at(file, bytes, self.start) {
            Err(error) if is_refusal(error) => {
                // Some file systems say only now that they cannot.
                set_direct(file, false)?;
                write_at(file, bytes, self.start)?;
            }
            written => written?,
        }
        self.start += length as u64;
        self.holes.retain(|hole| {
            let is_written = hole.end <= self.start;
            if is_written {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                // Where holes cannot be made the zeros stay.
                let _ = fallocate(file, flags, hole.start, hole.end - hole.start);
            }
            !is_written
        });
        Ok(())
    }
}

fn write_at(file: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match pwrite(file, bytes, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => {
                offset += count as u64;
                bytes = &bytes[count..];
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// How many bytes at the beginning of `data` are zeros.
fn zeros(data: &[u8]) -> usize {
    let blocks = data.chunks_exact(BLOCK).take_while(|block| *block == ZEROS);
    let whole = blocks.count() * BLOCK;
    let rest = &data[whole..];
    whole + rest.iter().position(|byte| *byte != 0).unwrap_or(rest.len())
}

fn without_zeros_at_the_end(data: &[u8]) -> &[u8] {
    let blocks = data.rchunks_exact(BLOCK).take_while(|block| *block == ZEROS);
    let data = &data[..data.len() - blocks.count() * BLOCK];
    let end = data
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    &data[..end]
}

/// How many bytes at the beginning of `data` must be written before the next block of zeros.
fn up_to_zeros(data: &[u8], position: u64) -> usize {
    let into_block = usize::try_from(position % BLOCK as u64).unwrap_or(0);
    let mut end = ((BLOCK - into_block) % BLOCK).min(data.len());
    while end < data.len() {
        let block = &data[end..data.len().min(end + BLOCK)];
        if block == ZEROS {
            break;
        }
        end += block.len();
    }
    end
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    use outlast_proto::words::JobKey;

    use super::{BLOCK, DIRECT_FROM, PIECE, PieceBuffer, Writing};
    use crate::unfinished::temporary_name;

    #[test]
    fn t90_zero_runs_become_holes_wherever_pieces_end() {
        let temp = tempfile::tempdir().unwrap();
        let folder: Arc<OwnedFd> = Arc::new(std::fs::File::open(temp.path()).unwrap().into());
        let mut content = vec![0_u8; 512 * BLOCK];
        content[60 * BLOCK..64 * BLOCK].fill(3);
        // Short holes, also over the end of a piece.
        for n in 0..8 {
            content[(64 + 2 * n) * BLOCK..(65 + 2 * n) * BLOCK].fill(4);
        }
        content[80 * BLOCK..88 * BLOCK].fill(7);
        content[160 * BLOCK + 5] = 1;
        content[300 * BLOCK - 1..300 * BLOCK + 1].fill(9);
        content.extend_from_slice(b"end");
        content.extend_from_slice(&[0; 24 * BLOCK]);
        // Longer than a piece, and ending inside a block.
        content.extend(std::iter::repeat_n(5, PIECE + 77));
        content.extend_from_slice(&[0; 100]);
        let mut spare = PieceBuffer::default();
        let pieces = [1000, BLOCK, 3 * BLOCK + 17, 1 << 20, usize::MAX];
        for (piece, expected) in pieces
            .into_iter()
            .flat_map(|piece| [(piece, 0), (piece, DIRECT_FROM)])
        {
            let mut file =
                Writing::create(Arc::clone(&folder), temporary_name(JobKey::default(), 2)).unwrap();
            file.expect(expected, true, &mut spare);
            for data in content.chunks(piece.min(content.len())) {
                file.write(data).unwrap();
            }
            file.finish(&mut spare).unwrap();
            let path = temp.path().join(".outlast-restore-0-2");
            assert!(
                std::fs::read(&path).unwrap() == content,
                "pieces of {piece}, {expected} expected"
            );
            // 24 blocks hold something beside the long run and its ends; the file system may need one for itself.
            let blocks = std::os::unix::fs::MetadataExt::blocks(&path.metadata().unwrap());
            assert!(
                blocks * 512 <= (27 * BLOCK + PIECE) as u64,
                "{blocks} blocks in pieces of {piece}, {expected} expected"
            );
            file.abandon();
            assert!(!path.exists());
        }
    }

    #[test]
    fn t90_a_file_that_had_no_holes_gets_none() {
        let temp = tempfile::tempdir().unwrap();
        let folder: Arc<OwnedFd> = Arc::new(std::fs::File::open(temp.path()).unwrap().into());
        let mut content = vec![0_u8; 40 * BLOCK];
        content[5 * BLOCK..6 * BLOCK].fill(1);
        content.resize(PIECE + 40 * BLOCK + 77, 0);
        let mut spare = PieceBuffer::default();
        for (piece, expected) in [
            (1000, 0),
            (1 << 20, 0),
            (1000, DIRECT_FROM),
            (usize::MAX, DIRECT_FROM),
        ] {
            let mut file =
                Writing::create(Arc::clone(&folder), temporary_name(JobKey::default(), 3)).unwrap();
            file.expect(expected, false, &mut spare);
            for data in content.chunks(piece.min(content.len())) {
                file.write(data).unwrap();
            }
            file.finish(&mut spare).unwrap();
            outlast_kit::calls::fsync(&file.file).unwrap();
            let path = temp.path().join(".outlast-restore-0-3");
            assert!(std::fs::read(&path).unwrap() == content);
            let blocks = std::os::unix::fs::MetadataExt::blocks(&path.metadata().unwrap());
            assert!(
                blocks * 512 >= content.len() as u64,
                "{blocks} blocks in pieces of {piece}, {expected} expected"
            );
            file.abandon();
        }
    }

    #[test]
    fn what_an_earlier_attempt_left_makes_room() {
        let temp = tempfile::tempdir().unwrap();
        let folder: Arc<OwnedFd> = Arc::new(std::fs::File::open(temp.path()).unwrap().into());
        let path = temp.path().join(".outlast-restore-0-4");
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        for content in [&b"first"[..], b"2nd"] {
            let mut file =
                Writing::create(Arc::clone(&folder), temporary_name(JobKey::default(), 4)).unwrap();
            file.write(content).unwrap();
            file.finish(&mut PieceBuffer::default()).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), content);
            assert!(path.symlink_metadata().unwrap().is_file());
        }
        assert!(!temp.path().join("elsewhere").exists());
    }
}
