//! What the items of a backup come to (S-01, S-02, S-02a).

use outlast_proto::v1::{JobError, Stopped};
use outlast_proto::words::{Counters, StatusCode};

use crate::ending::Done;

/// What the items came to so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Of items that are over.
    pub counters: Counters,
    first_failure: Option<JobError>,
    begun: usize,
    /// An earlier attempt finished an item so (S-02). Counters stay those of this attempt.
    earlier_exceptions: bool,
}

impl Tally {
    /// An item is begun.
    pub fn begin(&mut self) {
        self.begun += 1;
    }

    /// An item was finished, now or by an earlier attempt.
    pub fn finished(&mut self, counters: &Counters) {
        self.counters.add(counters);
    }

    /// An item is left out that an earlier attempt finished.
    pub fn finished_before(&mut self, with_exceptions: bool) {
        self.earlier_exceptions |= with_exceptions;
    }

    /// An item failed; so many exceptions there are in all by now. The next one runs (S-02a).
    pub fn failed(&mut self, error: &JobError, exceptions: u64) {
        self.counters.exceptions = self.counters.exceptions.max(exceptions);
        self.first_failure.get_or_insert_with(|| error.clone());
    }

    /// The result. `left_out` items were not begun because of a graceful stop.
    #[must_use]
    pub fn done(self, graceful: bool, left_out: usize) -> Done {
        let stopped = if graceful && left_out > 0 {
            Stopped::Graceful
        } else {
            Stopped::Unspecified
        };
        if stopped == Stopped::Graceful && self.begun == 0 {
            return Done::canceled(stopped);
        }
        let (code, text) = match self.first_failure {
            Some(error) => (
                StatusCode(u16::try_from(error.code).unwrap_or(StatusCode::FILE_READ_FAILED.0)),
                error.text,
            ),
            None if self.counters.exceptions > 0 || self.earlier_exceptions => {
                (StatusCode::EXCEPTIONS, String::new())
            }
            None => (StatusCode::SUCCESSFUL, String::new()),
        };
        Done {
            code,
            text,
            stopped,
            storage: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::{Ticketed, settle};

    #[test]
    fn t90_s02_what_an_earlier_attempt_finished_with_exceptions_counts_for_the_job() {
        for (with_exceptions, code) in [(true, StatusCode::EXCEPTIONS), (false, StatusCode::SUCCESSFUL)] {
            let mut tally = Tally::default();
            tally.finished_before(with_exceptions);
            tally.begin();
            tally.finished(&Counters::default());
            assert_eq!(tally.counters.exceptions, 0, "they stay those of the attempt");
            assert_eq!(tally.done(false, 0).code, code);

            let before = Ticketed {
                finished: true,
                with_exceptions,
            };
            let (ending, counters) = settle("media-1", true, &[before], &[]);
            let done = Done {
                code,
                text: String::new(),
                stopped: Stopped::Unspecified,
                storage: None,
            };
            assert_eq!(
                (ending, counters),
                (crate::Ending::Ended(done), Counters::default())
            );
        }
    }
}
