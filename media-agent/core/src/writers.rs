//! Which process wrote which events of a journal (DESIGN 3).
//!
//! A journal whose disk was set back goes on with numbers that were given before: only who wrote an event tells it from the one
//! the primary has. Pure; used by `ledger` and `session`.

use crate::kept::KeptWriter;

/// Stretches of events, each by one process. Those the primary has are left out but for the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writers {
    stretches: Vec<KeptWriter>,
}

impl Writers {
    /// As a file repeats them.
    #[must_use]
    pub fn kept(&self) -> Vec<KeptWriter> {
        self.stretches.clone()
    }

    /// Takes in what a file repeats; the first one counts, since later ones say less.
    pub fn take(&mut self, kept: &[KeptWriter]) {
        if self.stretches.is_empty() {
            self.stretches = kept.to_vec();
        }
    }

    /// The next event is by this process.
    pub fn wrote(&mut self, sequence: u64, writer: u64) {
        if self.stretches.last().is_none_or(|last| last.writer != writer) {
            let first = sequence;
            self.stretches.push(KeptWriter { first, writer });
        }
    }

    /// Who wrote this event; 0: not known.
    #[must_use]
    pub fn of(&self, sequence: u64) -> u64 {
        let up_to = self
            .stretches
            .partition_point(|stretch| stretch.first <= sequence);
        up_to.checked_sub(1).map_or(0, |at| self.stretches[at].writer)
    }

    /// Nobody asks for events before this one any more.
    pub fn forget_before(&mut self, sequence: u64) {
        let up_to = self
            .stretches
            .partition_point(|stretch| stretch.first <= sequence);
        self.stretches.drain(..up_to.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_has_its_writer_until_nobody_asks() {
        let mut writers = Writers::default();
        assert_eq!(writers.of(1), 0);
        for (sequence, writer) in [(3, 7), (4, 7), (5, 8), (6, 9), (7, 9)] {
            writers.wrote(sequence, writer);
        }
        let all = |writers: &Writers| (1..=8).map(|sequence| writers.of(sequence)).collect::<Vec<_>>();
        assert_eq!(all(&writers), [0, 0, 7, 7, 8, 9, 9, 9]);
        writers.forget_before(5);
        assert_eq!(all(&writers), [0, 0, 0, 0, 8, 9, 9, 9]);
        let mut again = Writers::default();
        again.take(&writers.kept());
        again.take(&[]);
        assert_eq!(again, writers);
    }
}
