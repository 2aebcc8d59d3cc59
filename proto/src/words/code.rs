//! The one table of status codes (S-10).

use serde::{Deserialize, Serialize};

/// The number beside a completion status: 0 successful, 1 exceptions, the rest says what went wrong (S-10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StatusCode(pub u16);

/// A row of the table: every code has one, and a help page `docs/help/N.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeEntry {
    /// The number.
    pub code: StatusCode,
    /// What it means, in lower case, as in the job log.
    pub text: &'static str,
}

macro_rules! codes {
    ($($(#[$meta:meta])* $name:ident = $number:literal, $text:literal;)+) => {
        impl StatusCode { $($(#[$meta])* pub const $name: StatusCode = StatusCode($number);)+ }
        /// Every code there is, in rising order.
        pub const CODES: &[CodeEntry] = &[$(CodeEntry { code: StatusCode::$name, text: $text }),+];
    };
}

codes! {
    /// Everything was done.
    SUCCESSFUL = 0, "successful";
    /// Done, but not every file as it should be (S-02).
    EXCEPTIONS = 1, "completed with exceptions";
    /// The source could not be read.
    FILE_READ_FAILED = 13, "file read failed";
    /// A connection broke and did not come back.
    CONNECTION_BROKEN = 40, "network connection broken";
    /// The peer did not answer in time.
    NETWORK_TIMED_OUT = 41, "network connection timed out";
    /// The client's process ended in mid-job.
    CLIENT_PROCESS_ABORTED = 50, "client process aborted";
    /// The client agent does not answer.
    CANNOT_CONNECT_TO_CLIENT = 58, "cannot connect to client";
    /// Not allowed: ticket, identity or permissions.
    ACCESS_NOT_ALLOWED = 59, "access not allowed";
    /// An item's path does not exist on the host.
    NO_SUCH_PATH = 71, "no such path";
    /// The storage unit could not be written.
    STORAGE_WRITE_ERROR = 84, "storage write error";
    /// The storage unit is full.
    STORAGE_FULL = 129, "storage full";
    /// Ended by an administrator.
    CANCELED = 150, "canceled by an administrator";
    /// The source snapshot failed.
    SNAPSHOT_ERROR = 156, "snapshot error";
    /// The time window closed first.
    WINDOW_CLOSED = 196, "time window closed";
    /// The client is disabled.
    CLIENT_DISABLED = 1000, "client is disabled";
    /// Another run took its place.
    SUPERSEDED = 1101, "superseded by another run";
    /// The checkpoint cannot be read.
    CHECKPOINT_UNREADABLE = 1102, "checkpoint unreadable";
    /// Nobody can know how it ended (S-12).
    RESULT_UNKNOWN = 1103, "result unknown";
    /// Goes on in another attempt (S-03).
    FAILED_OVER = 1110, "failed over";
    /// Goes on from its checkpoint (S-04).
    RESUMED = 1111, "resumed";
    /// Taken up by the Recovered Jobs rule (S-08).
    RECOVERED = 1112, "recovered";
    /// Automatic cancellation (S-06).
    CANCELED_TIMED_OUT = 1150, "canceled, timed out";
    /// A restore's target cannot be written (S-14e).
    TARGET_NOT_WRITABLE = 1201, "restore target not writable";
    /// A restore's target has no room left (S-14e).
    TARGET_FULL = 1202, "restore target full";
    /// The storage unit cannot be used at all.
    STORAGE_UNIT_NOT_AVAILABLE = 2106, "storage unit not available";
}

impl StatusCode {
    /// The table's row, if the code is known to this version.
    #[must_use]
    pub fn entry(self) -> Option<&'static CodeEntry> {
        CODES
            .binary_search_by_key(&self, |entry| entry.code)
            .ok()
            .map(|i| &CODES[i])
    }

    /// What the code means, or a word for an unknown one.
    #[must_use]
    pub fn text(self) -> &'static str {
        self.entry()
            .map_or("code unknown to this version", |entry| entry.text)
    }
}

impl std::fmt::Display for StatusCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::CODES;

    #[test]
    fn s10_the_table_is_sorted_and_without_doubles() {
        assert!(CODES.windows(2).all(|pair| pair[0].code < pair[1].code));
        assert!(CODES.iter().all(|entry| entry.code.entry() == Some(entry)));
    }
}
