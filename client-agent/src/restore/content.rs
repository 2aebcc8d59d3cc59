//! A regular file while it is written, under a temporary name; long runs of zeros become holes.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, ftruncate, openat, unlinkat};
use rustix::io::{Errno, pwrite};

/// What file systems keep as one: a block of this length that is all zeros is not written.
const BLOCK: usize = 4 << 10;
static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// An open file that has no name of its own yet.
pub(super) struct Writing {
    pub(super) file: OwnedFd,
    pub(super) folder: Arc<OwnedFd>,
    pub(super) temporary: Vec<u8>,
    position: u64,
}

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
        remove_leftover(&folder, &temporary)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&folder, temporary.as_slice(), flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Self {
            file,
            folder,
            temporary,
            position: 0,
        })
    }

    /// How far the content has come.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Appends `data`. What is not written reads as zeros: the file is new, and [`Writing::finish`] gives it its length.
    pub(super) fn write(&mut self, data: &[u8]) -> Result<(), Errno> {
        let end = self.position + data.len() as u64;
        // Pieces end anywhere: a hole goes on in the next one wherever a block begins.
        let mut data = without_zeros_at_the_end(data);
        while !data.is_empty() {
            let (zeros, rest) = data.split_at(zeros(data));
            self.position += zeros.len() as u64;
            let (full, rest) = rest.split_at(up_to_zeros(rest, self.position));
            self.write_all(full)?;
            data = rest;
        }
        self.position = end;
        Ok(())
    }

    /// Gives the file its length: it may end in a hole.
    pub(super) fn finish(&self) -> Result<(), Errno> {
        ftruncate(&self.file, self.position)
    }

    /// Removes the file again.
    pub(super) fn abandon(self) {
        // Without success it stays under a name that says whose it is.
        let _ = unlinkat(&self.folder, self.temporary.as_slice(), AtFlags::empty());
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            match pwrite(&self.file, bytes, self.position) {
                Ok(0) => return Err(Errno::IO),
                Ok(count) => {
                    self.position += count as u64;
                    bytes = &bytes[count..];
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
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

    use outlast_proto::words::JobId;

    use super::{BLOCK, Writing};
    use crate::unfinished::temporary_name;

    #[test]
    fn t90_zero_runs_become_holes_wherever_pieces_end() {
        let temp = tempfile::tempdir().unwrap();
        let folder: Arc<OwnedFd> = Arc::new(std::fs::File::open(temp.path()).unwrap().into());
        let mut content = vec![0_u8; 512 * BLOCK];
        content[80 * BLOCK..88 * BLOCK].fill(7);
        content[160 * BLOCK + 5] = 1;
        content[300 * BLOCK - 1..300 * BLOCK + 1].fill(9);
        content.extend_from_slice(b"end");
        content.extend_from_slice(&[0; 16 * BLOCK]);
        for piece in [1000, BLOCK, 3 * BLOCK + 17, 1 << 20, usize::MAX] {
            let mut file = Writing::create(Arc::clone(&folder), temporary_name(JobId(1), 2)).unwrap();
            for data in content.chunks(piece.min(content.len())) {
                file.write(data).unwrap();
            }
            file.finish().unwrap();
            let path = temp.path().join(".outlast-restore-1-2");
            assert!(std::fs::read(&path).unwrap() == content, "pieces of {piece}");
            // 12 blocks hold something; the file system may need one for itself.
            let blocks = std::os::unix::fs::MetadataExt::blocks(&path.metadata().unwrap());
            assert!(
                blocks * 512 <= 13 * BLOCK as u64,
                "{blocks} blocks in pieces of {piece}"
            );
            file.abandon();
            assert!(!path.exists());
        }
    }
}
