//! Calls on files that a signal may interrupt, made again then: on file systems of other hosts and of FUSE any call may be, and an
//! interruption says nothing of the file. Named as in `rustix`, for those that look at files, make, name and change them.
//!
//! What reads and writes bytes goes on where it was interrupted, in its own loop. A `close` is never made again: it has closed.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    Access, AtFlags, Dev, FallocateFlags, FileType, Gid, Mode, OFlags, RenameFlags, Stat, StatFs, StatVfs,
    Statx, StatxFlags, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use rustix::path::Arg;

/// A server that answers each call so, for ever, is one that fails.
const MOST: u32 = 100;

/// Makes a call again while it is interrupted, but not for ever.
///
/// # Errors
/// What the call says.
pub fn again<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    for _ in 1..MOST {
        match call() {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
    call()
}

macro_rules! calls {
    ($($name:ident($($file:ident)* $(; $($path:ident)*)? $(, $arg:ident: $kind:ty)*) -> $gives:ty;)*) => {$(
        /// As in `rustix::fs`.
        ///
        /// # Errors
        /// What the system says.
        pub fn $name(
            $($file: impl AsFd,)*
            $($($path: impl Arg + Clone,)*)?
            $($arg: $kind,)*
        ) -> Result<$gives, Errno> {
            again(|| rustix::fs::$name($(&$file,)* $($($path.clone(),)*)? $($arg,)*))
        }
    )*};
}

calls! {
    openat(at; path, flags: OFlags, mode: Mode) -> OwnedFd;
    statat(at; path, flags: AtFlags) -> Stat;
    fstat(file) -> Stat;
    lstat(; path) -> Stat;
    statx(at; path, flags: AtFlags, wanted: StatxFlags) -> Statx;
    fstatfs(file) -> StatFs;
    fstatvfs(file) -> StatVfs;
    accessat(at; path, access: Access, flags: AtFlags) -> ();
    unlinkat(at; path, flags: AtFlags) -> ();
    mkdirat(at; path, mode: Mode) -> ();
    mknodat(at; path, kind: FileType, mode: Mode, device: Dev) -> ();
    chmodat(at; path, mode: Mode, flags: AtFlags) -> ();
    chownat(at; path, owner: Option<Uid>, group: Option<Gid>, flags: AtFlags) -> ();
    utimensat(at; path, times: &Timestamps, flags: AtFlags) -> ();
    fchmod(file, mode: Mode) -> ();
    fchown(file, owner: Option<Uid>, group: Option<Gid>) -> ();
    futimens(file, times: &Timestamps) -> ();
    ftruncate(file, length: u64) -> ();
    fallocate(file, how: FallocateFlags, from: u64, length: u64) -> ();
    fsync(file) -> ();
    syncfs(file) -> ();
    fsetxattr(file; name, value: &[u8], flags: XattrFlags) -> ();
    fremovexattr(file; name) -> ();
    lsetxattr(; path name, value: &[u8], flags: XattrFlags) -> ();
    lremovexattr(; path name) -> ();
}

/// As in `rustix::fs`.
///
/// # Errors
/// What the system says.
pub fn readlinkat(at: impl AsFd, path: impl Arg + Clone, reuse: Vec<u8>) -> Result<CString, Errno> {
    drop(reuse);
    again(|| rustix::fs::readlinkat(&at, path.clone(), Vec::new()))
}

/// As in `rustix::fs`.
///
/// # Errors
/// What the system says.
pub fn symlinkat(to: impl Arg + Clone, at: impl AsFd, path: impl Arg + Clone) -> Result<(), Errno> {
    again(|| rustix::fs::symlinkat(to.clone(), &at, path.clone()))
}

/// As in `rustix::fs`.
///
/// # Errors
/// What the system says.
pub fn linkat(
    at: impl AsFd,
    path: impl Arg + Clone,
    new_at: impl AsFd,
    new_path: impl Arg + Clone,
    flags: AtFlags,
) -> Result<(), Errno> {
    again(|| rustix::fs::linkat(&at, path.clone(), &new_at, new_path.clone(), flags))
}

/// As in `rustix::fs`.
///
/// # Errors
/// What the system says.
pub fn renameat(
    at: impl AsFd,
    path: impl Arg + Clone,
    new_at: impl AsFd,
    new_path: impl Arg + Clone,
) -> Result<(), Errno> {
    again(|| rustix::fs::renameat(&at, path.clone(), &new_at, new_path.clone()))
}

/// As in `rustix::fs`.
///
/// # Errors
/// What the system says.
pub fn renameat_with(
    at: impl AsFd,
    path: impl Arg + Clone,
    new_at: impl AsFd,
    new_path: impl Arg + Clone,
    flags: RenameFlags,
) -> Result<(), Errno> {
    again(|| rustix::fs::renameat_with(&at, path.clone(), &new_at, new_path.clone(), flags))
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::{MOST, again};

    #[test]
    fn t90_an_interrupted_call_is_made_again_and_not_for_ever() {
        for (interruptions, result) in [(0, Ok(())), (5, Ok(())), (MOST, Err(Errno::INTR))] {
            let mut calls = 0;
            let made = again(|| {
                calls += 1;
                if calls > interruptions {
                    Ok(())
                } else {
                    Err(Errno::INTR)
                }
            });
            assert_eq!((made, calls), (result, MOST.min(interruptions + 1)));
        }
        assert_eq!(again::<()>(|| Err(Errno::NOENT)), Err(Errno::NOENT));
    }
}
