//! What an error of the kernel says of the file system it came from. Used by backups and restores alike.

use rustix::io::Errno;

/// Whether the file system, its disk or its server is at fault, not one name or file of it.
pub(crate) fn is_of_file_system(error: Errno) -> bool {
    matches!(
        error,
        Errno::IO
            | Errno::STALE
            | Errno::NOTCONN
            | Errno::SHUTDOWN
            | Errno::TIMEDOUT
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::CONNRESET
            | Errno::CONNABORTED
            | Errno::REMOTEIO
    )
}
