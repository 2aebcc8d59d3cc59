//! A buffer whose memory begins at a page boundary, as O_DIRECT demands, and that never moves or grows.
//! Called by `writer::buffers` for packs and by `atomic_file` for their last block.

/// Memory, file offsets and lengths of O_DIRECT writes are multiples of this.
pub(crate) const BLOCK: usize = 4096;

pub(crate) struct AlignedBuffer {
    memory: Vec<u8>,
    start: usize,
    capacity: usize,
}

impl AlignedBuffer {
    /// Zeroed memory; the kernel gives pages only when they are first written.
    pub(crate) fn new(capacity: usize) -> AlignedBuffer {
        let memory = vec![0u8; capacity + BLOCK];
        let address = memory.as_ptr().addr();
        AlignedBuffer {
            start: address.next_multiple_of(BLOCK) - address,
            memory,
            capacity,
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.capacity]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.capacity]
    }
}

pub(crate) fn is_aligned(data: &[u8]) -> bool {
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
