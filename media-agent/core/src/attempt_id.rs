//! Which attempt of which job: the pair that travels in every order, record and snapshot tag.
//!
//! Only naming and parsing. Used everywhere in this crate.

use std::fmt;

use outlast_proto::v1::AttemptRef;
use outlast_proto::words::{Attempt, JobId};

/// One try of a job; the attempt number is the fencing token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    pub job: JobId,
    pub attempt: Attempt,
}

/// A message names no attempt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("job \"{job}\", attempt {attempt} names no attempt: jobs are numbers, attempts count from 1")]
pub struct NoAttempt {
    job: String,
    attempt: u32,
}

impl AttemptId {
    pub fn to_ref(self) -> AttemptRef {
        AttemptRef {
            job: self.job.to_string(),
            attempt: self.attempt.0,
        }
    }

    /// The attempt a message is about.
    ///
    /// # Errors
    /// [`NoAttempt`] if it is about none.
    pub fn of_message(attempt: Option<&AttemptRef>) -> Result<Self, NoAttempt> {
        let (job, attempt) = attempt.map_or(("", 0), |a| (a.job.as_str(), a.attempt));
        match job.parse() {
            Ok(job) if attempt > 0 => Ok(Self {
                job,
                attempt: Attempt(attempt),
            }),
            _ => Err(NoAttempt {
                job: job.chars().take(40).collect(),
                attempt,
            }),
        }
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.job, self.attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::AttemptId;
    use outlast_proto::v1::AttemptRef;

    #[test]
    fn only_numbers_name_an_attempt() {
        for (job, attempt, usable) in [("7", 1, true), ("7", 0, false), ("", 1, false), ("x", 1, false)] {
            let message = AttemptRef {
                job: job.into(),
                attempt,
            };
            let id = AttemptId::of_message(Some(&message));
            assert_eq!(id.is_ok(), usable, "{job}/{attempt}");
            assert!(id.is_err() || id.unwrap().to_ref() == message);
        }
        assert!(AttemptId::of_message(None).is_err());
    }
}
