//! Ids and places, found by id: 48 bytes a blob one behind the other, and 5 to 11 for the slots to find them by. A plain
//! hash map needs up to 112, because all its room is for whole entries. Used by `table`.

use std::hash::BuildHasher;

use crate::id::BlobId;
use crate::index::table::{IdHasher, Place};

/// Entries are kept in pieces of this many, so that growing moves none of them.
const SLAB: usize = 1 << 16;

pub(super) struct Blobs {
    hasher: IdHasher,
    /// Each is free (zero) or the number of an entry, counted from one. An entry's slot is where its hash says or the next
    /// behind it that was free. As many as a power of two, at most three quarters of them taken.
    slots: Vec<u32>,
    /// All but the last are full.
    slabs: Vec<Vec<(BlobId, Place)>>,
    length: usize,
}

impl Blobs {
    pub(super) fn new(hasher: IdHasher) -> Blobs {
        Blobs {
            hasher,
            slots: Vec::new(),
            slabs: Vec::new(),
            length: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn bytes_in_memory(&self) -> usize {
        let entries: usize = self.slabs.iter().map(Vec::capacity).sum();
        self.slots.capacity() * size_of::<u32>() + entries * size_of::<(BlobId, Place)>()
    }

    pub(super) fn get(&self, id: &BlobId) -> Option<&Place> {
        if self.slots.is_empty() {
            return None;
        }
        let number = self.slots[self.slot_of(id)].checked_sub(1)?;
        Some(&self.entry(number as usize).1)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &BlobId> {
        self.slabs.iter().flatten().map(|(id, _)| id)
    }

    /// Adds the blob, unless it is there: then gives its place and changes nothing.
    pub(super) fn insert(&mut self, id: BlobId, place: Place) -> Option<Place> {
        if (self.length + 1) * 4 > self.slots.len() * 3 {
            self.resize((self.slots.len() * 2).max(16));
        }
        let slot = self.slot_of(&id);
        if let Some(number) = self.slots[slot].checked_sub(1) {
            return Some(self.entry(number as usize).1);
        }
        match self.slabs.last_mut() {
            Some(slab) if slab.len() < SLAB => slab.push((id, place)),
            // The first grows, so that small repositories take little.
            None => self.slabs.push(vec![(id, place)]),
            Some(_) => {
                let mut slab = Vec::with_capacity(SLAB);
                slab.push((id, place));
                self.slabs.push(slab);
            }
        }
        self.length += 1;
        self.slots[slot] = u32::try_from(self.length).expect("fewer than 2^32 blobs");
        None
    }

    /// Forgets all blobs at places that are not to be kept.
    pub(super) fn retain(&mut self, keep: impl Fn(&Place) -> bool) {
        let mut kept = 0;
        for number in 0..self.length {
            let entry = *self.entry(number);
            if keep(&entry.1) {
                self.slabs[kept / SLAB][kept % SLAB] = entry;
                kept += 1;
            }
        }
        self.length = kept;
        self.slabs.truncate(kept.div_ceil(SLAB));
        if let Some(last) = self.slabs.last_mut() {
            last.truncate((kept - 1) % SLAB + 1);
        }
        self.resize((kept * 4 / 3 + 1).next_power_of_two().max(16));
    }

    fn resize(&mut self, slots: usize) {
        self.slots = vec![0; slots];
        for number in 0..self.length {
            let slot = self.slot_of(&self.entry(number).0);
            self.slots[slot] = u32::try_from(number + 1).expect("fewer than 2^32 blobs");
        }
    }

    /// Where the id is, or would go.
    fn slot_of(&self, id: &BlobId) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = self.hasher.hash_one(id) as usize & mask;
        while let Some(number) = self.slots[slot].checked_sub(1) {
            if self.entry(number as usize).0 == *id {
                break;
            }
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn entry(&self, number: usize) -> &(BlobId, Place) {
        &self.slabs[number / SLAB][number % SLAB]
    }
}

#[cfg(test)]
mod tests {
    use super::{Blobs, SLAB};
    use crate::id::BlobId;
    use crate::index::table::{IdHasher, Place};

    fn place(pack: u32) -> Place {
        Place {
            pack,
            offset: 0,
            length: 1,
            plain: 0,
        }
    }

    #[test]
    fn what_is_put_in_is_found_until_it_is_forgotten() {
        let count = u32::try_from(2 * SLAB + 100).unwrap();
        let id = |n: u32| BlobId::of(&n.to_le_bytes());
        let mut blobs = Blobs::new(IdHasher::random());
        assert_eq!(blobs.get(&id(0)), None);
        for n in 0..count {
            assert_eq!(blobs.insert(id(n), place(n)), None);
        }
        assert_eq!(blobs.insert(id(7), place(8)), Some(place(7)));
        assert!((0..count).all(|n| blobs.get(&id(n)) == Some(&place(n))));
        assert_eq!((blobs.len(), blobs.get(&id(count))), (count as usize, None));
        let kept: [fn(u32) -> bool; 3] = [|n| n % 3 == 0, |n| n == 3, |_| false];
        for is_kept in kept {
            blobs.retain(|place| is_kept(place.pack));
            let expected = |n| Some(place(n)).filter(|_| is_kept(n));
            assert!((0..count).all(|n| blobs.get(&id(n)).copied() == expected(n)));
        }
        assert_eq!(blobs.len(), 0);
        assert_eq!(blobs.insert(id(1), place(1)), None);
        assert_eq!(blobs.get(&id(1)), Some(&place(1)));
    }
}
