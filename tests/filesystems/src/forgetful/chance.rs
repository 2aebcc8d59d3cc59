//! What chance leaves of what was not synced; the same seed leaves the same.

/// SplitMix64.
pub(super) struct Chance(u64);

/// How one cut treats all that was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Nothing,
    /// As a journalling file system that writes content late.
    NamesOnly,
    Some,
}

impl Chance {
    pub(super) fn of(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `most`.
    pub(super) fn up_to(&mut self, most: u64) -> u64 {
        match most.checked_add(1) {
            Some(choices) => self.next() % choices,
            None => self.next(),
        }
    }

    pub(super) fn mood(&mut self) -> Mood {
        match self.up_to(3) {
            0 => Mood::Nothing,
            1 => Mood::NamesOnly,
            _ => Mood::Some,
        }
    }
}
