//! Time stamps in messages, and their domain form.
//!
//! No clock here. Used wherever an event or a ticket is built or read.

use outlast_proto::words::Timestamp;

pub(crate) use outlast_media_core::stamps::{of_message, to_message};

/// From the repository's own.
pub(crate) fn of_repository(time: outlast_repository::Timestamp) -> Timestamp {
    Timestamp(
        time.secs
            .saturating_mul(1_000_000)
            .saturating_add(i64::from(time.nanos / 1000)),
    )
}

/// So much later.
pub(crate) fn after(time: Timestamp, wait: std::time::Duration) -> Timestamp {
    let micros = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
    Timestamp(time.0.saturating_add(micros))
}

/// As the repository writes it, which is also RFC 3339 for a person.
pub(crate) fn to_repository(time: Timestamp) -> outlast_repository::Timestamp {
    let nanos = u32::try_from(time.0.rem_euclid(1_000_000) * 1000).expect("below 10^9");
    outlast_repository::Timestamp::new(time.0.div_euclid(1_000_000), nanos)
}
