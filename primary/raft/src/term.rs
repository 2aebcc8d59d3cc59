//! How terms are numbered (docs/adr/0008). A term is known by its number alone, and entries by term and index: two histories in
//! which the same term was begun twice could not be told from each other. Counted terms are begun twice when nodes are set back
//! to an older copy of their disks. So a candidate draws its term: the seconds of the clock, behind them random bits. Nothing
//! depends on the clock being right; it makes the terms of a group that was set back follow those of what was lost.
//!
//! Stored and sent as the plain numbers they always were; openraft calls this for each candidate.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use openraft::vote::RaftTerm;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const RANDOM_BITS: u32 = 20;
/// A clock that shows more (the year 2242) is not believed. All bits together are a number that JSON programs keep exactly.
const MAX_SECONDS: u64 = (1 << 33) - 1;

/// See the file's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Term(pub(crate) u64);

impl Term {
    fn after(self, seconds: u64, random: u64) -> Self {
        let next = (self.0 >> RANDOM_BITS).saturating_add(1);
        let high = next.max(seconds.min(MAX_SECONDS)).min(u64::MAX >> RANDOM_BITS);
        let drawn = high << RANDOM_BITS | random & ((1 << RANDOM_BITS) - 1);
        Self(drawn.max(self.0.saturating_add(1)))
    }
}

impl RaftTerm for Term {
    fn next(&self) -> Self {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH);
        let random = Uuid::new_v4().as_u64_pair().1;
        self.after(seconds.map_or(0, |since| since.as_secs()), random)
    }

    fn as_u64(&self) -> Option<u64> {
        Some(self.0)
    }
}

impl From<u64> for Term {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_764_410_000;
    const FIRST: u64 = NOW << RANDOM_BITS;

    #[test]
    fn t90_s12b_the_next_term_is_higher_whatever_the_clock_shows() {
        let table = [
            // Of before terms were drawn; then the clock goes on, stands, goes back, is lost, is far off and comes back.
            (7, NOW, FIRST),
            (FIRST, NOW + 60, (NOW + 60) << RANDOM_BITS),
            (FIRST, NOW, (NOW + 1) << RANDOM_BITS),
            (FIRST + 5, NOW - 86_400, (NOW + 1) << RANDOM_BITS),
            (FIRST + 5, 0, (NOW + 1) << RANDOM_BITS),
            (FIRST, u64::MAX, MAX_SECONDS << RANDOM_BITS),
            (MAX_SECONDS << RANDOM_BITS, NOW, (MAX_SECONDS + 1) << RANDOM_BITS),
        ];
        assert_eq!(Term(u64::MAX - 1).after(NOW, 0), Term(u64::MAX));
        for (term, seconds, next) in table {
            assert_eq!(Term(term).after(seconds, 0), Term(next), "{term} {seconds}");
            assert!(Term(term) < Term(next));
            assert_eq!(
                Term(term).after(seconds, u64::MAX),
                Term(next + (1 << RANDOM_BITS) - 1)
            );
        }
        // Added one to by a node that counts: the next drawn one is higher still.
        assert!(Term(FIRST | ((1 << RANDOM_BITS) - 1)).next() > Term(FIRST + (1 << RANDOM_BITS)));
    }

    #[test]
    fn t90_s12b_two_candidates_of_one_copy_draw_different_terms() {
        let drawn: std::collections::BTreeSet<_> = (0..100).map(|_| Term(FIRST).next()).collect();
        assert!(drawn.len() > 98, "{drawn:?}");
    }
}
