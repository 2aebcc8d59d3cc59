//! Exceptions by which a client of before says again of a file what the media agent has said: that its content cannot be read.
//!
//! Each such file takes up one of them, and only with these words and of its very place: everything else that a client says counts.
//! Used by `engine`.

use std::collections::HashMap;

use outlast_proto::v1::FileException;
use outlast_proto::words::MAX_EXCEPTIONS;

/// The words of those clients.
const UNREAD: &str = "the media agent could not read its content";

#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// Where the client restores to, before every path.
    to: String,
    /// How often a place may be named again: two names of other bytes can be shown as one.
    due: HashMap<String, usize>,
}

impl Repeats {
    pub(super) fn new(to: String) -> Self {
        Self {
            to,
            ..Self::default()
        }
    }

    /// The client is told to leave out the file of this path in the restore point.
    pub(super) fn left_out(&mut self, path: &str) {
        if self.due.len() < MAX_EXCEPTIONS {
            *self.due.entry(self.place(path)).or_default() += 1;
        }
    }

    /// Whether this was said before; it counts so once.
    pub(super) fn take(&mut self, said: &FileException) -> bool {
        if said.reason != UNREAD {
            return false;
        }
        let Some(count) = self.due.get_mut(&said.path) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            self.due.remove(&said.path);
        }
        true
    }

    fn place(&self, path: &str) -> String {
        let path = path.trim_start_matches('/');
        let slash = if self.to.ends_with('/') { "" } else { "/" };
        format!("{}{slash}{path}", self.to)
    }
}

#[cfg(test)]
mod tests {
    use outlast_proto::v1::FileException;

    use super::{Repeats, UNREAD};

    #[test]
    fn t90_only_what_was_said_of_this_very_place_is_a_repetition() {
        for to in ["/to", "/to/", "/"] {
            let mut repeats = Repeats::new(to.to_owned());
            repeats.left_out("/srv/x");
            let base = to.trim_end_matches('/');
            let mut said = |path: &str, reason: &str| {
                repeats.take(&FileException {
                    path: format!("{base}{path}"),
                    reason: reason.to_owned(),
                })
            };
            assert!(!said("/srv/srv/x", UNREAD), "ends as its path");
            assert!(!said("/x", UNREAD));
            assert!(!said("/srv/x", "its owner could not be set"), "another fault");
            assert!(said("/srv/x", UNREAD));
            assert!(!said("/srv/x", UNREAD), "of another file that is shown so");
        }
    }
}
