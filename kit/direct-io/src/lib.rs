//! Reading and writing files past the page cache (O_DIRECT).
//!
//! A backup touches every byte once: in the page cache it would cost a copy and a fresh page for each, and push out what the
//! host needs. Not every file system can do it; whoever calls this goes on through the page cache then.

mod buffer;
mod growing;

use std::io;
use std::ops::Range;
use std::os::fd::AsFd;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, pread};

pub use buffer::{AlignedBuffer, BLOCK, is_aligned};
pub use growing::GrowingBuffer;

/// Whether the file system said that it cannot do this past the page cache.
#[must_use]
pub fn refuses_direct(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(is_refusal)
}

/// As [`refuses_direct`].
#[must_use]
pub fn is_refusal(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::OPNOTSUPP)
}

/// Switches an open file to direct reads and writes, or back.
///
/// # Errors
/// What the kernel says; [`refuses_direct`] if the file system cannot.
pub fn set_direct(file: impl AsFd, is_direct: bool) -> Result<(), Errno> {
    let flags = fcntl_getfl(&file)?;
    let wanted = if is_direct {
        flags | OFlags::DIRECT
    } else {
        flags - OFlags::DIRECT
    };
    fcntl_setfl(&file, wanted)
}

/// Reads `length` bytes from `offset` into `buffer`, which is made larger if needed, and gives where in it they lie. The blocks
/// they are in are read whole, so that this works with and without O_DIRECT.
///
/// # Errors
/// What the kernel says; [`io::ErrorKind::UnexpectedEof`] if the file ends before.
pub fn read_range(
    file: impl AsFd,
    offset: u64,
    length: usize,
    buffer: &mut AlignedBuffer,
) -> io::Result<Range<usize>> {
    let skip = usize::try_from(offset % BLOCK as u64).unwrap_or(0);
    let whole = (skip + length).next_multiple_of(BLOCK);
    if buffer.capacity() < whole {
        *buffer = AlignedBuffer::new(whole);
    }
    let start = offset - skip as u64;
    let mut filled = 0;
    while filled < skip + length {
        match pread(
            &file,
            &mut buffer.bytes_mut()[filled..whole],
            start + filled as u64,
        ) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // A direct read that stopped inside a block would have to go on from there, which it cannot: at the end of the file.
        if filled < skip + length && !filled.is_multiple_of(BLOCK) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(skip..skip + length)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::{AlignedBuffer, BLOCK, read_range, refuses_direct, set_direct};

    #[test]
    fn ranges_are_read_with_and_without_the_page_cache() {
        let content: Vec<u8> = (0..50_000_u32).map(|n| (n % 251).to_le_bytes()[0]).collect();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&content).unwrap();
        file.as_file().sync_all().unwrap();
        let mut buffer = AlignedBuffer::new(BLOCK);
        for is_direct in [false, true] {
            match set_direct(file.as_file(), is_direct) {
                Err(error) if refuses_direct(&error.into()) => continue,
                set => set.unwrap(),
            }
            for (offset, length) in [
                (0, 0),
                (0, 1),
                (1, 4096),
                (4095, 2),
                (4096, 4096),
                (12_345, 30_000),
                (49_999, 1),
            ] {
                let range = read_range(file.as_file(), offset as u64, length, &mut buffer).unwrap();
                assert!(
                    buffer.bytes()[range] == content[offset..offset + length],
                    "{offset} {length}"
                );
            }
            for (offset, length) in [(49_999, 2), (50_000, 1), (60_000, 10), (0, 50_001)] {
                let read = read_range(file.as_file(), offset, length, &mut buffer);
                assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
            }
        }
    }
}
