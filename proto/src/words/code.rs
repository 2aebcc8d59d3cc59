//! The one table of status codes (S-10).

use serde::{Deserialize, Serialize};

use super::ErrorCategory;

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
    /// What kind of error it is, for the rules that follow it (E-01). None: no rule follows it, since it is no error, somebody asked for it, or
    /// the job goes on or is scheduled anew by itself (E-05, S-09).
    pub category: Option<ErrorCategory>,
}

macro_rules! codes {
    ($($(#[$meta:meta])* $name:ident = $number:literal, $text:literal, $category:ident;)+) => {
        impl StatusCode { $($(#[$meta])* pub const $name: StatusCode = StatusCode($number);)+ }
        /// Every code there is, in rising order.
        pub const CODES: &[CodeEntry] = &[
            $(CodeEntry { code: StatusCode::$name, text: $text, category: codes!(@category $category) }),+
        ];
    };
    (@category None) => { None };
    (@category $category:ident) => { Some(ErrorCategory::$category) };
}

codes! {
    /// Everything was done.
    SUCCESSFUL = 0, "successful", None;
    /// Done, but not every file as it should be (S-02).
    EXCEPTIONS = 1, "completed with exceptions", None;
    /// The source could not be read.
    FILE_READ_FAILED = 13, "file read failed", Client;
    /// A connection broke and did not come back.
    CONNECTION_BROKEN = 40, "network connection broken", Network;
    /// The peer did not answer in time.
    NETWORK_TIMED_OUT = 41, "network connection timed out", Network;
    /// The client's process ended in mid-job.
    CLIENT_PROCESS_ABORTED = 50, "client process aborted", Client;
    /// The client agent does not answer.
    CANNOT_CONNECT_TO_CLIENT = 58, "cannot connect to client", Network;
    /// Not allowed: ticket, identity or permissions.
    ACCESS_NOT_ALLOWED = 59, "access not allowed", Security;
    /// An item's path does not exist on the host.
    NO_SUCH_PATH = 71, "no such path", Job;
    /// The storage unit could not be written.
    STORAGE_WRITE_ERROR = 84, "storage write error", Storage;
    /// The storage unit is full.
    STORAGE_FULL = 129, "storage full", Storage;
    /// Ended by an administrator.
    CANCELED = 150, "canceled by an administrator", None;
    /// The source snapshot failed.
    SNAPSHOT_ERROR = 156, "snapshot error", Client;
    /// The time window closed first.
    WINDOW_CLOSED = 196, "time window closed", None;
    /// The client is disabled.
    CLIENT_DISABLED = 1000, "client is disabled", Client;
    /// Another run took its place.
    SUPERSEDED = 1101, "superseded by another run", None;
    /// The checkpoint cannot be read.
    CHECKPOINT_UNREADABLE = 1102, "checkpoint unreadable", Storage;
    /// Nobody can know how it ended (S-12).
    RESULT_UNKNOWN = 1103, "result unknown", Job;
    /// Goes on in another attempt (S-03).
    FAILED_OVER = 1110, "failed over", None;
    /// Goes on from its checkpoint (S-04).
    RESUMED = 1111, "resumed", None;
    /// Taken up by the Recovered Jobs rule (S-08).
    RECOVERED = 1112, "recovered", None;
    /// Automatic cancellation (S-06).
    CANCELED_TIMED_OUT = 1150, "canceled, timed out", None;
    /// A restore's target cannot be written (S-14e).
    TARGET_NOT_WRITABLE = 1201, "restore target not writable", Client;
    /// A restore's target has no room left (S-14e).
    TARGET_FULL = 1202, "restore target full", Client;
    /// The storage unit cannot be used at all.
    STORAGE_UNIT_NOT_AVAILABLE = 2106, "storage unit not available", Storage;
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

    /// What kind of error it is; none: no rule follows it.
    #[must_use]
    pub fn category(self) -> Option<ErrorCategory> {
        self.entry()?.category
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
