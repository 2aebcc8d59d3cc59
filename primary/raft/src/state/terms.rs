//! Which terms the applied history went through. A snapshot carries it, so that a node that is sent one can see whether the
//! history it replaces is in it: the log that would show it is gone then (S-12b). Kept beside the rows by [`core`](super::core);
//! compared by [`Admission`](crate::net::Admission).

use serde::{Deserialize, Serialize};

use crate::format::LogIdForm;

/// Of earlier terms nothing is known.
const KEPT: usize = 32;

/// Term and last entry of each term that is over, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Terms(Vec<(u64, u64)>);

impl Terms {
    /// Whether nothing is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `next` was applied, and `last` before it.
    pub(super) fn follow(&mut self, last: Option<LogIdForm>, next: LogIdForm) {
        if let Some(last) = last.filter(|last| last.term != next.term) {
            self.0.push((last.term, last.index));
            let surplus = self.0.len().saturating_sub(KEPT);
            self.0.drain(..surplus);
        }
    }

    /// What a history that went through these terms up to `applied` has in the place of `here`, if that is another entry.
    pub(crate) fn other_at(&self, applied: LogIdForm, here: LogIdForm) -> Option<LogIdForm> {
        let ends = self.0.iter().copied().chain([(applied.term, applied.index)]);
        let (place, (term, _)) = ends.enumerate().find(|(_, (_, end))| here.index <= *end)?;
        // Where the oldest one began is not known.
        let is_known = place > 0 || here.term > term;
        (is_known && here.term != term).then_some(LogIdForm { term, ..here })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(term: u64, index: u64) -> LogIdForm {
        LogIdForm { term, index }
    }

    #[test]
    fn t90_s12b_a_history_says_whether_an_entry_is_in_it() {
        let mut terms = Terms::default();
        let mut last = None;
        for next in [id(3, 5), id(3, 9), id(5, 10), id(5, 20), id(8, 21)] {
            terms.follow(last, next);
            last = Some(next);
        }
        let applied = id(8, 30);
        for (here, other) in [
            (id(3, 9), None),
            (id(5, 10), None),
            (id(5, 20), None),
            (id(8, 30), None),
            (id(3, 10), Some(id(5, 10))),
            (id(4, 10), Some(id(5, 10))),
            (id(5, 21), Some(id(8, 21))),
            (id(7, 25), Some(id(8, 25))),
            (id(9, 25), Some(id(8, 25))),
            (id(4, 7), Some(id(3, 7))),
            // Before what is known, or behind its end.
            (id(2, 7), None),
            (id(9, 31), None),
        ] {
            assert_eq!(terms.other_at(applied, here), other, "{here}");
        }
        // Of a group from before: its last term alone.
        assert_eq!(Terms::default().other_at(applied, id(5, 20)), None);
        assert_eq!(Terms::default().other_at(applied, id(9, 20)), Some(id(8, 20)));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut terms = Terms::default();
        for term in 1..100 {
            terms.follow(Some(id(term, term)), id(term + 1, term + 1));
        }
        assert_eq!(terms.0.len(), KEPT);
        assert_eq!(terms.other_at(id(100, 100), id(7, 99)), Some(id(99, 99)));
    }
}
