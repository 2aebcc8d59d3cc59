//! The pack buffers: a fixed number, made when first needed, used again and again. Taking one waits until one is free;
//! this is what slows clients down to the speed of the disk. Called by `writer` and `threads`.

use outlast_direct_io::AlignedBuffer;
use parking_lot::{Condvar, Mutex};

pub(super) struct Buffers {
    /// Room for a pack of the wanted size, the blob that goes over it, and the header.
    size: usize,
    state: Mutex<State>,
    returned: Condvar,
}

struct State {
    free: Vec<AlignedBuffer>,
    not_yet_made: usize,
}

impl Buffers {
    pub(super) fn new(pack_size: usize, count: usize) -> Buffers {
        let size = pack_size + pack_size / 4 + (1 << 20);
        let state = Mutex::new(State {
            free: Vec::with_capacity(count),
            not_yet_made: count,
        });
        Buffers {
            size,
            state,
            returned: Condvar::new(),
        }
    }

    /// A buffer with room for at least `needed` bytes. One that is larger than usual is made for this one pack; the
    /// queue to the writer threads bounds how many there can be.
    pub(super) fn take(&self, needed: usize) -> AlignedBuffer {
        if needed > self.size {
            return AlignedBuffer::new(needed);
        }
        let mut state = self.state.lock();
        loop {
            if let Some(buffer) = state.free.pop() {
                return buffer;
            }
            if state.not_yet_made > 0 {
                state.not_yet_made -= 1;
                drop(state);
                return AlignedBuffer::new(self.size);
            }
            self.returned.wait(&mut state);
        }
    }

    pub(super) fn give_back(&self, buffer: AlignedBuffer) {
        if buffer.capacity() == self.size {
            self.state.lock().free.push(buffer);
            self.returned.notify_one();
        }
    }
}
