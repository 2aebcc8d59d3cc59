//! Which job for good, and which attempt of it (S-12b). A number can be given out twice, by a group of primaries that was set back to
//! an older copy; a nonce cannot. Numbers decide who is newer, the nonce decides whether it is the same job at all.
//!
//! Only naming and parsing. The messages are in `convert::attempt`. Used by every process.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Attempt, JobId};

/// 64 random bits that a leader draws for a submission. 0: a job of before there were nonces; it matches only what has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobNonce(pub u64);

impl JobNonce {
    /// Of a job of before there were nonces.
    pub const NONE: Self = Self(0);

    /// Whether it is of before there were nonces.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.0 == 0
    }
}

/// Sixteen hex digits, as in snapshot tags.
impl fmt::Display for JobNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Not the sixteen lower-case hex digits of a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job's nonce has 16 hex digits")]
pub struct InvalidNonce;

impl FromStr for JobNonce {
    type Err = InvalidNonce;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_hex = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let number = u64::from_str_radix(text, 16).ok().filter(|_| is_hex);
        number.map(Self).ok_or(InvalidNonce)
    }
}

/// A job for good: no other ever has this number and this nonce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobKey {
    /// Its number.
    pub id: JobId,
    /// What tells it from other jobs of that number.
    pub nonce: JobNonce,
}

impl JobKey {
    /// Its attempt of this number.
    #[must_use]
    pub const fn attempt(self, attempt: Attempt) -> AttemptId {
        AttemptId {
            job: self.id,
            nonce: self.nonce,
            attempt,
        }
    }
}

/// `7` or `7-00c0ffee00c0ffee`: also a file name.
impl fmt::Display for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nonce.is_none() {
            return self.id.fmt(f);
        }
        write!(f, "{}-{}", self.id, self.nonce)
    }
}

/// Not what a job is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job is its number, or its number, '-' and its nonce")]
pub struct InvalidKey;

impl FromStr for JobKey {
    type Err = InvalidKey;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (id, nonce) = match text.split_once('-') {
            None => (text, JobNonce::NONE),
            Some((id, nonce)) => (id, nonce.parse().map_err(|InvalidNonce| InvalidKey)?),
        };
        let key = Self {
            id: id.parse().map_err(|_| InvalidKey)?,
            nonce,
        };
        // One job, one name: neither "+7" nor "7-0000000000000000".
        Some(key).filter(|key| key.to_string() == text).ok_or(InvalidKey)
    }
}

/// One try of a job; the attempt number is the fencing token. Ordered by job, then by attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    /// The job's number.
    pub job: JobId,
    /// What tells the job from others of that number.
    pub nonce: JobNonce,
    /// Which try.
    pub attempt: Attempt,
}

impl AttemptId {
    /// Its job.
    #[must_use]
    pub const fn key(self) -> JobKey {
        JobKey {
            id: self.job,
            nonce: self.nonce,
        }
    }

    /// Whether both are attempts of one job: equal numbers alone are not enough (S-12b).
    #[must_use]
    pub fn is_of_same_job(self, other: AttemptId) -> bool {
        self.key() == other.key()
    }

    /// Whether a fence of `fence` takes it in: it is of that job, and not newer (F-04).
    #[must_use]
    pub fn is_through(self, fence: AttemptId) -> bool {
        self.is_of_same_job(fence) && self.attempt <= fence.attempt
    }
}

/// As people know it; the nonce is for machines.
impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.job, self.attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s12b_a_job_is_written_in_one_way() {
        for (text, id, nonce) in [
            ("7", 7, 0),
            ("7-00c0ffee00c0ffee", 7, 0x00c0_ffee_00c0_ffee),
            ("18446744073709551615-ffffffffffffffff", u64::MAX, u64::MAX),
        ] {
            let key = JobKey {
                id: JobId(id),
                nonce: JobNonce(nonce),
            };
            assert_eq!((text.parse(), key.to_string().as_str()), (Ok(key), text));
        }
        for text in [
            "",
            "-",
            "x",
            "+7",
            "07",
            "7-",
            "7-c0ffee",
            "7-0000000000000000",
            "7-00C0FFEE00C0FFEE",
            "7-+0c0ffee00c0ffee",
        ] {
            assert_eq!(text.parse::<JobKey>(), Err(InvalidKey), "{text:?}");
        }
    }

    #[test]
    fn s12b_the_same_numbers_under_another_nonce_are_another_job() {
        let id = |nonce, attempt| AttemptId {
            job: JobId(3),
            nonce: JobNonce(nonce),
            attempt: Attempt(attempt),
        };
        for (of, fence, taken_in) in [
            (id(5, 1), id(5, 1), true),
            (id(5, 1), id(5, 2), true),
            (id(5, 3), id(5, 2), false),
            (id(5, 1), id(6, 2), false),
            (id(0, 1), id(6, 2), false),
            (id(5, 1), id(0, 2), false),
            (id(0, 1), id(0, 2), true),
        ] {
            assert_eq!(of.is_through(fence), taken_in, "{of:?} by {fence:?}");
        }
    }
}
