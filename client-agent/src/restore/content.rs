//! A regular file while it is written, under a temporary name; long runs of zeros become holes.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use outlast_proto::words::JobId;
use rustix::fs::{AtFlags, Mode, OFlags, ftruncate, openat, unlinkat};
use rustix::io::{Errno, pwrite};

/// Holes begin and end at multiples of this offset; shorter runs of zeros are written.
const BLOCK: usize = 32 << 10;
static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// An open file that has no name of its own yet.
pub(super) struct Writing {
    pub(super) file: OwnedFd,
    pub(super) folder: Arc<OwnedFd>,
    pub(super) temporary: Vec<u8>,
    position: u64,
}

/// The name a node has until it is complete. The same job finds and removes its own leftovers in a later attempt.
pub(super) fn temporary_name(job: JobId, node: u64) -> Vec<u8> {
    format!(".outlast-restore-{job}-{node}").into_bytes()
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

    /// Appends `data`.
    pub(super) fn write(&mut self, mut data: &[u8]) -> Result<(), Errno> {
        while !data.is_empty() {
            let (zeros, rest) = data.split_at(zeros(data, self.position));
            self.position += zeros.len() as u64;
            let (full, rest) = rest.split_at(up_to_zeros(rest, self.position));
            self.write_all(full)?;
            data = rest;
        }
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

/// How many bytes at the beginning of `data`, which belongs to `position`, are whole blocks of zeros.
fn zeros(data: &[u8], position: u64) -> usize {
    if !position.is_multiple_of(BLOCK as u64) {
        return 0;
    }
    data.chunks_exact(BLOCK)
        .take_while(|block| *block == ZEROS)
        .count()
        * BLOCK
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

    use super::{BLOCK, Writing, temporary_name};

    #[test]
    fn zero_runs_become_holes_and_read_the_same() {
        let temp = tempfile::tempdir().unwrap();
        let folder: Arc<OwnedFd> = Arc::new(std::fs::File::open(temp.path()).unwrap().into());
        let mut content = vec![0_u8; 64 * BLOCK];
        content[10 * BLOCK..11 * BLOCK].fill(7);
        content[20 * BLOCK + 5] = 1;
        content.extend_from_slice(b"end");
        content.extend_from_slice(&[0; 2 * BLOCK]);
        for piece in [1000, BLOCK, 3 * BLOCK + 17, 1 << 20, usize::MAX] {
            let mut file = Writing::create(Arc::clone(&folder), temporary_name(JobId(1), 2)).unwrap();
            for data in content.chunks(piece.min(content.len())) {
                file.write(data).unwrap();
            }
            file.finish().unwrap();
            let path = temp.path().join(".outlast-restore-1-2");
            assert!(std::fs::read(&path).unwrap() == content, "pieces of {piece}");
            if piece >= BLOCK {
                let blocks = std::os::unix::fs::MetadataExt::blocks(&path.metadata().unwrap());
                assert!(
                    blocks * 512 < content.len() as u64 / 2,
                    "{blocks} blocks in pieces of {piece}"
                );
            }
            file.abandon();
            assert!(!path.exists());
        }
    }
}
