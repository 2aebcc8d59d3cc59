//! Time stamps in messages, and their domain form.

use outlast_proto::words::Timestamp;

/// As messages carry it.
#[must_use]
pub fn to_message(time: Timestamp) -> prost_types::Timestamp {
    time.into()
}

/// From a message; what is missing is 1970.
#[must_use]
pub fn of_message(time: Option<&prost_types::Timestamp>) -> Timestamp {
    time.map_or_else(Timestamp::default, Timestamp::from)
}
