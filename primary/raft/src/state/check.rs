//! Comparing the applied state of all members (DESIGN 3): every so many entries each node notes a sum over its rows; the
//! leader puts its own into the log, as a command that no machine sees; a node whose own sum of that place differs stops.
//! [`core`](super::core) notes and compares, [`checker`](crate::node) proposes.
//!
//! The command: `0xC1`, `check`, a version byte 1, then place, number of rows and sum of their checksums, 8 bytes each, big
//! endian.

use std::collections::VecDeque;

use thiserror::Error;

use crate::state::rows::Tally;
use crate::types::Command;

const MAGIC: &[u8; 7] = b"\xC1check\x01";
/// Checks arrive soon after their place; a few are on their way at most.
const KEPT: usize = 8;

/// The state at one place of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// The last entry in it.
    pub(crate) index: u64,
    pub(crate) tally: Tally,
}

#[derive(Debug, Error)]
#[error(
    "the state after entry {} differs from the leader's: {mine} here, {} there; remove this \
     node from the cluster, empty its directory and let it join under a new node number",
    theirs.index, theirs.tally
)]
pub(crate) struct Differs {
    mine: Tally,
    theirs: Check,
}

impl Check {
    pub(crate) fn command(self) -> Command {
        let mut bytes = MAGIC.to_vec();
        for number in [self.index, self.tally.rows, self.tally.sum] {
            bytes.extend(number.to_be_bytes());
        }
        Command(bytes.into())
    }

    /// `None`: the command is the machine's.
    pub(super) fn read(command: &Command) -> Option<Self> {
        let numbers = command.0.strip_prefix(MAGIC.as_slice())?;
        let (numbers, rest) = numbers.as_chunks::<8>();
        let [index, rows, sum] = *numbers else { return None };
        let tally = Tally {
            rows: u64::from_be_bytes(rows),
            sum: u64::from_be_bytes(sum),
        };
        rest.is_empty().then_some(Self {
            index: u64::from_be_bytes(index),
            tally,
        })
    }
}

/// What this node noted.
#[derive(Default)]
pub(super) struct Checks(VecDeque<Check>);

impl Checks {
    pub(super) fn note(&mut self, check: Check) {
        self.0.push_back(check);
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    /// A place that was not noted, since this node started or got a snapshot behind it, says nothing.
    pub(super) fn compare(&self, theirs: Check) -> Result<(), Differs> {
        match self.0.iter().find(|mine| mine.index == theirs.index) {
            Some(mine) if mine.tally != theirs.tally => Err(Differs {
                mine: mine.tally,
                theirs,
            }),
            _ => Ok(()),
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else_is_taken_for_it() {
        let check = Check {
            index: 3000,
            tally: Tally { rows: 7, sum: 9 },
        };
        let command = check.command();
        assert_eq!(Check::read(&command), Some(check));
        for cut in 0..command.0.len() {
            assert_eq!(Check::read(&Command(command.0.slice(..cut))), None, "{cut}");
        }
        assert_eq!(Check::read(&Command(Bytes::from_static(b"\x84machine"))), None);
    }

    #[test]
    fn only_a_noted_place_can_differ() {
        let (mut checks, tally) = (Checks::default(), Tally { rows: 1, sum: 1 });
        let other = Tally { rows: 1, sum: 2 };
        checks.note(Check { index: 1000, tally });
        assert!(checks.compare(Check { index: 1000, tally }).is_ok());
        assert!(
            checks
                .compare(Check {
                    index: 2000,
                    tally: other
                })
                .is_ok()
        );
        assert!(
            checks
                .compare(Check {
                    index: 1000,
                    tally: other
                })
                .is_err()
        );
    }
}
