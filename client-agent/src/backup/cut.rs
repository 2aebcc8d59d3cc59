//! Where files are cut into chunks: content-defined, so that an insertion moves few chunks (fastcdc v2020).

use std::ops::Range;

use fastcdc::v2020::FastCDC;

/// Files up to this length are one chunk.
pub(super) const SHORTEST: usize = 512 << 10;
const USUAL: usize = 1 << 20;
/// Also where zeros are cut: there is no cut in a run of them.
pub(super) const LONGEST: usize = 8 << 20;

/// The chunks at the beginning of `bytes`. Unless `bytes` end the file, what follows the last certain cut is left for
/// the next call; `bytes` then are at least as long as the longest chunk, so that there is always one.
pub(super) fn cut(bytes: &[u8], is_last: bool) -> Vec<Range<usize>> {
    let cutter = FastCDC::new(bytes, SHORTEST, USUAL, LONGEST);
    let mut chunks = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let (_, end) = cutter.cut(start, bytes.len() - start);
        let is_certain = end < bytes.len() || end - start >= LONGEST || is_last;
        if !is_certain {
            break;
        }
        chunks.push(start..end);
        start = end;
    }
    chunks
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

    use super::{LONGEST, cut};

    #[test]
    fn cutting_in_pieces_gives_the_cuts_of_the_whole() {
        let mut random = StdRng::seed_from_u64(7);
        let mut bytes = vec![0_u8; 40 << 20];
        // A long run of zeros has no cut in it: the longest chunk must come out.
        random.fill(&mut bytes[..25 << 20]);
        let whole: Vec<_> = cut(&bytes, true);
        let (mut pieces, mut start) = (Vec::new(), 0);
        while start < bytes.len() {
            let end = (start + LONGEST).min(bytes.len());
            let found = cut(&bytes[start..end], end == bytes.len());
            let next = start + found.last().expect("at least one chunk").end;
            pieces.extend(
                found
                    .into_iter()
                    .map(|range| start + range.start..start + range.end),
            );
            start = next;
        }
        assert_eq!(pieces, whole);
        assert!(whole.len() > 10);
        assert!(whole.iter().any(|range| range.len() == LONGEST));
    }
}
