//! A buffer whose memory begins at a page boundary, as O_DIRECT demands, and that never moves or grows.

/// Memory, file offsets and lengths of direct reads and writes are multiples of this.
pub const BLOCK: usize = 4096;

/// Memory for direct reads and writes.
pub struct AlignedBuffer {
    memory: Vec<u8>,
    start: usize,
    capacity: usize,
}

impl std::fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedBuffer({})", self.capacity)
    }
}

impl AlignedBuffer {
    /// Zeroed memory; the kernel gives pages only when they are first written.
    #[must_use]
    pub fn new(capacity: usize) -> AlignedBuffer {
        let memory = vec![0u8; capacity + BLOCK];
        let address = memory.as_ptr().addr();
        AlignedBuffer {
            start: address.next_multiple_of(BLOCK) - address,
            memory,
            capacity,
        }
    }

    /// What `memory` holds from `start` on, which is a page boundary.
    pub(crate) fn of_parts(memory: Vec<u8>, start: usize) -> AlignedBuffer {
        let capacity = memory.len() - start;
        AlignedBuffer {
            memory,
            start,
            capacity,
        }
    }

    /// In bytes.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// All of it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.capacity]
    }

    /// All of it.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.capacity]
    }
}

impl AsRef<[u8]> for AlignedBuffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

/// Whether `data` begins where direct reads and writes want it.
#[must_use]
pub fn is_aligned(data: &[u8]) -> bool {
    data.as_ptr().addr().is_multiple_of(BLOCK)
}

#[cfg(test)]
mod tests {
    use super::{AlignedBuffer, is_aligned};

    #[test]
    fn buffers_begin_at_a_page() {
        for capacity in [1, 4095, 4096, 5000, 1 << 20] {
            let mut buffer = AlignedBuffer::new(capacity);
            assert!(is_aligned(buffer.bytes()));
            assert_eq!(buffer.bytes_mut().len(), capacity);
        }
    }
}
