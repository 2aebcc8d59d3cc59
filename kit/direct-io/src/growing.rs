//! Bytes that are added one behind the other and become an [`AlignedBuffer`] without being copied: what was gathered is written from
//! where it was gathered. Used for long trees.

use std::io;

use super::buffer::{AlignedBuffer, BLOCK};

/// Bytes that begin at a page boundary, however many they become.
///
/// Growing costs no second copy of a long one: the allocator moves its pages, not its bytes, and they stay aligned.
#[derive(Default)]
pub struct GrowingBuffer {
    memory: Vec<u8>,
    start: usize,
}

impl GrowingBuffer {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.memory.len() - self.start
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..]
    }

    /// Adds these behind the others.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        if self.memory.capacity() - self.memory.len() < bytes.len() {
            self.make_room(bytes.len());
        }
        self.memory.extend_from_slice(bytes);
    }

    /// Makes room for so many more, and moves what is there to the next boundary if the memory is another one.
    fn make_room(&mut self, more: usize) {
        self.memory.reserve(more + BLOCK);
        let address = self.memory.as_ptr().addr();
        let start = address.next_multiple_of(BLOCK) - address;
        if start == self.start {
            return;
        }
        let (old, length) = (self.start..self.memory.len(), self.len());
        if start > self.start {
            // Within the room just made.
            self.memory.resize(start + length, 0);
        }
        self.memory.copy_within(old, start);
        self.memory.truncate(start + length);
        self.start = start;
    }
}

impl io::Write for GrowingBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl From<GrowingBuffer> for AlignedBuffer {
    fn from(grown: GrowingBuffer) -> AlignedBuffer {
        AlignedBuffer::of_parts(grown.memory, grown.start)
    }
}

impl std::fmt::Debug for GrowingBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GrowingBuffer({})", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::{AlignedBuffer, GrowingBuffer};
    use crate::is_aligned;

    #[test]
    fn bytes_stay_aligned_and_in_order_while_they_grow() {
        for piece in [1, 7, 4096, 100_000] {
            let mut grown = GrowingBuffer::default();
            let mut expected = Vec::new();
            assert!(grown.is_empty());
            // Others that are in the way, so that the memory moves.
            let mut others: Vec<Vec<u8>> = Vec::new();
            for step in 0..200_usize {
                let bytes: Vec<u8> = (0..piece).map(|at| ((at * 31 + step) % 251) as u8).collect();
                grown.extend_from_slice(&bytes);
                expected.extend_from_slice(&bytes);
                others.push(vec![0; 1000]);
                assert!(is_aligned(grown.bytes()), "{piece} {step}");
            }
            assert!(grown.bytes() == expected);
            let address = grown.bytes().as_ptr().addr();
            let buffer = AlignedBuffer::from(grown);
            assert_eq!(
                buffer.bytes().as_ptr().addr(),
                address,
                "it is handed over, not copied"
            );
            assert!(buffer.capacity() == expected.len() && buffer.bytes() == expected);
        }
    }
}
