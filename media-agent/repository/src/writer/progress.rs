//! Which packs are on their way to disk and which have arrived. Called by `writer`, `threads`, `index_files`.

use std::collections::BTreeSet;

use parking_lot::{Condvar, Mutex};

use crate::error::Result;
use crate::id::PackId;
use crate::pack::PackedBlob;

/// A durable pack that no index names yet.
pub(super) struct DurablePack {
    pub(super) id: PackId,
    pub(super) blobs: Vec<PackedBlob>,
    pub(super) bytes: u64,
}

#[derive(Default)]
pub(super) struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    next: u64,
    under_way: BTreeSet<u64>,
    durable: Vec<DurablePack>,
    durable_blobs: usize,
}

impl Progress {
    /// A pack is about to be queued; gives its number.
    pub(super) fn begin(&self) -> u64 {
        let mut state = self.state.lock();
        let number = state.next;
        state.next += 1;
        state.under_way.insert(number);
        number
    }

    /// The pack is durable, or it is given up.
    pub(super) fn end(&self, number: u64, durable: Option<DurablePack>) {
        let mut state = self.state.lock();
        state.under_way.remove(&number);
        if let Some(pack) = durable {
            state.durable_blobs += pack.blobs.len();
            state.durable.push(pack);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until all packs that were begun before this call have ended.
    pub(super) fn wait_until_durable(&self, check: impl Fn() -> Result<()>) -> Result<()> {
        let mut state = self.state.lock();
        let before = state.next;
        while state.under_way.first().is_some_and(|&number| number < before) {
            self.changed.wait(&mut state);
        }
        drop(state);
        check()
    }

    /// Takes durable packs with together about `limit` blobs, oldest first; at least one if there is any. With
    /// `only_if_full`, nothing unless there are that many.
    pub(super) fn take_durable(&self, limit: usize, only_if_full: bool) -> Vec<DurablePack> {
        let mut state = self.state.lock();
        if only_if_full && state.durable_blobs < limit {
            return Vec::new();
        }
        let mut blobs = 0;
        let fits = |pack: &DurablePack| {
            let first = blobs == 0;
            blobs += pack.blobs.len();
            first || blobs <= limit
        };
        let count = state.durable.iter().map(fits).take_while(|&fits| fits).count();
        let taken: Vec<DurablePack> = state.durable.drain(..count).collect();
        state.durable_blobs -= taken.iter().map(|pack| pack.blobs.len()).sum::<usize>();
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::{DurablePack, Progress};
    use crate::id::{BlobId, BlobKind, PackId};
    use crate::pack::PackedBlob;

    fn pack(name: &[u8], blobs: usize) -> DurablePack {
        let blob = PackedBlob {
            kind: BlobKind::Data,
            id: BlobId::of(name),
            offset: 0,
            length: 32,
            compressed_from: None,
        };
        DurablePack {
            id: PackId::of(name),
            blobs: vec![blob; blobs],
            bytes: 1,
        }
    }

    #[test]
    fn packs_are_taken_in_order_and_in_portions() {
        let progress = Progress::default();
        for blobs in [60, 30, 20, 200, 5] {
            let number = progress.begin();
            progress.end(number, Some(pack(b"p", blobs)));
        }
        progress.wait_until_durable(|| Ok(())).unwrap();
        assert!(progress.take_durable(1000, true).is_empty());
        let portions: Vec<usize> =
            std::iter::from_fn(|| Some(progress.take_durable(100, false)).filter(|taken| !taken.is_empty()))
                .map(|taken| taken.iter().map(|pack| pack.blobs.len()).sum())
                .collect();
        assert_eq!(portions, [90, 20, 200, 5]);
        assert!(progress.take_durable(1, true).is_empty());
    }
}
