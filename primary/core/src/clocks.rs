//! Clocks of the members beside one another: whether a leader may go on stamping entries (DESIGN 3). What counts is decided by the
//! order of the log, never by a stamp; but people read them, and schedules go by them.

use std::collections::BTreeMap;

/// Clocks that are not further apart than this agree, in microseconds.
const TOLERANCE: u64 = 60_000_000;

/// What becomes of a leader by the clocks of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A majority agrees with it, or too little is known to say otherwise.
    Stays,
    /// It is off, and a majority agrees with this member, which is ahead of it by so many microseconds.
    HandsOver {
        /// The member's number.
        to: u64,
        /// Negative: it is behind.
        ahead: i64,
    },
}

/// Whether a clock that is ahead of the leader's by so many microseconds agrees with it.
#[must_use]
pub fn agrees(ahead: i64) -> bool {
    ahead.unsigned_abs() <= TOLERANCE
}

/// Judges the leader's clock. `ahead`: for each member that answered by how many microseconds its clock is ahead of the leader's; the
/// leader is not among them. `members`: how many voters there are, the leader among them.
#[must_use]
pub fn judge(ahead: &BTreeMap<u64, i64>, members: usize) -> Verdict {
    let majority = members / 2 + 1;
    let agree_with = |clock: i64| {
        let others = ahead.values().filter(|other| other.abs_diff(clock) <= TOLERANCE);
        others.count() + usize::from(agrees(clock))
    };
    if agree_with(0) >= majority {
        return Verdict::Stays;
    }
    // One that agrees with the leader as well would be no better.
    let better = ahead.iter().filter(|(_, clock)| !agrees(**clock));
    let best = better.max_by_key(|(id, clock)| (agree_with(**clock), std::cmp::Reverse(**id)));
    match best {
        Some((to, ahead)) if agree_with(*ahead) >= majority => Verdict::HandsOver {
            to: *to,
            ahead: *ahead,
        },
        _ => Verdict::Stays,
    }
}

#[cfg(test)]
mod tests {
    use super::{Verdict, judge};

    const S: i64 = 1_000_000;

    /// Its name, how many voters there are, by how many seconds those that answered are ahead, and what comes of it.
    type Row = (&'static str, usize, &'static [(u64, i64)], Verdict);

    #[test]
    fn a_leader_off_the_majority_hands_over_to_one_that_is_not() {
        let to = |to, seconds| Verdict::HandsOver {
            to,
            ahead: seconds * S,
        };
        let rows: [Row; 14] = [
            ("alone", 1, &[], Verdict::Stays),
            ("all agree", 3, &[(2, 1), (3, -2)], Verdict::Stays),
            ("just within", 3, &[(2, 60), (3, 60)], Verdict::Stays),
            ("just beyond", 3, &[(2, 61), (3, 61)], to(2, 61)),
            ("behind", 3, &[(2, -3600), (3, -3601)], to(2, -3600)),
            ("one other is off", 3, &[(2, 0), (3, 3600)], Verdict::Stays),
            ("one says nothing, one is off", 3, &[(2, 3600)], Verdict::Stays),
            (
                "nobody agrees with anybody",
                3,
                &[(2, 3600), (3, -3600)],
                Verdict::Stays,
            ),
            ("two that differ", 2, &[(2, 3600)], Verdict::Stays),
            (
                "three of five",
                5,
                &[(2, 0), (3, 90), (4, 91), (5, 92)],
                to(3, 90),
            ),
            (
                "two of five",
                5,
                &[(2, 0), (3, 10), (4, 91), (5, 92)],
                Verdict::Stays,
            ),
            (
                "the one in the middle has a majority",
                5,
                &[(2, 70), (3, 130), (4, 190), (5, 1)],
                to(3, 130),
            ),
            (
                "one of three is silent, of five",
                5,
                &[(3, 90), (4, 91), (5, 92)],
                to(3, 90),
            ),
            (
                "the ends of time",
                3,
                &[(2, i64::MAX), (3, i64::MIN)],
                Verdict::Stays,
            ),
        ];
        for (case, members, ahead, expected) in rows {
            let ahead = ahead.iter().map(|(id, s)| (*id, s.saturating_mul(S)));
            assert_eq!(judge(&ahead.collect(), members), expected, "{case}");
        }
    }
}
