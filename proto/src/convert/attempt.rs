//! Attempts as messages name them.

use super::InvalidField;
use crate::v1::AttemptRef;
use crate::words::{Attempt, AttemptId, JobNonce};

/// A message names no attempt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("job \"{job}\", attempt {attempt} names no attempt: jobs are numbers, attempts count from 1")]
pub struct NoAttempt {
    job: String,
    attempt: u32,
}

impl From<NoAttempt> for InvalidField {
    fn from(error: NoAttempt) -> Self {
        InvalidField::new("attempt", error)
    }
}

impl AttemptId {
    /// As messages name it.
    #[must_use]
    pub fn to_ref(self) -> AttemptRef {
        AttemptRef {
            job: self.job.to_string(),
            attempt: self.attempt.0,
            nonce: self.nonce.0,
        }
    }

    /// The attempt a message is about.
    ///
    /// # Errors
    /// [`NoAttempt`] if it is about none.
    pub fn of_message(attempt: Option<&AttemptRef>) -> Result<Self, NoAttempt> {
        let (job, attempt, nonce) = attempt.map_or(("", 0, 0), |a| (a.job.as_str(), a.attempt, a.nonce));
        match job.parse() {
            Ok(job) if attempt > 0 => Ok(Self {
                job,
                nonce: JobNonce(nonce),
                attempt: Attempt(attempt),
            }),
            _ => Err(NoAttempt {
                job: job.chars().take(40).collect(),
                attempt,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::v1::AttemptRef;
    use crate::words::AttemptId;

    #[test]
    fn only_numbers_name_an_attempt() {
        for (job, attempt, usable) in [("7", 1, true), ("7", 0, false), ("", 1, false), ("x", 1, false)] {
            let message = AttemptRef {
                job: job.into(),
                attempt,
                nonce: 5,
            };
            let id = AttemptId::of_message(Some(&message));
            assert_eq!(id.is_ok(), usable, "{job}/{attempt}");
            assert!(id.is_err() || id.unwrap().to_ref() == message);
        }
        assert!(AttemptId::of_message(None).is_err());
    }
}
