//! New entries belong to whom asks for them, as on a file system of the kernel: a thread that makes one is its caller so long.

use std::cell::Cell;

use fuser::Request;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use rustix::fs::Mode;
use rustix::io::Errno;

thread_local! {
    /// Whether this thread has a umask of its own.
    static APART: Cell<bool> = const { Cell::new(false) };
}

/// Runs `make` with the caller's user, group and umask. So the backing folder settles what default access lists, folders
/// with a group and masks make of a new entry.
pub(crate) fn as_caller<T>(
    request: &Request,
    umask: u32,
    make: impl FnOnce() -> Result<T, Errno>,
) -> Result<T, Errno> {
    APART.with(|apart| {
        if apart.get() {
            return Ok(());
        }
        unshare(CloneFlags::CLONE_FS).map_err(|error| Errno::from_raw_os_error(error as i32))?;
        apart.set(true);
        Ok(())
    })?;
    let (uid, gid) = (Uid::from_raw(request.uid()), Gid::from_raw(request.gid()));
    let mask = rustix::process::umask(Mode::from_raw_mode(umask));
    // The group first: afterwards it may not be set.
    let before = (setfsgid(gid), setfsuid(uid));
    let made = make();
    setfsuid(before.1);
    setfsgid(before.0);
    rustix::process::umask(mask);
    made
}
