//! Small random changes to real inputs, the same for the same seed: what the fuzz targets get in an ordinary test run.
//!
//! Included by the `fuzz` module of each crate that has targets. Coverage-guided runs are `fuzz/run`'s.

use super::Target;

/// Numbers that lengths and counts go wrong with.
const ODD: [u64; 8] = [0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];

/// Gives each target its real inputs and `rounds` changed ones; an input that makes it panic is printed.
pub(crate) fn exercise(targets: &[Target], rounds: u64) {
    for (name, seeds, run) in targets {
        let seeds = seeds();
        assert!(!seeds.is_empty(), "{name} has no real inputs");
        for seed in &seeds {
            tried(name, seed, *run);
        }
        for round in 0..rounds {
            let mut random = Random(round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut input = seeds[random.below(seeds.len())].clone();
            for _ in 0..=random.below(4) {
                change(&mut input, &seeds, &mut random);
            }
            tried(name, &input, *run);
        }
    }
}

fn tried(name: &str, input: &[u8], run: fn(&[u8])) {
    struct Told<'a>(&'a str, &'a [u8]);
    impl Drop for Told<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("fuzz target {} failed on: {:?}", self.0, self.1);
            }
        }
    }
    let _told = Told(name, input);
    run(input);
}

fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len().max(1));
    match random.below(8) {
        0 => input.truncate(at),
        1 => input.insert(at.min(input.len()), random.next().to_le_bytes()[0]),
        2 => {
            let end = (at + 1 + random.below(16)).min(input.len());
            input.drain(at.min(end)..end);
        }
        3 => {
            // A number of 4 or 8 bytes, or decimal digits.
            let number = ODD[random.below(ODD.len())];
            let bytes = match random.below(3) {
                0 => number.to_le_bytes()[..4].to_vec(),
                1 => number.to_le_bytes().to_vec(),
                _ => number.to_string().into_bytes(),
            };
            let end = (at + bytes.len()).min(input.len());
            input.splice(at.min(end)..end, bytes);
        }
        4 => {
            let other = &seeds[random.below(seeds.len())];
            let from = random.below(other.len().max(1)).min(other.len());
            let end = (from + random.below(64)).min(other.len());
            let place = at.min(input.len());
            input.splice(place..place, other[from..end].iter().copied());
        }
        _ => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).expect("below a usize")
    }
}
