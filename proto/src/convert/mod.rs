//! Between the words and the messages: one place for each pair, used by every process at its edges.

mod attempt;
mod policy;
mod rule;

pub use attempt::NoAttempt;

use crate::{v1, words};

/// A field of a message that cannot be taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidField {
    /// Which field, as in the .proto file.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl InvalidField {
    /// An error about `field`.
    pub fn new(field: &'static str, reason: impl ToString) -> Self {
        Self {
            field,
            reason: reason.to_string(),
        }
    }
}

/// Enums whose values have the same names on both sides; the wire's zero stands for none.
macro_rules! same_enum {
    ($($name:ident { $($variant:ident),+ })+) => { $(
        impl From<words::$name> for v1::$name {
            fn from(word: words::$name) -> Self {
                match word { $(words::$name::$variant => v1::$name::$variant),+ }
            }
        }
        impl words::$name {
            /// The word for a number from the wire; none for zero and for numbers of newer versions.
            #[must_use]
            pub fn from_wire(number: i32) -> Option<Self> {
                match v1::$name::try_from(number) {
                    $(Ok(v1::$name::$variant) => Some(words::$name::$variant),)+
                    Ok(v1::$name::Unspecified) | Err(_) => None,
                }
            }
            /// The number on the wire.
            #[must_use]
            pub fn to_wire(self) -> i32 {
                v1::$name::from(self) as i32
            }
        }
    )+ };
}

same_enum! {
    JobState { Queued, Active, Stopping, Incomplete, WaitingForRetry, Suspended, Held, Done }
    CompletionStatus {
        Successful, CompletedWithExceptions, FailedOver, Resumed, Canceled, CanceledTimedOut, Failed, Recovered, Missed
    }
    ItemOutcome { NotStarted, InProgress, Done, DoneWithExceptions, Failed, Stopped }
    JobKind { Backup, Restore }
    AgentKind { MediaAgent, ClientAgent }
    AgentState { Enabled, Disabled, CommunicationStalled, NoCommunication }
    AgentAdmin { Enabled, Disabled, Draining }
    SelectionMethod { Prioritized, Failover, RoundRobin, LoadBalanced }
    Severity { Info, Warning, Error }
    Stopped { Graceful, Immediate }
    Interruption { ClientUnreachable, ClientCameBackNew, ClientShutDown, StorageUnavailable }
    Overwrite { Never, Always, IfNewer }
    UnitState { Ok, Full, Suspect, Unavailable }
    StorageFault { AtThisAgent, Full, OfTheUnit }
}

impl From<words::Timestamp> for prost_types::Timestamp {
    fn from(at: words::Timestamp) -> Self {
        let nanos = at.0.rem_euclid(1_000_000) * 1000;
        Self {
            seconds: at.0.div_euclid(1_000_000),
            nanos: i32::try_from(nanos).unwrap_or(0),
        }
    }
}

/// As people read it, in UTC.
#[must_use]
pub fn rfc3339(at: words::Timestamp) -> String {
    prost_types::Timestamp::from(at).to_string()
}

impl From<&prost_types::Timestamp> for words::Timestamp {
    fn from(at: &prost_types::Timestamp) -> Self {
        let micros = i128::from(at.seconds) * 1_000_000 + i128::from(at.nanos / 1000);
        let nearest = micros.clamp(i64::MIN.into(), i64::MAX.into());
        Self(i64::try_from(nearest).expect("clamped"))
    }
}

impl From<words::Counters> for v1::Counters {
    fn from(c: words::Counters) -> Self {
        Self {
            files: c.files,
            directories: c.directories,
            bytes: c.bytes,
            bytes_read: c.bytes_read,
            bytes_new: c.bytes_new,
            bytes_stored: c.bytes_stored,
            bytes_carried_over: c.bytes_carried_over,
            bytes_resent: c.bytes_resent,
            exceptions: c.exceptions,
            left_alone: c.left_alone,
            excluded: c.excluded,
        }
    }
}

impl From<&v1::Counters> for words::Counters {
    fn from(c: &v1::Counters) -> Self {
        Self {
            files: c.files,
            directories: c.directories,
            bytes: c.bytes,
            bytes_read: c.bytes_read,
            bytes_new: c.bytes_new,
            bytes_stored: c.bytes_stored,
            bytes_carried_over: c.bytes_carried_over,
            bytes_resent: c.bytes_resent,
            exceptions: c.exceptions,
            left_alone: c.left_alone,
            excluded: c.excluded,
        }
    }
}

macro_rules! hash_ids {
    ($($name:ident, $what:literal;)+) => {
        $(impl words::$name {
            /// The id in a bytes field; none if the field is empty.
            ///
            /// # Errors
            /// [`InvalidField`] unless it has 32 bytes.
            pub fn from_wire(field: &'static str, bytes: &[u8]) -> Result<Option<Self>, InvalidField> {
                if bytes.is_empty() {
                    return Ok(None);
                }
                let id = bytes
                    .try_into()
                    .map_err(|_| InvalidField::new(field, concat!("is no ", $what, " of 32 bytes")))?;
                Ok(Some(Self(id)))
            }

            /// The id as a bytes field.
            #[must_use]
            pub fn to_wire(self) -> bytes::Bytes {
                bytes::Bytes::copy_from_slice(&self.0)
            }
        })+
    };
}

hash_ids! {
    SnapshotId, "snapshot id";
    TreeId, "tree id";
}

#[cfg(test)]
mod tests {
    use crate::words::Timestamp;

    #[test]
    fn t90_the_first_and_the_last_moments_stay_as_they_are() {
        for micros in [i64::MIN, i64::MIN + 224_192, -1, 0, 1, i64::MAX] {
            let message = prost_types::Timestamp::from(Timestamp(micros));
            assert_eq!(Timestamp::from(&message), Timestamp(micros));
        }
        for (seconds, micros) in [(i64::MIN, i64::MIN), (i64::MAX, i64::MAX)] {
            let message = prost_types::Timestamp { seconds, nanos: 7 };
            assert_eq!(Timestamp::from(&message), Timestamp(micros));
        }
    }
}
