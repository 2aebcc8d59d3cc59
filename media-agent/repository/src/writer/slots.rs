//! The open packs. A thread takes one, has it alone while it adds a blob, and puts it back; the one used last is given
//! out first, so that few threads fill few packs. Called by `writer`.

use outlast_direct_io::AlignedBuffer;
use parking_lot::{Condvar, Mutex};
use zstd::bulk::Compressor;

use crate::crypto::MasterKey;
use crate::error::{RepositoryError, Result};
use crate::id::{BlobId, BlobKind};
use crate::pack::{PackBuilder, Payload};
use crate::writer::shared::Shared;

pub(super) struct Slots {
    kind: BlobKind,
    free: Mutex<Vec<Slot>>,
    returned: Condvar,
}

/// The compression context stays when the pack goes.
struct Slot {
    compressor: Compressor<'static>,
    pack: Option<PackBuilder>,
}

/// A slot that one thread has; dropping puts it back.
pub(super) struct TakenSlot<'a> {
    slots: &'a Slots,
    shared: &'a Shared,
    slot: Option<Slot>,
}

impl Slots {
    pub(super) fn new(kind: BlobKind, count: usize, level: i32) -> Result<Slots> {
        let slot = |_| {
            let compressor = Compressor::new(level).map_err(|error| RepositoryError::Compression {
                length: 0,
                reason: error.to_string(),
            })?;
            Ok(Slot {
                compressor,
                pack: None,
            })
        };
        let free = Mutex::new((0..count).map(slot).collect::<Result<Vec<_>>>()?);
        Ok(Slots {
            kind,
            free,
            returned: Condvar::new(),
        })
    }

    /// Waits until a slot is free.
    pub(super) fn take<'a>(&'a self, shared: &'a Shared) -> TakenSlot<'a> {
        let mut free = self.free.lock();
        loop {
            if let Some(slot) = free.pop() {
                return TakenSlot {
                    slots: self,
                    shared,
                    slot: Some(slot),
                };
            }
            self.returned.wait(&mut free);
        }
    }

    /// The packs of all slots. The caller sees to it that no slot is taken.
    pub(super) fn take_packs(&self) -> Vec<PackBuilder> {
        self.free
            .lock()
            .iter_mut()
            .filter_map(|slot| slot.pack.take())
            .collect()
    }
}

impl TakenSlot<'_> {
    pub(super) fn pack(&self) -> Option<&PackBuilder> {
        self.slot.as_ref()?.pack.as_ref()
    }

    pub(super) fn open(&mut self, buffer: AlignedBuffer) {
        let kind = self.slots.kind;
        self.slot_mut().pack = Some(PackBuilder::new(kind, buffer));
    }

    pub(super) fn close(&mut self) -> Option<PackBuilder> {
        self.slot_mut().pack.take()
    }

    pub(super) fn add(&mut self, id: BlobId, payload: &Payload<'_>, key: &MasterKey) -> Result<u32> {
        let Slot { compressor, pack } = self.slot_mut();
        pack.as_mut()
            .expect("the caller opened a pack")
            .add(id, payload, compressor, key)
    }

    fn slot_mut(&mut self) -> &mut Slot {
        self.slot.as_mut().expect("present until dropped")
    }
}

impl Drop for TakenSlot<'_> {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        if std::thread::panicking() {
            // The pack may be half-written; it must never get to disk.
            self.shared.fail(self.shared.threads_died());
        }
        self.slots.free.lock().push(slot);
        self.slots.returned.notify_one();
    }
}
