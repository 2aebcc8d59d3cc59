//! Big buffers that files are read into, shared by the chunks cut from them and used again when the last chunk is gone.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, pread};

/// As long as the longest chunk, so that a full slab always holds at least one.
pub(super) const SLAB: usize = 8 << 20;
/// Slabs kept for the next use: fresh memory of this size costs a page fault every 4 KiB.
const KEPT: usize = 12;

/// Slabs that are free.
#[derive(Default)]
pub(super) struct Slabs(Mutex<Vec<Vec<u8>>>);

/// A slab in use.
#[derive(Debug)]
pub(super) struct Slab {
    bytes: Vec<u8>,
    home: Option<Arc<Slabs>>,
}

/// The plain bytes of one chunk.
#[derive(Clone, Debug)]
pub(super) struct Plain {
    slab: Arc<Slab>,
    range: Range<usize>,
}

impl std::fmt::Debug for Slabs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Slabs")
    }
}

impl Slabs {
    /// An empty buffer with room for [`SLAB`] bytes.
    pub(super) fn take(&self) -> Vec<u8> {
        self.0.lock().pop().unwrap_or_else(|| Vec::with_capacity(SLAB))
    }
}

impl Slab {
    /// A buffer that came from `home` and goes back there.
    pub(super) fn pooled(bytes: Vec<u8>, home: &Arc<Slabs>) -> Arc<Self> {
        Arc::new(Self {
            bytes,
            home: Some(Arc::clone(home)),
        })
    }

    /// A buffer of its own size.
    pub(super) fn single(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self { bytes, home: None })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        let Some(home) = self.home.take() else { return };
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let mut free = home.0.lock();
        if free.len() < KEPT && bytes.capacity() >= SLAB {
            free.push(bytes);
        }
    }
}

impl Plain {
    /// The bytes of `slab` in `range`, which lies within it.
    pub(super) fn new(slab: &Arc<Slab>, range: Range<usize>) -> Self {
        Self {
            slab: Arc::clone(slab),
            range,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.range.len()
    }
}

impl AsRef<[u8]> for Plain {
    fn as_ref(&self) -> &[u8] {
        &self.slab.bytes[self.range.clone()]
    }
}

/// The first room for what has no known length.
pub(super) const FIRST: usize = 64 << 10;

/// What is wanted of a file.
pub(super) struct Wanted {
    /// How long the bytes are to be at most.
    pub(super) length: usize,
    /// Where in the file they begin.
    pub(super) offset: u64,
    /// The file ends there, as its stat says. A read that wants more and ends just there has seen that.
    pub(super) end: u64,
}

/// Reads until `bytes` are as long as is wanted or the file ends. Asked before each call, `is_over` can end it with [`Errno::CANCELED`].
pub(super) fn fill(
    open: &OwnedFd,
    bytes: &mut Vec<u8>,
    wanted: &Wanted,
    is_over: &dyn Fn() -> bool,
) -> Result<(), Errno> {
    let &Wanted {
        length: goal,
        offset,
        end,
    } = wanted;
    while bytes.len() < goal {
        if is_over() {
            return Err(Errno::CANCELED);
        }
        bytes.reserve((goal - bytes.len()).min(bytes.len().max(FIRST)));
        let at = offset + bytes.len() as u64;
        match pread(open, spare_capacity(bytes), at) {
            Ok(0) => break,
            // The call for the byte that is not there would cost as much as that for a small file.
            Ok(read) if at + read as u64 == end && bytes.len() < bytes.capacity() => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    // The buffer may have had more room than was asked for.
    bytes.truncate(goal);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs::File;
    use std::os::fd::OwnedFd;

    use super::{SLAB, Wanted, fill};

    #[test]
    fn a_file_that_ends_where_it_should_is_read_by_one_call() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        std::fs::write(&path, [7; 5000]).unwrap();
        let open: OwnedFd = File::open(&path).unwrap().into();
        // Where it is said to end, how many bytes may be read, and how many calls that takes.
        for (end, length, calls, read) in [
            (5000, 5001, 1, 5000),
            // What is read then is not its end, as far as is known.
            (5000, 5000, 1, 5000),
            (4000, 4001, 1, 4001),
            (6000, 6001, 2, 5000),
            (0, SLAB, 2, 5000),
        ] {
            let made = Cell::new(0);
            let is_over = || {
                made.set(made.get() + 1);
                false
            };
            let mut bytes = Vec::with_capacity(length);
            let wanted = Wanted {
                length,
                offset: 0,
                end,
            };
            fill(&open, &mut bytes, &wanted, &is_over).unwrap();
            assert_eq!((made.get(), bytes.len()), (calls, read), "{end} {length}");
        }
    }
}
