//! What an error of the target's file system means: for one node only, or for the whole restore (S-14e).
//!
//! Pure. Used by everything that writes; who asks the target again in case of doubt is `target`.

use outlast_proto::words::StatusCode;
use rustix::io::Errno;

use crate::host::errors::is_of_file_system;

/// How far an error reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// The target has no room: nothing more can be restored.
    Full,
    /// Perhaps the whole target, perhaps one place of it: the target is to be tested again.
    Doubtful,
    /// This node: its name, its size, its kind, its place.
    OneNode,
}

/// How far an error reaches that making, writing or naming one node has met.
pub(super) fn reach(error: Errno) -> Reach {
    match error {
        Errno::NOSPC | Errno::DQUOT => Reach::Full,
        Errno::ROFS
        | Errno::NODEV
        | Errno::NXIO
        | Errno::NOENT
        | Errno::MFILE
        | Errno::NFILE
        | Errno::NOMEM => Reach::Doubtful,
        _ if is_of_file_system(error) => Reach::Doubtful,
        _ => Reach::OneNode,
    }
}

/// With which code a restore ends whose target, as a whole, gives this error.
pub(super) fn code(error: Errno) -> StatusCode {
    match reach(error) {
        Reach::Full => StatusCode::TARGET_FULL,
        Reach::Doubtful | Reach::OneNode => StatusCode::TARGET_NOT_WRITABLE,
    }
}

/// An error in the system's words.
pub(super) fn words(error: Errno) -> String {
    std::io::Error::from(error).to_string()
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::{Reach, code, reach};

    #[test]
    fn s14e_errors_reach_as_far_as_they_do() {
        for (error, how_far, number) in [
            (Errno::NOSPC, Reach::Full, 1202),
            (Errno::DQUOT, Reach::Full, 1202),
            (Errno::ROFS, Reach::Doubtful, 1201),
            (Errno::IO, Reach::Doubtful, 1201),
            (Errno::NOTCONN, Reach::Doubtful, 1201),
            (Errno::STALE, Reach::Doubtful, 1201),
            (Errno::NOENT, Reach::Doubtful, 1201),
            (Errno::MFILE, Reach::Doubtful, 1201),
            // Of one file: too long a name, one this file system cannot have, too large, immutable, no such feature.
            (Errno::NAMETOOLONG, Reach::OneNode, 1201),
            (Errno::INVAL, Reach::OneNode, 1201),
            (Errno::ILSEQ, Reach::OneNode, 1201),
            (Errno::FBIG, Reach::OneNode, 1201),
            (Errno::PERM, Reach::OneNode, 1201),
            (Errno::ACCESS, Reach::OneNode, 1201),
            (Errno::OPNOTSUPP, Reach::OneNode, 1201),
            (Errno::MLINK, Reach::OneNode, 1201),
            (Errno::XDEV, Reach::OneNode, 1201),
            (Errno::BUSY, Reach::OneNode, 1201),
            (Errno::NOTDIR, Reach::OneNode, 1201),
        ] {
            assert_eq!((reach(error), code(error).0), (how_far, number), "{error}");
        }
    }
}
