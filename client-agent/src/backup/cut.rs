//! Where files are cut into chunks: content-defined, so that an insertion moves few chunks (fastcdc v2020). Very long files are cut
//! every 8 MiB, or the lists of their chunks would be too long.

use std::ops::Range;

use fastcdc::v2020::FastCDC;
use outlast_proto::words::limits::{MOST_CHUNK, MOST_CHUNKS, MOST_FILE};

/// Files up to this length are one chunk.
pub(super) const SHORTEST: usize = 512 << 10;
const USUAL: usize = 1 << 20;
/// Also where zeros are cut: there is no cut in a run of them.
pub(super) const LONGEST: usize = MOST_CHUNK;

/// The shortest chunks of a longer file could be too many.
const FINE_UP_TO: u64 = (SHORTEST * MOST_CHUNKS) as u64;

/// How one file is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    ByContent,
    Evenly,
}

impl Rule {
    /// For a file of that length.
    pub(super) fn of(size: u64) -> Self {
        if size > FINE_UP_TO {
            Self::Evenly
        } else {
            Self::ByContent
        }
    }

    /// A longer file could have too many chunks.
    pub(super) fn most(self) -> u64 {
        match self {
            Self::ByContent => FINE_UP_TO,
            Self::Evenly => MOST_FILE,
        }
    }
}

/// The chunks at the beginning of `bytes`. Unless `bytes` end the file, what follows the last certain cut is left for
/// the next call; `bytes` then are at least as long as the longest chunk, so that there is always one.
pub(super) fn cut(rule: Rule, bytes: &[u8], is_last: bool) -> Vec<Range<usize>> {
    match rule {
        Rule::ByContent => cut_by_content(bytes, is_last),
        Rule::Evenly => (0..bytes.len())
            .step_by(LONGEST)
            .map(|start| start..(start + LONGEST).min(bytes.len()))
            .filter(|range| is_last || range.len() == LONGEST)
            .collect(),
    }
}

fn cut_by_content(bytes: &[u8], is_last: bool) -> Vec<Range<usize>> {
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

    use outlast_proto::words::limits::{MOST_CHUNKS, MOST_FILE};

    use super::{LONGEST, Rule, SHORTEST, cut};

    #[test]
    fn cutting_in_pieces_gives_the_cuts_of_the_whole() {
        let mut random = StdRng::seed_from_u64(7);
        let mut bytes = vec![0_u8; 40 << 20];
        // A long run of zeros has no cut in it: the longest chunk must come out.
        random.fill(&mut bytes[..25 << 20]);
        for rule in [Rule::ByContent, Rule::Evenly] {
            let whole = pieces_are_the_whole(rule, &bytes);
            assert!(whole.iter().any(|range| range.len() == LONGEST), "{rule:?}");
            assert_eq!(whole.len() > 10, rule == Rule::ByContent);
        }
    }

    #[test]
    fn s14d_no_file_has_more_chunks_than_are_taken() {
        for size in [1, 1 << 40, (1 << 40) + 1, MOST_FILE] {
            let shortest = match Rule::of(size) {
                Rule::ByContent => SHORTEST,
                Rule::Evenly => LONGEST,
            };
            assert!(size.div_ceil(shortest as u64) <= MOST_CHUNKS as u64, "{size}");
        }
        assert_eq!(Rule::of(1 << 40), Rule::ByContent);
    }

    fn pieces_are_the_whole(rule: Rule, bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
        let whole: Vec<_> = cut(rule, bytes, true);
        let (mut pieces, mut start) = (Vec::new(), 0);
        while start < bytes.len() {
            let end = (start + LONGEST).min(bytes.len());
            let found = cut(rule, &bytes[start..end], end == bytes.len());
            let next = start + found.last().expect("at least one chunk").end;
            pieces.extend(
                found
                    .into_iter()
                    .map(|range| start + range.start..start + range.end),
            );
            start = next;
        }
        assert_eq!(pieces, whole);
        whole
    }
}
